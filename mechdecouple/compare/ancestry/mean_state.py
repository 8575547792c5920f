"""Mean state: how far the average activation lies apart in two models that share a basis."""

from __future__ import annotations

import numpy as np

from mechdecouple.errors import MismatchError
from mechdecouple.results import Metric
from mechdecouple.stats import permutation_p

MEAN_SHIFT = Metric(
    name="mean_shift",
    family="ancestry",
    title="shift of the mean state",
    measures="distance of two models' mean activations over the rms of A's spread about its mean, noise taken out",
    range="(-inf, inf), below 0 where the shift is less than its noise",
    invariances="one rotation, scale or translation of both",
    null="0; p from flipping the sign of each group's shift",
    assumes="the two share an ancestor, so that one dimension means the same in both",
)
MEAN_COSINE = Metric(
    name="mean_cosine",
    family="ancestry",
    title="cosine of mean states",
    measures="cosine of two models' mean activations, noise taken out",
    range="about [-1, 1]",
    invariances="one rotation of both, scale of either",
    null="0 for bases that have nothing in common",
    assumes="the two share an ancestor, so that one dimension means the same in both",
)
FLIPS = 999
MAX_GROUPS = 2048


class MeanState:
    """Shift and cosine of the mean states of two models on the same rows, as a function of the kept rows.

    Inner products of means are sums over pairs of different groups (all disjoint splits at once), so that noise of the
    mean does not count as shift.

    Args:
        A, B: activations [n, d] of both models on the same rows; groups: [n] independent unit of each row.

    Attributes:
        reason: why a value is NaN.

    Raises:
        MismatchError: unlike shapes.
    """

    reason = "the activations are constant here, the mean is no more than noise, or there are fewer than two groups"

    def __init__(self, A: np.ndarray, B: np.ndarray, groups: np.ndarray) -> None:
        if A.shape != B.shape or len(groups) != len(A):
            raise MismatchError(f"activations {A.shape} and {B.shape}, {len(groups)} groups: expected the same rows")
        self._a, self._b = A.astype(np.float64), B.astype(np.float64)
        self._group = np.unique(groups, return_inverse=True)[1]

    def __call__(self, rows: np.ndarray | None = None) -> np.ndarray:
        """[shift, cosine]; NaN for the ``reason``."""
        a, b, sizes = self._sums(rows)
        pairs = sizes.sum() ** 2 - (sizes**2).sum()
        if pairs == 0:
            return np.full(2, np.nan)
        kept = self._a if rows is None else self._a[rows]
        spread = float(((kept - kept.mean(axis=0)) ** 2).sum() / (len(kept) - 1))
        moved = _across(b - a, b - a) / pairs
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.sign(moved) * np.sqrt(np.abs(moved) / spread) if spread > 0 else np.nan
            own = _across(a, a) * _across(b, b)
            cosine = _across(a, b) / np.sqrt(own) if min(_across(a, a), own) > 0 else np.nan
        return np.array([shift, cosine])

    def p_shift(self, seed: int = 0) -> float:
        """Add-one p of a mean shift of zero, from flipping the sign of each group's shift."""
        a, b, sizes = self._sums(None)
        if len(sizes) < 2:
            return np.nan
        rng = np.random.default_rng(seed)
        moved = b - a
        if len(moved) > MAX_GROUPS:
            moved = moved[rng.choice(len(moved), MAX_GROUPS, replace=False)]
        # the diagonal does not change with the signs, so that it need not be taken out
        gram = moved @ moved.T
        signs = np.vstack([np.ones(len(moved)), rng.choice([-1.0, 1.0], (FLIPS, len(moved)))])
        found = ((signs @ gram) * signs).sum(axis=1)
        return float(permutation_p(found[0], found[1:]))

    def _sums(self, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of both models' rows in each group [g, d], and rows in each [g]."""
        rows = np.arange(len(self._a)) if rows is None else rows
        _, group = np.unique(self._group[rows], return_inverse=True)
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(group.max() + 1))
        a, b = (np.add.reduceat(x[rows][order], starts, axis=0) for x in (self._a, self._b))
        return a, b, np.bincount(group).astype(np.float64)


def _across(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of x_g · y_h over different groups g and h."""
    return float(x.sum(axis=0) @ y.sum(axis=0) - (x * y).sum())
