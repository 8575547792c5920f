"""Unbiased ||cov(x, y)||^2 of all pairs of layers from rows of distinct groups, without any of the blocks.

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
from mechdecouple.structure._layers import Layers, row_squares

_TILE_ROWS = 512


class DistinctPairs:
    """The sums over tiles, from which the statistics without any blocks follow.

    Args:
        data: layers that are held; group: code 0 … g - 1 of each row, a block holding whole groups.
    """

    def __init__(self, data: Layers, group: Int[np.ndarray, " n"]) -> None:
        group = group[data.orders[0]]
        block = np.empty(data.n, dtype=int)
        for b, place in data.edges[0]:
            block[place] = b
        order = np.lexsort((group, block))
        layers = [data.rows(l, 0)[torch.from_numpy(order).to(data.device)] for l in range(len(data))]
        self._block, group = block[order], group[order]
        # Numbered in the order in which they lie.
        group = np.cumsum(np.r_[0, np.diff(group) != 0])
        tiles = [_Tile(rows, group, self._block, data) for rows in _stretches(group, self._block)]
        self._starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
        self._sizes = np.diff(np.r_[self._starts, data.n]).astype(float)
        squares = np.stack([row_squares(x).cpu().numpy() for x in layers])
        self._traces = np.add.reduceat(squares, self._starts, axis=1)

        size, n_blocks = len(data), len(data.counts)
        # <K, L>, <KG, LG> and <G'KG, G'LG> of each pair of blocks.
        self._products = np.zeros((3, n_blocks, n_blocks, size, size))
        self._sums = np.zeros((n_blocks, size, data.n))
        for first, t in enumerate(tiles):
            for u in tiles[first:]:
                K = torch.stack([x[t.rows] @ x[u.rows].T for x in layers])
                if t is u:
                    K *= t.apart
                KG = K @ u.member
                near, far = _inner(K), _inner(t.member.T @ KG)
                self._products[:, t.block, u.block] += near, _inner(KG), far
                self._sums[u.block, :, t.rows] += K.sum(dim=2).double().cpu().numpy()
                if t is not u:
                    self._products[:, u.block, t.block] += near, _inner(t.member.T @ K), far
                    self._sums[t.block, :, u.rows] += K.sum(dim=1).double().cpu().numpy()

    def without(self, *left: int) -> tuple[Float[np.ndarray, "L L"], Float[np.ndarray, " L"]]:
        """||cov(x, y)||^2 of each pair of layers and (tr cov)^2 of each, unbiased, from all blocks but these.

        NaN where fewer than 4 groups are left.
        """
        blocks = np.ones(self._products.shape[1], dtype=bool)
        blocks[list(left)] = False
        kept, groups = blocks[self._block], blocks[self._block[self._starts]]
        if groups.sum() < 4:
            nothing = np.full(self._products.shape[3:], np.nan)
            return nothing, nothing[0]
        near, mixed, far = self._products[:, blocks][:, :, blocks].sum(axis=(1, 2))
        r = self._sums[blocks].sum(axis=0) * kept
        by_group, total = np.add.reduceat(r, self._starts, axis=1), r.sum(axis=1)
        pairs, triples, quadruples = tuples(self._sizes[groups])
        ends = np.outer(total, total) - 4 * by_group @ by_group.T + 2 * far
        cross = near / pairs - 2 * (r @ r.T - mixed) / triples + ends / quadruples
        traces = self._traces * groups
        both = traces.sum(axis=1) ** 2 - (traces**2).sum(axis=1)
        one = traces.sum(axis=1) * total - 2 * (traces * by_group).sum(axis=1)
        return cross, both / pairs - 2 * one / triples + ends.diagonal() / quadruples


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
