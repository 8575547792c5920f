"""Cross-condition generalisation: does a concept's read-out, fitted in some contexts, work in the others?"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.results import Metric
from mechdecouple.structure._readout import (
    CellMoments,
    ClassSums,
    Outcomes,
    balanced_accuracy,
    class_means,
    covariance,
    mean_over_contexts,
    right,
    scores,
)
from mechdecouple.structure._rows import Rows

CCGP = Metric(
    name="ccgp",
    family="fracture",
    title="CCGP over contexts",
    measures="accuracy of a concept's linear read-out in contexts that it was not fitted in",
    range="[0, 1]",
    direction="higher",
    invariances="rotation, translation, uniform scale",
    null=".5: the concept is held in unrelated ways; only meaningful where probe_accuracy is above .5",
    source="Bernardi et al. 2020, doi:10.1016/j.cell.2020.09.031",
    margin=0.05,
)

_MOST_SETS = 10
_FOLDS = 3


class Ccgp:
    """CCGP as a function of the kept rows, for ``stats.jackknife``; the concepts share each covariance.

    Every context in turn is left out (with more than ten contexts: sets of them). The read-out is closed-form:
    w = Σ⁻¹δ with δ the mean over the fitted contexts of the difference of class means, Σ the shrunk covariance of all
    fitted rows, threshold midway between the class means. It is scored by class-balanced accuracy in each left-out
    context, ties counting ½; a context counts if both classes occur in it. Where groups occur in several contexts, the
    tested groups are left out of the fit as well (three folds).

    Args:
        X: [n, d] activations.
        y: [n] or [n, k] labels 0/1 (NaN unknown).
        context: [n] context of each row; groups: [n] unit of resampling (None: every row its own).

    Attributes:
        contexts: the contexts, sorted.
        reason: why a value is NaN.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ.
    """

    reason = "CCGP needs two or more contexts that hold both classes of the concept"

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        y: Shaped[np.ndarray, " m *k"],
        context: Shaped[np.ndarray, " c"],
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        self._rows = rows = Rows(X, y, context, groups)
        self.contexts = rows.names
        places = np.unique(np.column_stack([rows.groups, rows.context]), axis=0)
        spanning = len(places) > rows.groups.max() + 1
        self._fold = rows.folds(_FOLDS, seed) if spanning else np.zeros(len(rows.X), dtype=int)
        self._n_folds = int(self._fold.max()) + 1
        self._n_sets = min(len(rows.names), _MOST_SETS)
        self._set = np.arange(len(rows.names)) % self._n_sets
        cell = self._set[rows.context] * self._n_folds + self._fold
        self._moments = CellMoments(rows.X, cell, self._n_sets * self._n_folds)
        self._sums = ClassSums(rows, self._fold, self._n_folds)

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float | np.ndarray:
        """CCGP of each concept, [k] (a float for vector labels); NaN for the ``reason``."""
        return self._rows.shaped(mean_over_contexts(self._by_context(rows)))

    def by_context(self, rows: Int[np.ndarray, " m"] | None = None) -> float | np.ndarray:
        """Accuracy in each left-out context, [contexts, k] (or [contexts]); NaN where a class is missing."""
        return self._rows.shaped(self._by_context(rows))

    def left_out(self, rows: Int[np.ndarray, " m"]) -> float | np.ndarray:
        """The jackknife's replicate of the value: as on the kept rows, without the noise of rows that flip."""
        kept = self._rows.kept(rows)
        return self._rows.shaped(mean_over_contexts(self._outcomes.accuracy_without(self._scores(kept), kept)))

    @property
    def resolution(self) -> float | np.ndarray:
        """The least standard error that so many groups leave, however few errors there are."""
        return self._rows.shaped(self._outcomes.resolution())

    @cached_property
    def _outcomes(self) -> Outcomes:
        return Outcomes(self._scores(self._rows.kept(None)), self._rows)

    def _by_context(self, rows: np.ndarray | None) -> np.ndarray:
        kept = self._rows.kept(rows)
        return balanced_accuracy(right(self._scores(kept), self._rows.y), self._rows, kept)

    def _scores(self, kept: np.ndarray) -> np.ndarray:
        """Score [n, k] of each kept row by the read-out fitted on the other kept contexts; NaN where there is none."""
        data = self._rows
        grid = self._n_sets, self._n_folds
        moments = [m.reshape(*grid, *m.shape[1:]) for m in self._moments.of(kept)]
        by_set = [m.sum(axis=1) for m in moments]
        by_fold = [m.sum(axis=0) for m in moments]
        everything = [m.sum(axis=0) for m in by_set]
        class_count, class_total = self._sums.of(kept)
        found = np.full(data.y.shape, np.nan)
        for s in range(self._n_sets):
            for f in range(self._n_folds):
                test = kept & (self._set[data.context] == s) & (self._fold == f)
                count, total, second = (m - of_set[s] for m, of_set in zip(everything, by_set, strict=True))
                if self._n_folds > 1:
                    count, total, second = (
                        m - (of_fold[f] - cell[s, f])
                        for m, of_fold, cell in zip((count, total, second), by_fold, moments, strict=True)
                    )
                if not test.any() or count < 2:
                    continue
                contexts = np.flatnonzero(self._set != s)
                folds = [g for g in range(self._n_folds) if g != f or self._n_folds == 1]
                means = class_means(class_count[contexts][:, folds], class_total[contexts][:, folds])
                found[test] = scores(means, covariance(float(count), total, second), data.X[test])
        return found


def ccgp(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m *k"],
    context: Shaped[np.ndarray, " c"],
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> float | np.ndarray:
    """CCGP of each concept; higher is tidier, 1 for one code in all contexts, .5 for unrelated codes.

    See ``Ccgp`` for the definition. A value near .5 is fracture only if the concept can be read *within* contexts:
    show ``probe_accuracy`` beside it.

    >>> rng = np.random.default_rng(0)
    >>> y, context = rng.integers(0, 2, 400), rng.integers(0, 4, 400)
    >>> X = rng.normal(size=(400, 8)) * .1
    >>> X[:, 0] += y
    >>> ccgp(X, y, context)
    1.0
    """
    return Ccgp(X, y, context, groups)()
