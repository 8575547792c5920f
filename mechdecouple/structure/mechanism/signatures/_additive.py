"""The additive model of some factors: how much of a variance the sum of their main effects explains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve


class AdditiveFit:
    """Adjusted share of the variance of y [n, d], summed over columns, that a sum over levels of factors explains.

    Least squares on one column a level. The share is 1 - (residual / its degrees of freedom) over (total / its own), so
    that levels which explain nothing add nothing; a factor that is a function of others does no harm. In a finite
    population each variance is that of the population, so that a complete one has its own share.
    """

    def __init__(
        self,
        y: Float[np.ndarray, "n d"],
        factors: Sequence[Int[np.ndarray, " n"]],
        population: float | int = math.inf,
    ) -> None:
        self._y, self._population = y, population
        start = np.cumsum([0, *(int(f.max()) + 1 for f in factors)])
        columns = np.stack([f + s for f, s in zip(factors, start[:-1], strict=True)], axis=1)
        n, k = columns.shape
        entries = (np.ones(n * k), (np.repeat(np.arange(n), k), columns.ravel()))
        self._design = sparse.coo_array(entries, shape=(n, int(start[-1]))).tocsr()
        self._total = self._moments(np.arange(n))

    def __call__(self, rows: Int[np.ndarray, " m"]) -> float:
        """The share on some rows; NaN where they are too few for the levels, or do not differ."""
        gone = np.setdiff1d(np.arange(len(self._y)), rows)
        moments = self._total
        if 2 * len(gone) < len(self._y):
            moments = tuple(t - g for t, g in zip(moments, self._moments(gone), strict=True))
        else:
            moments = self._moments(rows)
        gram, cross, total, square = moments
        m = len(rows)
        spread = float(square - (total**2).sum() / m)
        if spread <= 1e-20 * max(float(square), 1.0):
            return math.nan
        cross = cross - np.outer(np.diag(gram), total / m)
        # A hair of ridge solves what is left undetermined; the degrees of freedom are those that it leaves.
        factor = cho_factor(gram + 1e-8 * float(np.trace(gram)) / len(gram) * np.eye(len(gram)))
        freedom = m - float(np.trace(cho_solve(factor, gram)))
        if freedom < 1:
            return math.nan
        residual = spread - float((cross * cho_solve(factor, cross)).sum())
        finite = (1 - (m - freedom) / self._population) / (1 - 1 / self._population)
        return 1 - finite * (max(residual, 0.0) / freedom) / (spread / (m - 1))

    def _moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        x, y = self._design[rows], self._y[rows]
        return (x.T @ x).toarray(), np.asarray(x.T @ y), y.sum(axis=0), np.asarray((y**2).sum())
