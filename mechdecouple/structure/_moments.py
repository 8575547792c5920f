"""Sums over rows that U-statistics of centred linear Gram matrices are made of, with each block left out in turn.

Kept apart because participation ratio and CKA are both made of them. For centred rows x_i and y_i (K = XX', L = YY'):
F = <K, L> = ||X'Y||^2, Q = sum |x_i|^2 |y_i|^2, T = tr K. Without block b the rows have a new mean m, and with
u_i = x_i . m everything follows from sums already at hand, so that leaving out all blocks costs little more than none:
F' = F - 2 <C, C_b> + |C_b|^2 - 2 n' sum u_i v_i + n'^2 |m_x|^2 |m_y|^2, where C = X'Y and C_b is its part from block b.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from mechdecouple.structure._layers import Layer, Layers, layer_names, row_squares
from mechdecouple.structure._layers import centred as centred
from mechdecouple.structure._layers import checked as checked
from mechdecouple.structure._products import cross_products


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


def moments(
    layers: Sequence[Layer],
    blocks: Int[np.ndarray, " n"] | None = None,
    n_first: int | None = None,
    device: str = "cpu",
) -> Moments:
    """The sums over all rows and, given ``blocks``, over the rows without each block.

    Args:
        layers: L layers ``[n, d_l]``. With a float64 layer among them all is float64, else products are float32 and
        sums of many of them float64.
        n_first: the pairs wanted: each layer with itself, and the first ``n_first`` layers with the others; by default
            each with itself only.
    """
    return moments_of(Layers(layers, layer_names("X", layers), blocks, device), n_first, leave_out=blocks is not None)


def moments_of(data: Layers, n_first: int | None = None, *, leave_out: bool) -> Moments:
    """``moments`` of layers that were read already, over their own blocks."""
    n, size = data.n, len(data)
    with_block, within_block = cross_products(data, size if n_first is None else n_first)
    inner = with_block.sum(axis=0)
    n_blocks = len(data.counts) if leave_out else 0
    means, lengths = _left_out_means(data, n_blocks)
    trace, norms = np.zeros((1 + n_blocks, size)), np.zeros((1 + n_blocks, size, size))
    projected = np.zeros((n_blocks, size, size))
    for run, edges in enumerate(data.edges):
        rows = [data.rows(l, run) for l in range(size)]
        squares = torch.stack([row_squares(x) for x in rows])
        trace[0] += squares.sum(dim=1).cpu().numpy()
        norms[0] += (squares @ squares.T).cpu().numpy()
        if not leave_out:
            continue
        # [b, L, m]: each row's product with the mean of the rows outside block b.
        products = torch.stack([m @ x.T for m, x in zip(means, rows, strict=True)], dim=1).double()
        own = dict(edges)
        for b in range(n_blocks):
            u, place = products[b], own.get(b, slice(0, 0))
            s = squares - 2 * u + lengths[b][:, None]
            u[:, place] = 0.0
            s[:, place] = 0.0
            trace[1 + b] += s.sum(dim=1).cpu().numpy()
            norms[1 + b] += (s @ s.T).cpu().numpy()
            projected[b] += (u @ u.T).cpu().numpy()
    left = (n - data.counts[:n_blocks]).astype(float)
    size_of_mean = lengths.cpu().numpy()
    outer = size_of_mean[:, :, None] * size_of_mean[:, None, :]
    kept = left[:, None, None]
    without = inner - 2 * with_block[:n_blocks] + within_block[:n_blocks] - 2 * kept * projected + kept**2 * outer
    return Moments(np.r_[float(n), left], trace, norms, np.concatenate([inner[None], without]))


def _left_out_means(data: Layers, n_blocks: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Mean row of each layer outside each block [b, d_l], and the squared lengths of these means [b, L]."""
    left = torch.from_numpy(np.maximum(1, data.n - data.counts[:n_blocks])).to(data.device)
    means = [-sums[:n_blocks] / left[:, None] for sums in data.sums]
    return [m.to(data.dtype) for m in means], torch.stack([(m**2).sum(dim=1) for m in means], dim=1)
