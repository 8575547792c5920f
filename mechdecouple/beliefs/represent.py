"""What a model represents as true: a probe chosen and fitted in the honest context, scored on groups it never saw."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from mechdecouple.beliefs.null import FOLDS, Null, permutation_null
from mechdecouple.errors import InputError
from mechdecouple.probes import LinearProbe, LogisticFitter, MassMeanFitter, grouped_folds
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
# Calibrated scores of equal activations agree to rounding; they are ties.
_DECIMALS = 9
PROBES = ("logistic", "mass_mean")
# Without the weakest of the fitter's own candidates, which takes longest to converge.
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Represented:
    """The represented belief of every item, out of fold.

    Attributes:
        score: calibrated belief b in [0, 1], [n]; NaN throughout where ``reason`` says why.
        hook_points: the candidates, in the order given.
        hook_point: the one chosen in most outer folds; probe: likewise; both empty where undefined.
        chosen: (hook point, probe) of each outer fold.
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
    probes: Sequence[str] = PROBES,
    n_permutations: int = 200,
    seed: int = 0,
) -> Represented:
    """Reads beliefs with the best probe that the honest context of *other* groups points to.

    Five outer folds of whole groups. To score one, hook point × probe is chosen by the AUROC over the other four folds,
    each scored by a probe fitted on the remaining three, from honest rows of known truth only; the choice is fitted on
    the honest rows of all four (the logistic penalty chosen and the scores calibrated inside, on groups of their own)
    and reads every row of the outer fold, whatever its condition. An inner probe leaves two folds out and serves both.

    The p-value is the larger of two against one null (:func:`mechdecouple.beliefs.null.permutation_null`): of the same
    selection with a ridge read-out, which is exact, and of this pipeline's own within-fold AUROC.

    Args:
        activations: hook point → [n, d]; widths may differ.
        truth: 0, 1, or NaN where unknown: such rows are scored but neither train nor count.
        groups: the unit that never sits on both sides of a split.
        honest_mask: rows in which the model is asked for the truth; all by default.
        probes: "logistic", "mass_mean" or both.

    Raises:
        InputError: lengths differ, an unknown probe, no hook point, activations that are not finite.
    """
    t, group, honest = _checked(activations, truth, groups, honest_mask, probes)
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
        reason=_too_little(t[rows], group[rows]),
    )
    if blank.reason:
        return blank
    fold = _folds(t, group, usable, seed)
    train = _Trainer(activations, t, group, usable, fold, seed)
    try:
        readings = {(name, probe): _read(train, name, probe) for name in names for probe in probes}
    except InputError as error:
        return dataclasses.replace(blank, reason=str(error))

    scores = {name: _choose(readings, [k for k in readings if k[0] == name], fold)[0] for name in names}
    score, chosen = _choose(readings, list(readings), fold)
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
        auroc_selected=float(weighted_auroc(score[rows], t[rows])),
        p=_p_value(null, score[rows], t[rows], fold[rows]),
        null_method=null.method,
    )


@dataclasses.dataclass(frozen=True)
class _Reading:
    """One candidate: rank wins and pairs of the inner folds by outer fold [k], and the out-of-fold belief [n]."""

    quality: Float[np.ndarray, " k"]
    score: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Trainer:
    """Fits a probe on the usable rows outside some folds."""

    activations: Mapping[str, np.ndarray]
    truth: np.ndarray
    group: np.ndarray
    usable: Bool[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    seed: int

    def __call__(self, name: str, probe: str, without: tuple[int, ...]) -> LinearProbe:
        rows = np.flatnonzero(self.usable & ~np.isin(self.fold, without))
        logistic = LogisticFitter(penalties=_PENALTIES, folds=3, seed=self.seed)
        fitter = logistic if probe == "logistic" else MassMeanFitter(seed=self.seed)
        return fitter.fit(self.activations[name][rows], self.truth[rows], self.group[rows])


def _read(train: _Trainer, name: str, probe: str) -> _Reading:
    X, t, fold = train.activations[name], train.truth, train.fold
    wins, pairs = np.zeros(FOLDS), np.zeros(FOLDS)
    for left_out in itertools.combinations(range(FOLDS), 2):
        fitted = train(name, probe, left_out)
        for scored, outer in (left_out, left_out[::-1]):
            rows = np.flatnonzero(train.usable & (fold == scored))
            won, of = _ranked(fitted.decision_function(X[rows]), t[rows])
            wins[outer] += won
            pairs[outer] += of
    score = np.full(len(t), np.nan)
    for outer in range(FOLDS):
        rows = np.flatnonzero(fold == outer)
        if len(rows):
            score[rows] = np.round(train(name, probe, (outer,)).predict_proba(X[rows]), _DECIMALS)
    return _Reading(wins / pairs, score)


def _choose(
    readings: dict[tuple[str, str], _Reading], candidates: list[tuple[str, str]], fold: np.ndarray
) -> tuple[np.ndarray, tuple[tuple[str, str], ...]]:
    best = np.stack([readings[c].quality for c in candidates]).argmax(axis=0)
    score = np.stack([readings[c].score for c in candidates])[best[fold], np.arange(len(fold))]
    return score, tuple(candidates[b] for b in best)


def _ranked(score: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """True–false pairs ranked right (ties ½) and all such pairs; none where a class is absent."""
    pairs = float((truth == 1).sum() * (truth == 0).sum())
    if not pairs:
        return 0.0, 0.0
    # Equal activations give scores that differ by rounding; they are ties.
    scale = max(float(np.ptp(score)), 1e-3 * float(np.abs(score).max()), 1e-300)
    return pairs * float(weighted_auroc(np.round(score / scale, _DECIMALS), truth)), pairs


def _p_value(null: Null, score: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> float:
    wins, pairs = np.sum([_ranked(score[fold == f], truth[fold == f]) for f in range(FOLDS)], axis=0)
    return max(null.p, float(permutation_p(wins / pairs, null.draws)))


def _folds(truth: np.ndarray, group: np.ndarray, usable: np.ndarray, seed: int) -> np.ndarray:
    """Outer folds: groups with usable rows dealt out by class, the others evenly."""
    fold_of = np.zeros(group.max() + 1, int)
    fold_of[group[usable]] = grouped_folds(truth[usable], group[usable], FOLDS, seed)
    rest = np.setdiff1d(group, group[usable])
    fold_of[rest] = np.arange(len(rest)) % FOLDS
    return fold_of[group]


def _too_little(truth: np.ndarray, group: np.ndarray) -> str:
    if not len(truth):
        return "no honest statement has a known truth"
    for value, word in ((1, "true"), (0, "false")):
        count = len(np.unique(group[truth == value]))
        if count < _MIN_GROUPS:
            return f"only {count} groups hold an honest {word} statement; at least {_MIN_GROUPS} are needed for a probe"
    return ""


def _checked(
    activations: Mapping[str, np.ndarray],
    truth: ArrayLike,
    groups: ArrayLike,
    honest_mask: ArrayLike | None,
    probes: Sequence[str],
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    t, g = np.asarray(truth, float), np.asarray(groups)
    honest = np.ones(len(t), bool) if honest_mask is None else np.asarray(honest_mask, bool)
    unknown = [probe for probe in probes if probe not in PROBES]
    if unknown or not probes:
        raise InputError(f"probes {tuple(probes)}: expected some of {', '.join(PROBES)}")
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
