"""Products of the means of cells, from pairs of rows of different groups alone: what a row has of its own cancels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse


class MeanProducts:
    """Product of the means of x and y in each cell, as a function of the kept rows; few left out cost little.

    Args:
        x, y: [n, d]; cell, group: [n] codes from 0. ``x is y`` gives the squared length of the means.
    """

    def __init__(
        self,
        x: Float[np.ndarray, "n d"],
        y: Float[np.ndarray, "n d"],
        cell: Int[np.ndarray, " n"],
        group: Int[np.ndarray, " n"],
    ) -> None:
        self._x, self._y, self._cell, self._group = x, y, cell, group
        self._all = self._moments(np.arange(len(x)))

    def __call__(self, rows: Int[np.ndarray, " m"]) -> tuple[float, float]:
        """Share of the rows in cells that hold two groups or more, and the product, mean over these rows; 0 without."""
        gone = np.setdiff1d(np.arange(len(self._x)), rows)
        if 2 * len(gone) < len(self._x):
            size, first, second, own_size, own = (a - g for a, g in zip(self._all, self._moments(gone), strict=True))
        else:
            size, first, second, own_size, own = self._moments(rows)
        pairs = size**2 - own_size
        filled = pairs > 0
        if not filled.any():
            return 0.0, 0.0
        products = (np.einsum("cd,cd->c", first, second) - own)[filled] / pairs[filled]
        weight = size[filled]
        return float(weight.sum() / len(rows)), float((weight * products).sum() / weight.sum())

    def _moments(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Per cell: rows, sums of x and y, and over its groups the sums of their squared sizes and products.

        Rows of one group must be left out together for these to be differences of those of all rows.
        """
        cells = int(self._cell.max(initial=0)) + 1
        cell, x, y = self._cell[rows], self._x[rows], self._y[rows]
        entry, own = np.unique(cell * (int(self._group.max(initial=0)) + 1) + self._group[rows], return_inverse=True)
        own, of = own.ravel(), entry // (int(self._group.max(initial=0)) + 1)
        if len(entry) < len(rows):
            u = _sums(own, x, len(entry))
            v = u if self._y is self._x else _sums(own, y, len(entry))
        else:
            u, v, of = x, y, cell
        size = np.bincount(cell, minlength=cells).astype(float)
        own_size = np.bincount(entry // (int(self._group.max(initial=0)) + 1), np.bincount(own) ** 2.0, cells)
        product = np.bincount(of, np.einsum("ed,ed->e", u, v), cells)
        first = _sums(cell, x, cells)
        return size, first, first if self._y is self._x else _sums(cell, y, cells), own_size, product


def _sums(code: np.ndarray, x: np.ndarray, n_codes: int) -> np.ndarray:
    """Sum of the rows of each code."""
    member = sparse.csr_array((np.ones(len(code)), (code, np.arange(len(code)))), shape=(n_codes, len(code)))
    return np.asarray(member @ x)
