"""Closed-form read-outs from moments: cheap to refit when rows are left out, shared by all concepts of a hook point."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from mechdecouple.structure._rows import Rows

# A normalised score below this is a tie: the rounding error of an exact zero has a sign of its own.
_TIE = 1e-9


class CellMoments:
    """Count, sum and second moment of X over cells, of all rows or without some; leaving rows out costs only those."""

    def __init__(self, X: Float[np.ndarray, "n r"], cell: Int[np.ndarray, " n"], n_cells: int) -> None:
        self._X, self._cell = X, cell
        self._count = np.zeros(n_cells)
        self._sum = np.zeros((n_cells, X.shape[1]))
        self._second = np.zeros((n_cells, X.shape[1], X.shape[1]))
        self._add(np.ones(len(X), dtype=bool), 1.0, self._count, self._sum, self._second)

    def of(self, kept: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts [cells], sums [cells, r] and second moments [cells, r, r] of the kept rows."""
        moments = self._count.copy(), self._sum.copy(), self._second.copy()
        self._add(~kept, -1.0, *moments)
        return moments

    def _add(self, mask: np.ndarray, sign: float, count: np.ndarray, total: np.ndarray, second: np.ndarray) -> None:
        for c in np.unique(self._cell[mask]):
            rows = self._X[mask & (self._cell == c)]
            count[c] += sign * len(rows)
            total[c] += sign * rows.sum(axis=0)
            second[c] += sign * (rows.T @ rows)


class ClassSums:
    """Count and sum of X over context × fold × concept × class, for any subset of the rows."""

    def __init__(self, rows: Rows, fold: Int[np.ndarray, " n"], n_folds: int) -> None:
        n, k = rows.y.shape
        self._shape = (len(rows.names), n_folds, k, 2)
        row, concept = np.nonzero(~np.isnan(rows.y))
        cell = np.ravel_multi_index(
            (rows.context[row], fold[row], concept, rows.y[row, concept].astype(int)), self._shape
        )
        shape = (int(np.prod(self._shape)), n)
        self._member = sparse.csr_array((np.ones(len(row)), (cell, row)), shape=shape)
        self._X = rows.X

    def of(self, kept: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Counts [contexts, folds, concepts, 2] and sums [contexts, folds, concepts, 2, r] of the kept rows."""
        count = self._member @ kept.astype(float)
        total = self._member @ (self._X * kept[:, None])
        return count.reshape(self._shape), total.reshape(*self._shape, -1)


def class_means(
    count: Float[np.ndarray, "contexts folds k 2"], total: Float[np.ndarray, "contexts folds k 2 r"]
) -> Float[np.ndarray, "contexts k 2 r"]:
    """Mean of each class in each context over the given folds; NaN where a context lacks one of the classes."""
    count, total = count.sum(axis=1), total.sum(axis=1)
    both = np.all(count > 0, axis=-1)[..., None, None]
    return np.where(both, total / np.maximum(count, 1)[..., None], np.nan)


def covariance(count: float, total: Float[np.ndarray, " r"], second: Float[np.ndarray, "r r"]) -> np.ndarray:
    """Covariance from moments, shrunk towards a multiple of the identity (oracle-approximating shrinkage).

    Source: Chen, Wiesel, Eldar & Hero 2010, doi:10.1109/TSP.2010.2053029, for large r as in scikit-learn.
    """
    mean = total / count
    S = second / count
    S -= np.outer(mean, mean)
    r = len(S)
    trace, energy = float(np.trace(S)), float(np.vdot(S, S))
    excess = (count + 1) * (energy - trace**2 / r)
    share = min(1.0, (energy + trace**2) / excess) if excess > 0 else 1.0
    # The floor keeps the matrix invertible where every direction but a few is empty.
    share = max(share, 1e-9)
    S *= 1 - share
    S[np.diag_indices(r)] += share * trace / r if trace > 0 else 1.0
    return S


def solve(sigma: Float[np.ndarray, "r r"], right: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "r k"]:
    """Σ⁻¹ · right by Cholesky; ``sigma`` is overwritten."""
    # The transpose of a symmetric C-ordered matrix is the Fortran-ordered matrix that LAPACK can factor in place.
    return cho_solve(cho_factor(sigma.T, lower=True, overwrite_a=True, check_finite=False), right, check_finite=False)


def scores(
    means: Float[np.ndarray, "contexts k 2 r"], sigma: Float[np.ndarray, "r r"], X: Float[np.ndarray, "m r"]
) -> Float[np.ndarray, "m k"]:
    """Discriminant scores w·(x − middle), w = Σ⁻¹δ, in units where the fitted classes lie at ±1.

    δ and the middle are means over contexts: contexts count alike, and a concept that is more frequent in one of them
    does not turn into a read-out of that one. NaN for a concept that no context holds both classes of.
    """
    by_class = mean_over_contexts(means)
    delta, middle = by_class[:, 1] - by_class[:, 0], by_class.mean(axis=1)
    weights = solve(sigma, np.nan_to_num(delta).T)
    half = (delta * weights.T).sum(axis=1) / 2
    score = X @ weights - (middle * weights.T).sum(axis=1)
    return np.divide(score, half, out=np.where(np.isnan(half), np.nan, np.zeros_like(score)), where=half > 0)


class Tally:
    """Class-balanced accuracy by context, gathered split by split; ties count ½."""

    def __init__(self, n_contexts: int, n_concepts: int) -> None:
        self._right = np.zeros((n_contexts, n_concepts, 2))
        self._tested = np.zeros_like(self._right)

    def add(
        self, score: Float[np.ndarray, "m k"], y: Float[np.ndarray, "m k"], context: Int[np.ndarray, " m"] | int
    ) -> None:
        """Counts the rows of one split; rows with a NaN score or label do not count."""
        outcome = np.where(np.abs(score) < _TIE, 0.5, (score > 0).astype(float))
        context = np.broadcast_to(context, len(score))
        for label in (0, 1):
            counted = ((y == label) & ~np.isnan(score)).astype(float)
            np.add.at(self._tested[..., label], context, counted)
            np.add.at(self._right[..., label], context, counted * (outcome if label else 1 - outcome))

    def accuracy(self) -> Float[np.ndarray, "contexts k"]:
        """Mean over the classes of the share right; NaN where a class was not tested."""
        share = np.divide(self._right, self._tested, out=np.full_like(self._right, np.nan), where=self._tested > 0)
        return share.mean(axis=-1)


def mean_over_contexts(values: Float[np.ndarray, " contexts *rest"]) -> Float[np.ndarray, " *rest"]:
    """Mean of the defined contexts; NaN where there is none."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(total, defined.sum(axis=0), out=np.full(total.shape, np.nan), where=defined.any(axis=0))
