"""Exact nearest neighbours of rows among the rows of other groups, and rows that differ by rounding alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

_ENTRIES = 4_000_000
_SPARE = 8
_DIRECTIONS = 8


def nearest(
    X: Float64[np.ndarray, "n d"],
    Y: Float64[np.ndarray, "m d"],
    groups: Int[np.ndarray, " m"],
    without: Int[np.ndarray, "n e"],
    k: int,
) -> tuple[Int[np.ndarray, "n k"], Float64[np.ndarray, "n k"]]:
    """The k rows of Y nearest to each row of X, those of the groups ``without`` left out; index and distance in order.

    Products in single precision give a lower bound of every distance. The shortest of them are measured in double, and
    where one that was not measured could still be nearer the row is done again with products in double. Where there are
    fewer than k such rows the distance is infinite. Centre the rows first: rounding grows with their length.
    """
    index, distance = np.zeros((len(X), k), dtype=np.int64), np.full((len(X), k), np.inf)
    todo = np.arange(len(X))
    for dtype in (np.float32, np.float64):
        y = Y.astype(dtype)
        size = np.einsum("ij,ij->i", Y, Y)
        slack = 1 - 2 * np.sqrt(X.shape[1]) * np.finfo(dtype).eps
        sure = np.ones(len(todo), dtype=bool)
        step = max(1, _ENTRIES // len(Y))
        for start in range(0, len(todo), step):
            rows = todo[start : start + step]
            own = np.einsum("ij,ij->i", X[rows], X[rows])
            least = slack * (own[:, None] + size).astype(dtype) - 2 * (X[rows].astype(dtype) @ y.T)
            for left_out in without[rows].T:
                least[left_out[:, None] == groups] = np.inf
            index[rows], distance[rows], sure[start : start + step] = _measured(X[rows], Y, least, k)
        todo = todo[~sure]
    return index, distance


def _measured(X: np.ndarray, Y: np.ndarray, least: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index, distance of the k nearest by exact distance among those of smallest lower bound; whether they are sure."""
    n_short = min(k + _SPARE, least.shape[1])
    short = np.argpartition(least, n_short - 1, axis=1)[:, :n_short]
    bound = np.take_along_axis(least, short, axis=1)
    squares = np.empty(short.shape)
    step = max(1, _ENTRIES // (n_short * X.shape[1]))
    for start in range(0, len(X), step):
        part = slice(start, start + step)
        gap = Y[short[part]] - X[part, None]
        squares[part] = np.einsum("ijk,ijk->ij", gap, gap)
    squares[np.isinf(bound)] = np.inf
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(squares, order, axis=1)
    sure = (found[:, -1] <= bound.max(axis=1)) | (n_short == least.shape[1])
    index, distance = np.zeros((len(X), k), dtype=np.int64), np.full((len(X), k), np.inf)
    index[:, : order.shape[1]] = np.take_along_axis(short, order, axis=1)
    distance[:, : order.shape[1]] = np.sqrt(found)
    return index, distance, sure


def precision(X: Shaped[np.ndarray, "n d"]) -> float:
    """Relative rounding of the values: that of single precision where they fit into it, whatever they are stored as."""
    with np.errstate(over="ignore"):
        single = np.array_equal(X, X.astype(np.float32))
    return float(np.finfo(np.float32 if single else np.float64).eps)


def distinct_rows(X: Float[np.ndarray, "n d"], tolerance: float) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " n"]]:
    """First row of each distinct point, and the point of each row; rows closer than tolerance · length are one point.

    Rows so close have nearly the same length, direction and hence projection on any line. Rows that agree on several
    lines are compared in full.
    """
    length = np.sqrt(np.einsum("ij,ij->i", X, X))
    unit = X / np.where(length > 0, length, 1.0)[:, None]
    lines = np.random.default_rng(0).normal(size=(X.shape[1], _DIRECTIONS))
    shadow = unit @ (lines / np.linalg.norm(lines, axis=0))
    shadow = np.column_stack([shadow, np.log(np.where(length > 0, length, 1.0))])
    order = np.argsort(shadow, axis=0, kind="stable")
    step = np.diff(np.take_along_axis(shadow, order, axis=0), axis=0, prepend=shadow[order[:1], np.arange(9)])
    runs = np.empty(shadow.shape, dtype=np.int64)
    np.put_along_axis(runs, order, np.cumsum(step > 3 * tolerance, axis=0), axis=0)
    cell = np.unique(runs, axis=0, return_inverse=True)[1].ravel()

    point = np.arange(len(X))
    by_cell = np.argsort(cell, kind="stable")
    for rows in np.split(by_cell, np.flatnonzero(np.diff(cell[by_cell])) + 1):
        while len(rows) > 1:
            near = np.linalg.norm(X[rows] - X[rows[0]], axis=1) <= tolerance * length[rows[0]]
            point[rows[near]] = rows[0]
            rows = rows[~near]
    first, which = np.unique(point, return_inverse=True)
    return first, which
