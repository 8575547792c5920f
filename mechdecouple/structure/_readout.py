"""Closed-form read-outs from moments: cheap to refit when rows are left out, shared by all concepts of a hook point."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

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
    rounding = 1e-13 * float(np.trace(S))
    S -= np.outer(mean, mean)
    r = len(S)
    trace = float(np.trace(S))
    if trace <= rounding:
        # The rows are one point: what is left of their spread is rounding, and not even positive.
        S[:] = 0.0
        trace = 0.0
    energy = float(np.vdot(S, S))
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


class Outcomes:
    """Which scored rows are read right, and how that changes when the read-out is fitted without some of them.

    A share of right answers is a step function of the read-out: rows near the threshold flip at random whenever it
    moves, and the jackknife would multiply that by its number of blocks. So for replicates the rows keep the outcome
    that they have under the full fit, and the change of the fit counts by how far it moves the scores, through a
    normal kernel of the usual width (Silverman's): what it does to the expected share.

    Args:
        score: [n, k] of the full fit, classes at about ∓1; NaN where a row was not scored.
        rows: their labels, contexts and groups.
    """

    def __init__(self, score: Float[np.ndarray, "n k"], rows: Rows) -> None:
        self._score, self._rows = score, rows
        self._right = right(score, rows.y)
        self._width = self._kernel_width()

    def accuracy(self) -> Float[np.ndarray, "contexts k"]:
        """Class-balanced accuracy by context; NaN where a class was not tested."""
        return balanced_accuracy(self._right, self._rows, np.ones(len(self._right), dtype=bool))

    def accuracy_without(
        self, score: Float[np.ndarray, "n k"], kept: Bool[np.ndarray, " n"]
    ) -> Float[np.ndarray, "contexts k"]:
        """The same over the kept rows, given their ``score`` under the read-out fitted without the others."""
        width = self._width[self._rows.context]
        sign = np.where(self._rows.y == 1, 1.0, -1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = ndtr(sign * score / width) - ndtr(sign * self._score / width)
        jump = right(score, self._rows.y) - self._right
        return balanced_accuracy(self._right + np.where(width > 0, moved, jump), self._rows, kept)

    def resolution(self) -> Float[np.ndarray, " k"]:
        """Twice the weight of one typical group in the mean accuracy: the standard error that no error at all leaves.

        With k errors among n groups the interval is about k -+ 2 √k of n; for k = 0 that is nothing, though up to four
        expected errors stay unseen once in fifty times.
        """
        data = self._rows
        weight = np.zeros(self._right.shape)
        for label in (0, 1):
            seen = (data.y == label) & ~np.isnan(self._right)
            count = sums_by(data.context, seen.astype(float))
            weight += seen / np.maximum(count, 1)[data.context]
        weight *= ~np.isnan(self.accuracy())[data.context]
        by_group = sums_by(data.groups, weight)
        total = by_group.sum(axis=0)
        share = np.divide(by_group, total, out=np.zeros_like(by_group), where=total > 0)
        return 2 * (share**2).sum(axis=0)

    def _kernel_width(self) -> Float[np.ndarray, "contexts k"]:
        """1.06 s n^(-1/5) in each context, s the spread of the scores within classes."""
        data = self._rows
        within, n = np.zeros((2, len(data.names), self._right.shape[1]))
        for label in (0, 1):
            seen = (data.y == label) & ~np.isnan(self._score)
            score = np.where(seen, self._score, 0.0)
            count, total, square = (sums_by(data.context, v) for v in (seen.astype(float), score, score**2))
            within += square - total**2 / np.maximum(count, 1)
            n += count
        spread = np.sqrt(np.maximum(within, 0.0) / np.maximum(n - 2, 1))
        return np.where(spread > _TIE, 1.06 * spread * np.maximum(n, 1) ** -0.2, 0.0)


def right(score: Float[np.ndarray, "n k"], y: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """1 where score and label agree, ½ at a tie, 0 where they do not; NaN where one of them is unknown."""
    outcome = np.where(np.abs(score) < _TIE, 0.5, (score > 0).astype(float))
    return np.where(np.isnan(score) | np.isnan(y), np.nan, np.where(y == 1, outcome, 1 - outcome))


def balanced_accuracy(
    outcome: Float[np.ndarray, "n k"], rows: Rows, kept: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "contexts k"]:
    """Mean over the classes of the kept rows' mean outcome, by context; NaN where a class was not tested."""
    shares = []
    for label in (0, 1):
        counted = (rows.y == label) & ~np.isnan(outcome) & kept[:, None]
        total, count = (sums_by(rows.context, v) for v in (np.where(counted, outcome, 0.0), counted.astype(float)))
        shares.append(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
    return np.mean(shares, axis=0)


def sums_by(code: Int[np.ndarray, " n"], values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "codes k"]:
    """Sum of the rows of each code 0, 1, …"""
    return np.stack([np.bincount(code, column) for column in values.T], axis=1)


def mean_over_contexts(values: Float[np.ndarray, " contexts *rest"]) -> Float[np.ndarray, " *rest"]:
    """Mean of the defined contexts; NaN where there is none."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(total, defined.sum(axis=0), out=np.full(total.shape, np.nan), where=defined.any(axis=0))
