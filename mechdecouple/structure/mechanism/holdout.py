"""Holdout: which items a map between two models is fitted on, and which, made of values never fitted, it is tried on.

A map that was fitted on every token can have learned each by heart: from a table with as many rows as dimensions an
affine map makes any other table. Only on values that it never saw does it show whether two codes are one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, Shaped

from mechdecouple.errors import InputError

By = Literal["values", "groups"]
FOLDS = 4
ROUNDS = 3
LEAST_VALUES = 2 * FOLDS
"""Values that a factor needs to be held out: two a fold."""
LEAST_TEST, LEAST_FIT = 10, 24
_LEAST_INNER = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """Rows of one fit: ``test`` shares no value (and no group) with ``fit``.

    ``inner`` are places in ``fit``, split once more in the same way: (fit, test) pairs to choose penalties on.
    """

    fit: Int[np.ndarray, " f"]
    test: Int[np.ndarray, " t"]
    inner: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Holdout:
    """Folds of a task's items; an item is tested at most once.

    Attributes:
        held: names of the factors (inputs, the answer) whose values in test items were never fitted; empty where whole
            groups alone are held out.
        seen: names of those whose values a map may have learned by heart.
    """

    folds: tuple[Fold, ...]
    held: tuple[str, ...]
    seen: tuple[str, ...]

    @property
    def test(self) -> Int[np.ndarray, " t"]:
        """Rows that are tested, sorted."""
        return np.sort(np.concatenate([fold.test for fold in self.folds]))

    @property
    def used(self) -> Int[np.ndarray, " u"]:
        """Rows that are fitted or tested, sorted."""
        return np.unique(np.concatenate([np.r_[fold.fit, fold.test] for fold in self.folds]))

    def within(self) -> Holdout:
        """The same folds as places among the items that are used."""
        folds = (
            Fold(np.searchsorted(self.used, f.fit), np.searchsorted(self.used, f.test), f.inner) for f in self.folds
        )
        return dataclasses.replace(self, folds=tuple(folds))

    @property
    def sentence(self) -> str:
        """What was held out, and what a map may have learned by heart."""
        seen = f"; values seen while fitting: {', '.join(self.seen)}" if self.seen else ""
        if not self.held:
            return f"held out: whole groups of items{seen}"
        return f"held out: every value that test items have of {', '.join(self.held)}{seen}"


def hold_out(
    inputs: Mapping[str, Shaped[np.ndarray, " n"]],
    answer: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    by: By = "values",
    n_test: int = 128,
    n_used: int = 1000,
    n_fit: int = 400,
    seed: int = 0,
) -> Holdout:
    """Fold the values of all factors at once: test items have none but values of one fold, fit items none of it.

    Factors that have values in common (tokens that can stand at several places, or be answers too) share one folding,
    so that a value is held out wherever it stands. Where too few items would be left to fit or to test, the input with
    the fewest values is given up first and the answer last; where nothing else is left, whole groups are held out.

    Args:
        inputs: label of each item in each factor of the input. answer: label of its right answer.
        by: ``groups`` holds out groups of items only, which says how much of a map is learned by heart.
        n_test, n_used, n_fit: most items to test in all, to use in all, to fit at once.

    Raises:
        InputError: fewer than three groups, or too few items to fit on.
    """
    rng = np.random.default_rng(seed)
    factors = {**inputs, "answer": answer}
    names = [name for name, labels in factors.items() if len(np.unique(labels)) >= LEAST_VALUES]
    names = names if by == "values" else []
    while names:
        folds = [_folds([factors[name] for name in names], rng) for _ in range(ROUNDS)]
        if _suffices(folds[0], groups):
            break
        names = _without_one(names, factors)
    if not names:
        folds = [_folds([groups], rng)]
        if len(np.unique(groups)) < 3 or not _suffices(folds[0], groups):
            raise InputError(
                f"{len(groups)} items in {len(np.unique(groups))} groups are too few to fit a map on some groups and "
                f"to try it on others; expected 3 groups and about {2 * LEAST_FIT} items"
            )
    varying = [name for name, labels in factors.items() if len(np.unique(labels)) > 1]
    made = _rounds(folds, groups, n_test, n_used, n_fit, rng)
    return Holdout(made, tuple(names), tuple(name for name in varying if name not in names))


def _without_one(names: Sequence[str], factors: Mapping[str, np.ndarray]) -> list[str]:
    inputs = [name for name in names if name != "answer"]
    if not inputs:
        return []
    counts = [len(np.unique(factors[name])) for name in inputs]
    fewest = len(counts) - 1 - int(np.argmin(counts[::-1]))
    return [name for name in names if name != inputs[fewest]]


def _folds(factors: Sequence[np.ndarray], rng: np.random.Generator) -> Int[np.ndarray, "f n"]:
    """Fold of each item's value in each factor; factors that have values in common share one folding."""
    labels = [np.asarray(values, np.str_) for values in factors]
    pools: list[set[str]] = []
    for values in labels:
        own = set(values.tolist())
        for pool in [p for p in pools if p & own]:
            pools.remove(pool)
            own |= pool
        pools.append(own)
    fold: dict[str, int] = {}
    for pool in pools:
        values = sorted(pool)
        fold.update({values[i]: place % FOLDS for place, i in enumerate(rng.permutation(len(values)))})
    return np.array([[fold[v] for v in values.tolist()] for values in labels], np.int64)


def _suffices(folds: np.ndarray, groups: np.ndarray) -> bool:
    n_test, n_fit = 0, []
    for f in range(FOLDS):
        test = (folds == f).all(axis=0)
        if test.any():
            n_test += int(test.sum())
            n_fit.append(int(_apart((folds != f).all(axis=0), test, groups).sum()))
    return n_test >= LEAST_TEST and min(n_fit) >= LEAST_FIT


def _apart(fit: Bool[np.ndarray, " n"], test: Bool[np.ndarray, " n"], groups: np.ndarray) -> Bool[np.ndarray, " n"]:
    """``fit`` less the items of groups that are tested."""
    return fit & ~np.isin(groups, groups[test])


def _rounds(
    rounds: Sequence[np.ndarray], groups: np.ndarray, n_test: int, n_used: int, n_fit: int, rng: np.random.Generator
) -> tuple[Fold, ...]:
    n, taken, tests = len(groups), np.zeros(len(groups), bool), []
    for folds in rounds:
        if taken.sum() >= n_test:
            break
        for f in range(FOLDS):
            test = (folds == f).all(axis=0) & ~taken
            taken |= test
            if test.any():
                tests.append((folds, f, test))
    # Every fold gives up the same share of its test items, so that values stay as evenly tested as they can be.
    kept = np.zeros(n, bool)
    order = rng.permutation(np.flatnonzero(taken))
    kept[order[: max(n_test, 1)]] = True
    others = rng.permutation(np.flatnonzero(~kept))
    pool = kept.copy()
    pool[others[: max(n_used - int(kept.sum()), 0)]] = True
    made = [_fold(folds, f, test & kept, pool, groups, n_fit, rng) for folds, f, test in tests if (test & kept).any()]
    return tuple(made)


def _fold(
    folds: np.ndarray, f: int, test: np.ndarray, pool: np.ndarray, groups: np.ndarray, n_fit: int,
    rng: np.random.Generator,
) -> Fold:  # fmt: skip
    fit = _some(_apart(pool & (folds != f).all(axis=0), test, groups), n_fit, rng)
    inner = []
    for g in range(FOLDS):
        inner_test = fit & (folds == g).all(axis=0)
        inner_fit = _apart(fit & (folds != g).all(axis=0), inner_test, groups)
        if inner_test.any() and inner_fit.sum() >= LEAST_FIT // 2:
            inner.append((inner_fit, inner_test))
    if sum(t.sum() for _, t in inner) < _LEAST_INNER:
        inner = [_by_groups(fit, groups, rng)]
    places = tuple((np.flatnonzero(one[fit]), np.flatnonzero(other[fit])) for one, other in inner)
    return Fold(np.flatnonzero(fit), np.flatnonzero(test), places)


def _by_groups(fit: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A quarter of the groups against the others, where no values are left to hold out among those to be fitted."""
    names = rng.permutation(np.unique(groups[fit]))
    test = fit & np.isin(groups, names[: max(1, len(names) // 4)])
    return fit & ~test, test


def _some(rows: Bool[np.ndarray, " n"], most: int, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    out = np.zeros_like(rows)
    out[rng.permutation(np.flatnonzero(rows))[:most]] = True
    return out
