"""Rows: the checked activations, labels, contexts and groups that the read-out measures work on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import grouped_folds


class Rows:
    """Checked activations, labels, contexts and groups of one hook point, in coordinates that lose nothing.

    The rows are centred by one constant and, where there are fewer of them than dimensions, turned into the basis of
    their own span: distances and inner products stay what they were.

    Attributes:
        X: [n, r] rows; y: [n, k] labels 0/1 with NaN where unknown; context: [n] codes; names: the contexts, sorted;
        groups: [n] codes; single: whether labels came as a vector.
    """

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        y: Shaped[np.ndarray, " m *k"],
        context: Shaped[np.ndarray, " c"] | None,
        groups: Shaped[np.ndarray, " g"] | None,
    ) -> None:
        self.X = reduced(finite(X))
        n = len(self.X)
        self.single = np.ndim(y) == 1
        self.y = _labels(y, n)
        context = np.zeros(n, dtype=int) if context is None else _one_a_row(context, n, "context")
        self.names, self.context = np.unique(context, return_inverse=True)
        groups = np.arange(n) if groups is None else _one_a_row(groups, n, "group")
        self.groups = np.unique(groups, return_inverse=True)[1]

    def folds(self, n_folds: int, seed: int) -> Int[np.ndarray, " n"]:
        """Grouped folds that spread the contexts evenly.

        Labels are left to chance: folds dealt by the labels of several concepts would carry the sample's accidental
        correlations between them from the fitted rows to the scored ones.
        """
        return grouped_folds(self.context, self.groups, n_folds, seed)

    def kept(self, rows: Int[np.ndarray, " m"] | None) -> Bool[np.ndarray, " n"]:
        """Mask of the kept row indices (all of them for None)."""
        mask = np.ones(len(self.X), dtype=bool)
        if rows is not None:
            mask[:] = False
            mask[rows] = True
        return mask

    def shaped(self, values: Float[np.ndarray, "... k"]) -> float | np.ndarray:
        """Values per concept, without that axis where the labels came as a vector."""
        values = values[..., 0] if self.single else values
        return values if np.ndim(values) else float(values)


def finite(X: np.ndarray) -> Float64[np.ndarray, "n d"]:
    """X in float64; an InputError names the first value that is not finite."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"activations have shape {X.shape}, expected [rows, dimensions] with at least one of each")
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise InputError(f"activation {X[row, column]} at row {row}, dimension {column}: expected finite values")
    return X


def reduced(X: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n r"]:
    """Centred rows, constant columns all zero; with n < d in an orthonormal basis of their span."""
    constant = X.min(axis=0) == X.max(axis=0)
    X = X - X.mean(axis=0)
    # What rounding of the mean leaves of a constant column would pass for a code.
    X[:, constant] = 0.0
    return X @ np.linalg.qr(X.T)[0] if len(X) < X.shape[1] else X


def _labels(y: np.ndarray, n: int) -> Float64[np.ndarray, "n k"]:
    y = np.asarray(y)
    if y.ndim not in (1, 2) or len(y) != n:
        raise InputError(f"labels have shape {y.shape}, expected ({n},) or ({n}, concepts)")
    y = y.astype(np.float64).reshape(n, -1)
    wrong = ~(np.isnan(y) | (y == 0) | (y == 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(f"label {y[row, column]:g} at row {row}, concept {column}: expected 0, 1 or NaN for unknown")
    return y


def _one_a_row(values: np.ndarray, n: int, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,):
        raise InputError(f"{what} has shape {values.shape}, expected ({n},), one a row of the activations")
    return values
