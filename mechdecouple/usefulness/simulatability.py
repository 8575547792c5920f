"""Simulatability: can a person's small rule, fitted on some of a model's answers, name its answers to other items?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.probes import grouped_folds
from mechdecouple.results import Metric
from mechdecouple.usefulness._found import Cell, Found, checked_groups, least_error
from mechdecouple.usefulness.sparse_logistic import SparseLogisticFitter
from mechdecouple.usefulness.tree import TreeFitter

SIMULATED_AGREEMENT = Metric(
    name="simulated_agreement", family="use", title="answers that a small rule names", range="[0, 1]",
    direction="higher",
    measures="share of a model's answers, to items of other groups than it was fitted on, that a surrogate of limited "
    "size names from what a person sees of the items",
    null="share of the answer that is commonest among those it was fitted on",
    assumes="the declared concepts are what a person sees; the surrogate stands in for a person",
    invariances="any change inside that keeps the answers",
    source="simulatability: arXiv:1702.08608, arXiv:2005.01831; surrogates: Craven & Shavlik 1996, arXiv:1705.08504",
)  # fmt: skip
SIMULATABILITY = Metric(
    name="simulatability", family="use", title="simulatability", range="[-1, 1]", direction="higher",
    measures="agreement beyond chance (Cohen's kappa) of a model's answers with those that a surrogate of limited size "
    "names for items of other groups than it was fitted on",
    null="0: no better than naming answers without looking at the item",
    assumes="the declared concepts are what a person sees; the surrogate stands in for a person",
    invariances="any change inside that keeps the answers",
    source="simulatability: arXiv:1702.08608, arXiv:2005.01831; kappa: doi:10.1177/001316446002000104",
)  # fmt: skip

MAX_ANSWERS = 50
IN_DISTRIBUTION, SHIFTED = "", "shift"
"""The ``context`` of numbers on items like those that surrogates are fitted on, and on the shift split."""


@runtime_checkable
class Surrogate(Protocol):
    """A fitted stand-in."""

    @property
    def size(self) -> int: ...

    def predict(self, X: np.ndarray) -> np.ndarray: ...

    def rules(self, features: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]: ...


@runtime_checkable
class SurrogateFitter(Protocol):
    """Fits a stand-in of limited size: X [n, d], y [n] labels 0 … n_labels - 1."""

    @property
    def name(self) -> str: ...

    def fit(self, X: np.ndarray, y: np.ndarray, n_labels: int) -> Surrogate: ...


SURROGATES: tuple[SurrogateFitter, ...] = (TreeFitter(depth=3), SparseLogisticFitter(features=5))
"""What a person can hold in mind: three questions, or five weights."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Simulatability(Found):
    """How well small surrogates name a model's answers.

    The cells have the surrogate as ``concept``, and ``context`` "shift" on the shift split. Intervals are of the
    items: the surrogates are held as they were fitted.

    Attributes:
        rules: surrogate -> its sentences, fitted on all items that are not of the shift split.
        named: surrogate -> [n] the answer it names for each item, out of its group; "" where there is no answer.
    """

    rules: Mapping[str, tuple[str, ...]]
    named: Mapping[str, np.ndarray]


def named_answers(
    X: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " m"],
    n_labels: int,
    fitter: SurrogateFitter,
    groups: Shaped[np.ndarray, " g"],
    fit: Bool[np.ndarray, " f"] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Int[np.ndarray, " m"]:
    """The label that a surrogate names for each item [n], never fitted on an item of its group.

    Items of groups that are fitted on are named by a surrogate fitted without their fold of groups, all others by one
    fitted on all of ``fit`` (every item, where it is left out).
    """
    groups = np.asarray(groups)
    fit = np.ones(len(y), bool) if fit is None else np.asarray(fit, bool)
    if len(np.unique(groups[fit])) < 2:
        raise InputError("surrogates are fitted on at least two groups of items; give more groups to fit on")
    fold_of = dict(zip(groups[fit], grouped_folds(y[fit], groups[fit], folds, seed), strict=True))
    fold = np.array([fold_of.get(group, -1) for group in groups])
    said = np.empty(len(y), dtype=np.int64)
    for f in np.unique(fold):
        train, held = fit & (fold != f), fold == f
        said[held] = fitter.fit(X[train], y[train], n_labels).predict(X[held])
    return said


def simulatability(
    features: Mapping[str, Float[np.ndarray, " n"]],
    answers: Shaped[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    fit: Bool[np.ndarray, " f"] | None = None,
    score: Bool[np.ndarray, " s"] | None = None,
    shift: Bool[np.ndarray, " t"] | None = None,
    surrogates: Sequence[SurrogateFitter] = SURROGATES,
    name: str = "model",
    folds: int = 5,
    n_blocks: int = 20,
    seed: int = 0,
) -> Simulatability:
    """How well surrogates of limited size name a model's answers from ``features``.

    Two models on the same items pair: ``differences(a, b, names)``.

    Args:
        features: name -> [n] numbers that a person sees of each item; see `seen` for those of a task.
        answers: [n] what the model answered, of at most 50 kinds; not what would have been right.
        groups: [n] unit of resampling and splitting; each item by itself without.
        fit: [n] items that surrogates may be fitted on; all that are not ``shift`` without.
        score: [n] items in distribution on which they are scored; all that are not ``shift`` without.
        shift: [n] items of the shift split, scored apart and never fitted on.

    Raises:
        InputError: no features, values that are not finite, unequal lengths, too many kinds of answers, too few groups.

    >>> rng = np.random.default_rng(0)
    >>> red, big = rng.integers(0, 2, (2, 300))
    >>> found = simulatability({"red": red * 1.0, "big": big * 1.0}, np.where(red & big, "stop", "go"))
    >>> found.estimate(SIMULATABILITY, "tree of depth 3").value
    1.0
    >>> found.rules["tree of depth 3"]
    ('if big ≤ 0.5: go', 'if big > 0.5 and red ≤ 0.5: go', 'if big > 0.5 and red > 0.5: stop')
    """
    answers = np.asarray(answers)
    n = len(answers)
    groups = checked_groups(n, groups)
    X = _columns(features, n)
    labels, y = np.unique(answers.astype(str), return_inverse=True)
    if len(labels) > MAX_ANSWERS:
        raise InputError(
            f"the model gives {len(labels)} different answers: a surrogate chooses among at most {MAX_ANSWERS} kinds"
        )
    shift = _mask(shift, n, "shift", default=False)
    fit = _mask(fit, n, "fit", default=True) & ~shift
    parts = {IN_DISTRIBUTION: _mask(score, n, "score", default=True) & ~shift, SHIFTED: shift}
    if not (parts[IN_DISTRIBUTION].any() and fit.any()):
        raise InputError("no item is left to fit surrogates on, or to score them on, outside the shift split")
    base = named_answers(X, y, len(labels), TreeFitter(depth=0), groups, fit, folds=folds, seed=seed)
    cells, rules, named = [], {}, {}
    for fitter in surrogates:
        said = named_answers(X, y, len(labels), fitter, groups, fit, folds=folds, seed=seed)
        named[fitter.name] = labels[said]
        rules[fitter.name] = fitter.fit(X[fit], y[fit], len(labels)).rules(tuple(features), labels.tolist())
        for context, rows in parts.items():
            if rows.any():
                commonest = float((base[rows] == y[rows]).mean())
                cells += _scored(said[rows], y[rows], len(labels), groups[rows], n_blocks, seed, commonest, fitter.name,
                                 context)  # fmt: skip
    return Simulatability(name=name, cells=tuple(cells), rules=rules, named=named)


def _scored(
    said: np.ndarray, y: np.ndarray, n_labels: int, groups: np.ndarray, n_blocks: int, seed: int, commonest: float,
    surrogate: str, context: str,
) -> list[Cell]:  # fmt: skip
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        why = "the items scored are all of one group"
        return [
            Cell(metric=metric, concept=surrogate, context=context, reason=why)
            for metric in (SIMULATABILITY, SIMULATED_AGREEMENT)
        ]

    def numbers(rows: np.ndarray) -> np.ndarray:
        return np.array([stats.kappa(said[rows], y[rows], n_labels), (said[rows] == y[rows]).mean()])

    found = stats.jackknife(numbers, stats.jackknife_blocks(groups, n_blocks, seed), n_groups)
    found = dataclasses.replace(found, resolution=np.full(2, least_error(groups)))
    one = "the model, and so the surrogate, gives one answer throughout: nothing beyond chance to name"
    return [
        Cell(
            metric=SIMULATABILITY, replicates=found[0], null=0.0, concept=surrogate, context=context,
            reason=one if np.isnan(found.value[0]) else "",
        ),
        Cell(metric=SIMULATED_AGREEMENT, replicates=found[1], null=commonest, concept=surrogate, context=context),
    ]  # fmt: skip


def _columns(features: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    if not features:
        raise InputError("there are no features: give what a person sees of the items (columns concept_* of a task)")
    for name, values in features.items():
        values = np.asarray(values)
        if values.shape != (n,) or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise InputError(f"feature {name!r} must be {n} finite numbers, one an item; got shape {values.shape}")
    return np.column_stack([np.asarray(values, float) for values in features.values()])


def _mask(mask: np.ndarray | None, n: int, name: str, default: bool) -> np.ndarray:
    mask = np.full(n, default) if mask is None else np.asarray(mask)
    if mask.shape != (n,) or mask.dtype != bool:
        raise InputError(f"{name} must be a mask [{n}] of bool, got shape {mask.shape} of {mask.dtype}")
    return mask
