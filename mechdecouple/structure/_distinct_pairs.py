"""Unbiased ||cov(x, y)||^2 of all pairs of layers from rows of distinct groups, with each block left out in turn.

The statistic of ``_distinct``, made for many layers at once: from tiles of their Gram matrices, in which the products
of two rows of one group are set to zero. With K and L such matrices and G the membership of rows in groups,

    Σ K_ij L_ij = <K, L>,    Σ K_ij L_ik = <K1, L1> - <KG, LG>,
    Σ K_ij L_kl = 1'K1 1'L1 - 4 <G'K1, G'L1> + 2 <G'KG, G'LG>,

and a block is left out by leaving out its tiles.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from mechdecouple.structure._distinct import tuples
from mechdecouple.structure._layers import Layers

_TILE_ROWS = 512


def distinct_hsic(data: Layers, group: Int[np.ndarray, " n"], *, leave_out: bool) -> Float[np.ndarray, "r L L"]:
    """[0] from all rows, then without each of the layers' blocks; NaN where fewer than 4 groups are left.

    Args:
        data: layers that are held; group: code 0 … g - 1 of each row, a block holding whole groups.
    """
    group = group[data.orders[0]]
    block = np.empty(data.n, dtype=int)
    for b, place in data.edges[0]:
        block[place] = b
    order = np.lexsort((group, block))
    layers = [data.rows(l, 0)[torch.from_numpy(order).to(data.device)] for l in range(len(data))]
    block, group = block[order], group[order]
    # Numbered in the order in which they lie.
    group = np.cumsum(np.r_[0, np.diff(group) != 0])
    tiles = [_Tile(rows, group, block, data) for rows in _stretches(group, block)]

    size, n_blocks = len(data), len(data.counts)
    near, mixed, far = np.zeros((3, n_blocks, n_blocks, size, size))
    sums = np.zeros((size, data.n, n_blocks))
    for first, t in enumerate(tiles):
        for u in tiles[first:]:
            K = torch.stack([x[t.rows] @ x[u.rows].T for x in layers])
            if t is u:
                K *= t.apart
            KG, GK = K @ u.member, t.member.T @ K
            there, back = (t.block, u.block), (u.block, t.block)
            square, rest = _inner(K), _inner(t.member.T @ KG)
            near[there], far[there], mixed[there] = near[there] + square, far[there] + rest, mixed[there] + _inner(KG)
            sums[:, t.rows, u.block] += K.sum(dim=2).double().cpu().numpy()
            if t is not u:
                near[back], far[back], mixed[back] = near[back] + square, far[back] + rest, mixed[back] + _inner(GK)
                sums[:, u.rows, t.block] += K.sum(dim=1).double().cpu().numpy()

    starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    counts, block_of_group = np.diff(np.r_[starts, data.n]).astype(float), block[starts]
    found = []
    for left in range(-1, n_blocks if leave_out else 0):
        blocks = np.arange(n_blocks) != left
        kept, groups = block != left, block_of_group != left
        if groups.sum() < 4:
            found.append(np.full((size, size), np.nan))
            continue
        r = sums[:, :, blocks].sum(axis=2) * kept
        by_group, total = np.add.reduceat(r, starts, axis=1), r.sum(axis=1)
        inside = np.ix_(blocks, blocks)
        pairs, triples, quadruples = tuples(counts[groups])
        middle = r @ r.T - mixed[inside].sum(axis=(0, 1))
        ends = np.outer(total, total) - 4 * by_group @ by_group.T + 2 * far[inside].sum(axis=(0, 1))
        found.append(near[inside].sum(axis=(0, 1)) / pairs - 2 * middle / triples + ends / quadruples)
    return np.stack(found)


class _Tile:
    """Whole groups of one block: its rows, their groups [rows, groups], and which pairs of rows lie in two groups."""

    def __init__(self, rows: slice, group: np.ndarray, block: np.ndarray, data: Layers) -> None:
        own = group[rows] - group[rows.start]
        self.rows, self.block = rows, int(block[rows.start])
        member = np.eye(own[-1] + 1)[own]
        self.member = torch.from_numpy(member).to(data.device, data.dtype)
        self.apart = torch.from_numpy(own[:, None] != own).to(data.device, data.dtype)


def _stretches(group: np.ndarray, block: np.ndarray) -> list[slice]:
    """Rows of whole groups of one block, at most ``_TILE_ROWS`` of them unless a single group has more."""
    starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    out, begin = [], 0
    for start, stop in zip(starts, np.r_[starts[1:], len(group)], strict=True):
        if start > begin and (block[start] != block[begin] or stop - begin > _TILE_ROWS):
            out.append(slice(begin, int(start)))
            begin = int(start)
    return [*out, slice(begin, len(group))]


def _inner(tile: torch.Tensor) -> np.ndarray:
    flat = tile.flatten(1)
    return (flat @ flat.T).double().cpu().numpy()
