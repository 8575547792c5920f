"""The information that is there: held-out accuracy of a read-out fitted and tested within each context."""

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

PROBE_ACCURACY = Metric(
    name="probe_accuracy",
    family="fracture",
    title="Probe accuracy within contexts",
    measures="held-out accuracy of a concept's linear read-out fitted and tested in the same context",
    range="[0, 1]",
    direction="",
    invariances="rotation, translation, uniform scale",
    null=".5: the concept cannot be read linearly",
    source="Alain & Bengio, arXiv 1610.01644",
)

_FOLDS = 5


class ProbeAccuracy:
    """Within-context probe accuracy as a function of the kept rows, for ``stats.jackknife``.

    In each context, five grouped folds; the same closed-form read-out as for CCGP (shrunk discriminant, threshold
    midway), scored by class-balanced accuracy, ties ½; mean over contexts that hold both classes.

    Args and errors as for ``Ccgp``; ``context=None`` takes all rows as one context.

    Attributes:
        reason: why a value is NaN.
    """

    reason = "probe accuracy needs a context that holds both classes of the concept in several groups"

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        y: Shaped[np.ndarray, " m *k"],
        context: Shaped[np.ndarray, " c"] | None = None,
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        self._rows = rows = Rows(X, y, context, groups)
        fold = rows.folds(_FOLDS, seed)
        self._n_folds = int(fold.max()) + 1
        self._parts = [
            _Part(rows, fold, self._n_folds, np.flatnonzero(rows.context == c)) for c in range(len(rows.names))
        ]

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float | np.ndarray:
        """Accuracy of each concept, [k] (a float for vector labels); NaN for the ``reason``."""
        kept = self._rows.kept(rows)
        outcome = right(self._scores(kept), self._rows.y)
        return self._rows.shaped(mean_over_contexts(balanced_accuracy(outcome, self._rows, kept)))

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

    def _scores(self, kept: np.ndarray) -> np.ndarray:
        """Score [n, k] of each kept row by the read-out of the other folds of its context; NaN where there is none."""
        found = np.full(self._rows.y.shape, np.nan)
        for part in self._parts:
            here = kept[part.member]
            moments = part.moments.of(here)
            everything = [m.sum(axis=0) for m in moments]
            class_count, class_total = part.sums.of(here)
            for f in range(self._n_folds):
                folds = np.arange(self._n_folds) != f
                test = here & (part.fold == f)
                count, total, second = (m - by_fold[f] for m, by_fold in zip(everything, moments, strict=True))
                if not test.any() or count < 2:
                    continue
                means = class_means(class_count[:, folds], class_total[:, folds])
                found[part.member[test]] = scores(means, covariance(float(count), total, second), part.data.X[test])
        return found


class _Part:
    """The rows of one context, in the coordinates of their own span, with their moments by fold."""

    def __init__(self, rows: Rows, fold: np.ndarray, n_folds: int, member: np.ndarray) -> None:
        self.member, self.fold = member, fold[member]
        self.data = Rows(rows.X[member], rows.y[member], None, None)
        self.moments = CellMoments(self.data.X, self.fold, n_folds)
        self.sums = ClassSums(self.data, self.fold, n_folds)


def probe_accuracy(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m *k"],
    context: Shaped[np.ndarray, " c"] | None = None,
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> float | np.ndarray:
    """Probe accuracy within contexts of each concept, in [0, 1]; .5 where the concept cannot be read.

    See ``ProbeAccuracy``. Neither direction is tidier: it says how much there is to organise.

    >>> rng = np.random.default_rng(0)
    >>> y, context = rng.integers(0, 2, 400), rng.integers(0, 4, 400)
    >>> X = rng.normal(size=(400, 8)) * .1
    >>> X[np.arange(400), context] += y
    >>> probe_accuracy(X, y, context)
    1.0
    """
    return ProbeAccuracy(X, y, context, groups)()
