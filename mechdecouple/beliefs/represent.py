"""What a model represents as true: a probe chosen and fitted in the honest context, scored on groups it never saw."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from mechdecouple.beliefs._nested import FOLDS, PROBES, Fitter, Reading, Split, folds, ranked, readings
from mechdecouple.beliefs.null import Null, permutation_null
from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.stats import permutation_p, weighted_auroc

REPRESENTED_AUROC = Metric(
    name="represented_auroc",
    family="beliefs",
    title="AUROC of what is represented",
    measures="how well the truth of statements from unseen groups can be read linearly from one hook point",
    range="[0, 1]",
    invariances="invertible affine maps of the activations, up to the penalty",
    null="0.5; tested by permuting the truth by group",
)

# Groups that must hold each class, for five folds with a calibration fold inside each.
_MIN_GROUPS = 10
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3)
"""Candidates of the logistic penalty, the strongest first."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Represented:
    """The represented belief of every item, out of fold.

    Attributes:
        score: calibrated belief b in [0, 1], [n]; NaN throughout where ``reason`` says why.
        hook_points: the candidates, in the order given.
        hook_point: the one chosen in most outer folds; probe: likewise; both empty where undefined.
        chosen: (hook point, probe) of each outer fold; penalty: of each, NaN where that probe has none.
        fold: outer fold of each item [n]; its score comes from a probe that saw no row of that fold's groups.
        scores: the same out-of-fold belief had each hook point been the only candidate.
        auroc: AUROC of ``scores`` on honest items of known truth (the layer curve).
        auroc_selected: AUROC of ``score`` on them, the choice of hook point and probe included.
        p: p-value of ``auroc_selected`` against ``null``; hook_point_p: of each hook point.
        null: AUROC of the pipeline under permuted truth; null_method: how it was drawn.
        n_groups: groups with honest items of known truth.
        reason: why nothing could be read; empty otherwise.
    """

    score: Float[np.ndarray, " n"]
    hook_points: tuple[str, ...]
    hook_point: str = ""
    probe: str = ""
    chosen: tuple[tuple[str, str], ...] = ()
    penalty: tuple[float, ...] = ()
    fold: Int[np.ndarray, " n"]
    scores: dict[str, Float[np.ndarray, " n"]]
    auroc: dict[str, float]
    auroc_selected: float = float("nan")
    p: float = float("nan")
    hook_point_p: dict[str, float]
    null: Float[np.ndarray, " r"]
    null_method: str = ""
    n_groups: int = 0
    reason: str = ""

    def frame(self):
        """One row a hook point: AUROC, p, in how many outer folds it was chosen."""
        import pandas as pd

        votes = Counter(name for name, _ in self.chosen)
        return pd.DataFrame(
            [
                {"hook_point": h, "auroc": self.auroc[h], "p": self.hook_point_p[h], "folds_chosen": votes[h]}
                for h in self.hook_points
            ]
        )

    def _repr_html_(self) -> str:
        return f"<p>{claimable(self)[1]}</p>" + self.frame().to_html(index=False, float_format="{:.3f}".format)


def claimable(represented: Represented, alpha: float = 0.05) -> tuple[bool, str]:
    """Whether a gap may be claimed, and the sentence that says why: the honest AUROC must beat its permutation null."""
    if represented.reason:
        return False, f"No gap is claimed: {represented.reason}."
    passed = represented.p <= alpha and represented.auroc_selected > 0.5
    found = (
        f"represented AUROC {represented.auroc_selected:.3f} in the honest context {{}} its permutation null "
        f"(p = {represented.p:.3g})"
    )
    return passed, (f"{found.format('beats')}." if passed else f"No gap is claimed: {found.format('does not beat')}.")


def represent(
    activations: Mapping[str, Float[np.ndarray, "n d"]],
    truth: ArrayLike,
    groups: ArrayLike,
    honest_mask: ArrayLike | None = None,
    *,
    probes: Sequence[str] | Mapping[str, Fitter] = PROBES,
    penalties: Sequence[float] = PENALTIES,
    n_permutations: int = 200,
    seed: int = 0,
    device: str = "cpu",
) -> Represented:
    """Reads beliefs with the best probe that the honest context of *other* groups points to.

    Five outer folds of whole groups. To score one, hook point × probe is chosen by the AUROC over the other four folds,
    each scored by a probe fitted on the remaining three, from honest rows of known truth only; those scores choose the
    logistic penalty as well, by their log-loss. The choice is fitted on the honest rows of all four (a fifth of their
    groups kept aside to calibrate it) and reads every row of the outer fold, whatever its condition. An inner probe
    leaves two folds out and serves both. All folds and penalties of a hook point run in the same matrix products.

    The p-value is the larger of two against one null (:func:`mechdecouple.beliefs.null.permutation_null`): of the same
    selection with a ridge read-out, which is exact, and of this pipeline's own within-fold AUROC.

    Args:
        activations: hook point → [n, d]; widths may differ.
        truth: 0, 1, or NaN where unknown: such rows are scored but neither train nor count.
        groups: the unit that never sits on both sides of a split.
        honest_mask: rows in which the model is asked for the truth; all by default.
        probes: "logistic", "mass_mean" or both; or families by name, each a fitter (``fit(X, y, groups)``), fitted one
            by one.
        penalties: candidates of the logistic penalty.
        device: where logistic probes are fitted.

    Raises:
        InputError: lengths differ, an unknown probe, no hook point, activations that are not finite.
    """
    families = as_families(probes)
    t, group, honest = _checked(activations, truth, groups, honest_mask)
    names = tuple(activations)
    usable = honest & ~np.isnan(t)
    rows = np.flatnonzero(usable)
    nothing = np.full(len(t), np.nan)
    blank = Represented(
        score=nothing,
        hook_points=names,
        fold=np.zeros(len(t), int),
        scores=dict.fromkeys(names, nothing),
        auroc=dict.fromkeys(names, float("nan")),
        hook_point_p=dict.fromkeys(names, float("nan")),
        null=np.empty(0),
        n_groups=len(np.unique(group[rows])),
        reason=too_little(t[rows], group[rows]),
    )
    if blank.reason:
        return blank
    fold = folds(t, group, usable, seed)
    try:
        split = Split.of(t, group, usable, fold, seed)
        found = {
            (name, probe): reading[0]
            for name, X in activations.items()
            for probe, reading in readings(X, t, group, [split], families, penalties, device).items()
        }
    except InputError as error:
        return dataclasses.replace(blank, reason=str(error))

    scores = {name: choose({k: r for k, r in found.items() if k[0] == name}, fold)[0] for name in names}
    score, chosen = choose(found, fold)
    null = permutation_null(
        {name: X[rows] for name, X in activations.items()},
        t[rows].astype(int),
        group[rows],
        n_permutations=n_permutations,
        seed=seed,
    )
    return dataclasses.replace(
        blank,
        score=score,
        fold=fold,
        scores=scores,
        auroc={name: float(weighted_auroc(values[rows], t[rows])) for name, values in scores.items()},
        hook_point_p=null.hook_point_p,
        null=null.draws,
        hook_point=Counter(name for name, _ in chosen).most_common(1)[0][0],
        probe=Counter(probe for _, probe in chosen).most_common(1)[0][0],
        chosen=chosen,
        penalty=tuple(float(found[key].penalty[f]) for f, key in enumerate(chosen)),
        auroc_selected=float(weighted_auroc(score[rows], t[rows])),
        p=_p_value(null, score[rows], t[rows], fold[rows]),
        null_method=null.method,
    )


def choose(
    found: Mapping[tuple[str, str], Reading], fold: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], tuple[tuple[str, str], ...]]:
    """The belief of each row by the best candidate of its outer fold, and those candidates (the first among equals)."""
    candidates = list(found)
    best = np.stack([found[c].quality for c in candidates]).argmax(axis=0)
    score = np.stack([found[c].score for c in candidates])[best[fold], np.arange(len(fold))]
    return score, tuple(candidates[b] for b in best)


def too_little(truth: Float[np.ndarray, " m"], group: Int[np.ndarray, " m"]) -> str:
    """Why these honest rows are too few for a probe; empty where they are enough."""
    if not len(truth):
        return "no honest statement has a known truth"
    for value, word in ((1, "true"), (0, "false")):
        count = len(np.unique(group[truth == value]))
        if count < _MIN_GROUPS:
            return f"only {count} groups hold an honest {word} statement; at least {_MIN_GROUPS} are needed for a probe"
    return ""


def _p_value(null: Null, score: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> float:
    wins, pairs = np.sum([ranked(score[fold == f], truth[fold == f]) for f in range(FOLDS)], axis=0)
    return max(null.p, float(permutation_p(wins / pairs, null.draws)))


def as_families(probes: Sequence[str] | Mapping[str, Fitter]) -> dict[str, Fitter | None]:
    """Family → its fitter, None for those that are fitted in batches."""
    if isinstance(probes, Mapping) and probes:
        return dict(probes)
    unknown = [probe for probe in probes if probe not in PROBES]
    if unknown or not probes:
        raise InputError(f"probes {tuple(probes)}: expected some of {', '.join(PROBES)}")
    return dict.fromkeys(probes)


def _checked(
    activations: Mapping[str, np.ndarray],
    truth: ArrayLike,
    groups: ArrayLike,
    honest_mask: ArrayLike | None,
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    t, g = np.asarray(truth, float), np.asarray(groups)
    honest = np.ones(len(t), bool) if honest_mask is None else np.asarray(honest_mask, bool)
    if not activations:
        raise InputError("no hook point to read beliefs from; give at least one")
    if (~np.isin(t, (0.0, 1.0)) & ~np.isnan(t)).any():
        raise InputError("truth must be 0, 1 or NaN (unknown)")
    for name, column in (("groups", g), ("honest_mask", honest), *activations.items()):
        if len(column) != len(t):
            raise InputError(f"{name} has {len(column)} rows, truth has {len(t)}: all need the same rows")
    for name, X in activations.items():
        if not np.isfinite(X).all():
            row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise InputError(f"activations at {name!r} are not finite in row {row}; expected numbers")
    return t, _codes(g), honest


def _codes(groups: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.unique(groups, return_inverse=True)[1]
