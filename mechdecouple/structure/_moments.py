"""Sums over rows that U-statistics of centred linear Gram matrices are made of, with each block left out in turn.

Kept apart because participation ratio and CKA are both made of them. For centred rows x_i and y_i (K = XX', L = YY'):
F = <K, L> = ||X'Y||^2, Q = sum |x_i|^2 |y_i|^2, T = tr K. Without block b the rows have a new mean m, and with
u_i = x_i . m everything follows from sums already at hand, so that leaving out all blocks costs little more than none:
F' = F - 2 <C, C_b> + |C_b|^2 - 2 n' sum u_i v_i + n'^2 |m_x|^2 |m_y|^2, where C = X'Y and C_b is its part from block b.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError, MismatchError

_CHUNK_ROWS = 256
_CHUNK_ENTRIES = 8_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """The sums, for L layers. First axis r: index 0 has all rows, index i has block i - 1 left out.

    Attributes:
        n: rows ``[r]``.
        trace: T ``[r, L]``.
        norms: Q ``[r, L, L]``.
        inner: F ``[r, L, L]``; NaN for pairs that were not asked for.
    """

    n: Float[np.ndarray, " r"]
    trace: Float[np.ndarray, "r L"]
    norms: Float[np.ndarray, "r L L"]
    inner: Float[np.ndarray, "r L L"]

    def hsic(self) -> Float[np.ndarray, "r L L"]:
        """The unbiased ||cov(x, y)||^2 of every pair of layers (U-statistic; of one layer with itself, tr cov^2).

        NaN below 4 rows.
        """
        n = np.where(self.n >= 4, self.n, np.nan)[:, None, None]
        traces = self.trace[:, :, None] * self.trace[:, None, :]
        return (self.inner - n / (n - 2) * self.norms + traces / ((n - 1) * (n - 2))) / (n * (n - 3))

    def squared_trace(self) -> Float[np.ndarray, "r L"]:
        """The unbiased (tr cov)^2 of every layer, from pairs of disjoint row pairs; NaN below 4 rows."""
        n = np.where(self.n >= 4, self.n, np.nan)[:, None]
        q, f = (np.einsum("rll->rl", m) for m in (self.norms, self.inner))
        total = self.trace**2 * (n * n - 3 * n + 1) - n * (n - 1) * q + 2 * f
        return total / (n * (n - 1) * (n - 2) * (n - 3))


def checked(layers: Sequence[np.ndarray], name: str = "X") -> list[np.ndarray]:
    """The layers, all finite real matrices with the same rows; else an error that names layer and place."""
    if len(layers) == 0:
        raise InputError(f"{name} holds no layers: give at least one [n, d] array")
    for i, layer in enumerate(layers):
        where = name if len(layers) == 1 else f"{name}[{i}]"
        if np.ndim(layer) != 2 or not np.issubdtype(np.asarray(layer).dtype, np.floating):
            raise InputError(f"{where} is {np.asarray(layer).dtype} {np.shape(layer)}: expected real numbers [n, d]")
        if len(layer) != len(layers[0]):
            raise MismatchError(f"{where} has {len(layer)} rows, {name}[0] has {len(layers[0])}: use the same items")
        finite = np.isfinite(layer)
        if not finite.all():
            row, column = (int(k) for k in np.argwhere(~finite)[0])
            raise InputError(
                f"{where} is {layer[row, column]} at row {row}, column {column}: expected finite activations"
            )
    return list(layers)


def centred(X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows minus their mean, at unit mean square; all zero where only rounding is left. float64 stays float64."""
    exact = X.astype(np.float64)
    largest = float(np.abs(exact).max(initial=0.0))
    exact -= exact.mean(axis=0)
    size = float(np.sqrt(np.mean(exact**2))) if exact.size else 0.0
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    if size <= 8 * min(np.finfo(X.dtype).eps, np.finfo(np.float32).eps) * largest:
        return np.zeros(X.shape, dtype)
    return (exact / size).astype(dtype)


def moments(
    layers: Sequence[np.ndarray], blocks: Int[np.ndarray, " n"] | None = None, n_first: int | None = None
) -> Moments:
    """The sums over all rows and, given ``blocks``, over the rows without each block.

    Args:
        layers: L checked arrays ``[n, d_l]``. float64 is computed in float64, anything narrower in float32 with
        float64 sums. n_first: the pairs wanted: each layer with itself, and the first ``n_first`` layers with the
        others; by default
            each with itself only.
    """
    n = len(layers[0])
    order = np.argsort(blocks, kind="stable") if blocks is not None else np.arange(n)
    layers = [centred(layer)[order] for layer in layers]
    if blocks is None:
        edges = np.arange(0, n + _CHUNK_ROWS, _CHUNK_ROWS).clip(max=n)
    else:
        edges = np.r_[0, np.flatnonzero(np.diff(blocks[order])) + 1, n]
    slices = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges) if b > a]
    cut = n_first if n_first is not None else len(layers)
    pairs = [(i, i) for i in range(len(layers))] + [(i, j) for i in range(cut) for j in range(cut, len(layers))]
    with_block, within_block = (_by_gram if _gram_is_cheaper(layers, pairs) else _by_feature)(layers, slices, pairs)
    inner = with_block.sum(axis=0)

    squares = np.stack([np.einsum("ij,ij->i", x, x, dtype=np.float64) for x in layers])
    full = (float(n), squares.sum(axis=1), squares @ squares.T, inner)
    parts = [full]
    if blocks is not None:
        means, projections = _left_out_means(layers, slices, n)
        for b, rows in enumerate(slices):
            kept = np.r_[0 : rows.start, rows.stop : n]
            size = float(len(kept))
            u, mm = projections[b][:, kept], means[b]
            s = squares[:, kept] - 2 * u + mm[:, None]
            raw = inner - 2 * with_block[b] + within_block[b]
            recentred = raw - 2 * size * (u @ u.T) + size**2 * np.outer(mm, mm)
            parts.append((size, s.sum(axis=1), s @ s.T, recentred))
    return Moments(*(np.stack(part) for part in zip(*parts, strict=True)))


def _left_out_means(
    layers: list[np.ndarray], slices: list[slice], n: int
) -> tuple[Float[np.ndarray, "b L"], Float[np.ndarray, "b L n"]]:
    """Squared length of each layer's mean without each block, and every row's product with that mean."""
    lengths = np.zeros((len(slices), len(layers)))
    projections = np.zeros((len(slices), len(layers), n))
    for l, x in enumerate(layers):
        mean = np.stack([-x[rows].sum(axis=0, dtype=np.float64) / max(1, n - len(x[rows])) for rows in slices])
        lengths[:, l] = (mean**2).sum(axis=1)
        projections[:, l] = (x @ mean.T.astype(x.dtype)).T
    return lengths, projections


def _gram_is_cheaper(layers: list[np.ndarray], pairs: list[tuple[int, int]]) -> bool:
    n, widths = len(layers[0]), [x.shape[1] for x in layers]
    return n * sum(widths) < 2 * sum(widths[i] * widths[j] for i, j in pairs)


def _by_gram(layers: list[np.ndarray], slices: list[slice], pairs: list[tuple[int, int]]):
    """<C, C_b> and |C_b|^2 ``[b, L, L]`` from tiles of the n x n Gram matrices, mirrored tiles once."""
    size = len(layers)
    with_block, within_block = np.zeros((len(slices), size, size)), np.zeros((len(slices), size, size))
    for i, rows in enumerate(slices):
        for j in range(i, len(slices)):
            tile = np.stack([(x[rows] @ x[slices[j]].T).ravel() for x in layers]).astype(np.float64)
            product = tile @ tile.T
            with_block[i] += product
            if i == j:
                within_block[i] = product
            else:
                with_block[j] += product
    return with_block, within_block


def _by_feature(layers: list[np.ndarray], slices: list[slice], pairs: list[tuple[int, int]]):
    """The same from d x d cross products, some columns at a time."""
    size = len(layers)
    with_block, within_block = np.full((len(slices), size, size), np.nan), np.full((len(slices), size, size), np.nan)
    for i, j in pairs:
        x, y = layers[i], layers[j]
        sums = np.zeros((2, len(slices)))
        step = max(1, _CHUNK_ENTRIES // (len(slices) * y.shape[1]))
        for start in range(0, x.shape[1], step):
            columns = x[:, start : start + step]
            parts = np.stack([(columns[rows].T @ y[rows]).ravel() for rows in slices]).astype(np.float64)
            sums[0] += parts @ parts.sum(axis=0)
            sums[1] += np.einsum("bk,bk->b", parts, parts)
        for out, value in ((with_block, sums[0]), (within_block, sums[1])):
            out[:, i, j] = out[:, j, i] = value
    return with_block, within_block
