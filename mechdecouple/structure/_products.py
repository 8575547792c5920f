"""Squared norms of cross products of layers, from whichever side costs less, split by blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from mechdecouple.structure._layers import Layers

_TILE_ROWS = 512
_TILE_BYTES = 2**23
_READ_BYTES = 2**30
_SELF_STRIPS = 4


def cross_products(data: Layers, n_first: int) -> tuple[Float[np.ndarray, "b L L"], Float[np.ndarray, "b L L"]]:
    """<C, C_b> and |C_b|^2, with C = X'Y and C_b its part from block b; NaN for pairs that are not wanted.

    Wanted are each layer with itself and the first ``n_first`` with the others. Sums over entries of a tile are in the
    precision of the data, sums over tiles in float64.
    """
    with_block, within_block = _by_gram(data, n_first) if gram_is_cheaper(data, n_first) else _by_feature(data, n_first)
    unwanted = np.ones((len(data), len(data)), dtype=bool)
    for i, j in wanted_pairs(len(data), n_first):
        unwanted[i, j] = unwanted[j, i] = False
    with_block[:, unwanted] = within_block[:, unwanted] = np.nan
    return with_block, within_block


def wanted_pairs(n_layers: int, n_first: int) -> list[tuple[int, int]]:
    """Each layer with itself, and each of the first with each of the others."""
    return [(i, i) for i in range(n_layers)] + [(i, j) for i in range(n_first) for j in range(n_first, n_layers)]


def gram_is_cheaper(data: Layers, n_first: int) -> bool:
    """Whether n x n products cost less than d x d ones (mirrored tiles are made once); only for rows that are held."""
    widths = data.widths
    return data.held and data.n * sum(widths) < 2 * sum(
        widths[i] * widths[j] for i, j in wanted_pairs(len(data), n_first)
    )


def _by_gram(data: Layers, n_first: int) -> tuple[np.ndarray, np.ndarray]:
    """From tiles of the Gram matrices: the square of an entry is a share of the blocks of its row and its column."""
    layers, places = [data.rows(l, 0) for l in range(len(data))], _tiles(data)
    shape = len(data.counts), len(data), len(data)
    with_block, within_block = np.zeros(shape), np.zeros(shape)
    largest = max(place.stop - place.start for _, place in places) if places else 0
    buffer = torch.empty(len(data), largest**2, dtype=data.dtype, device=data.device)
    for first, (b, rows) in enumerate(places):
        for c, columns in places[first:]:
            height, width = rows.stop - rows.start, columns.stop - columns.start
            tile = buffer[:, : height * width]
            for x, out in zip(layers, tile, strict=True):
                torch.mm(x[rows], x[columns].T, out=out.view(height, width))
            product = _inner(tile.view(len(data), height, width), n_first)
            mirrored = rows != columns
            with_block[b] += product
            if mirrored:
                with_block[c] += product
            if b == c:
                within_block[b] += product * (2 if mirrored else 1)
    return with_block, within_block


def _tiles(data: Layers) -> list[tuple[int, slice]]:
    """Stretches of rows of one block, none longer than a tile."""
    return [
        (b, slice(a, min(a + _TILE_ROWS, place.stop)))
        for b, place in data.edges[0]
        for a in range(place.start, place.stop, _TILE_ROWS)
    ]


def _inner(tile: torch.Tensor, n_first: int) -> np.ndarray:
    """Inner products [L, L] of the wanted pairs of matrices [L, h, w]."""
    out = np.zeros((len(tile), len(tile)))
    own = torch.linalg.vector_norm(tile, dim=2).double().square().sum(dim=1)
    np.fill_diagonal(out, own.cpu().numpy())
    flat = tile.flatten(1)
    cross = (flat[:n_first] @ flat[n_first:].T).double().cpu().numpy()
    out[:n_first, n_first:], out[n_first:, :n_first] = cross, cross.T
    return out


class _Part(NamedTuple):
    """Some columns of layer i times some of layer j."""

    i: int
    left: slice
    j: int
    right: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.stop - self.left.start, self.right.stop - self.right.start


def _by_feature(data: Layers, n_first: int) -> tuple[np.ndarray, np.ndarray]:
    """From d x d cross products of each block; held rows allow tiles that stay in cache, others save reading."""
    n_blocks = len(data.counts)
    with_block, within_block = np.zeros((2, n_blocks, len(data), len(data)))
    entries = (_TILE_BYTES if data.held else _READ_BYTES) // data.dtype.itemsize
    tiles = list(_feature_tiles(data, n_first, entries))
    buffer = torch.empty(max(_size(t, n_blocks) for t in tiles), dtype=data.dtype, device=data.device)
    for tile in tiles:
        flat = buffer[: _size(tile, n_blocks)].zero_().split([_size([part], n_blocks) for part in tile])
        products = [f.view(n_blocks, *part.shape) for f, part in zip(flat, tile, strict=True)]
        for run, edges in enumerate(data.edges):
            rows = {l: data.rows(l, run) for l in {l for part in tile for l in (part.i, part.j)}}
            for part, product in zip(tile, products, strict=True):
                x, y = rows[part.i][:, part.left].T, rows[part.j][:, part.right]
                for b, place in edges:
                    product[b].addmm_(x[:, place], y[place])
        for part, product in zip(tile, products, strict=True):
            if part.i == part.j:
                # Entries beyond the square on the diagonal stand for their mirror images as well.
                product[:, :, part.shape[0] :] *= 2**0.5
            for out, value in zip((with_block, within_block), _split(product), strict=True):
                out[:, part.i, part.j] += value
                out[:, part.j, part.i] = out[:, part.i, part.j]
    return with_block, within_block


def _feature_tiles(data: Layers, n_first: int, entries: int) -> Iterator[list[_Part]]:
    """The wanted products in groups of at most so many entries; a group holds few layers, to read few again."""
    n_blocks, widths = len(data.counts), data.widths
    side = max(1, int((entries / (n_blocks * max(1, *widths) ** 2)) ** 0.5))
    pairs = [(i, i) for i in range(len(data))]
    pairs += [
        (i, j)
        for start in range(0, n_first, side)
        for j in range(n_first, len(data))
        for i in range(start, min(start + side, n_first))
    ]
    tile: list[_Part] = []
    for i, j in pairs:
        step = max(1, entries // (n_blocks * max(1, widths[j])))
        step = min(step, -(-widths[i] // _SELF_STRIPS)) if i == j else step
        for start in range(0, widths[i], max(1, step)):
            part = _Part(i, slice(start, min(start + step, widths[i])), j, slice(start if i == j else 0, widths[j]))
            if tile and _size([*tile, part], n_blocks) > entries:
                yield tile
                tile = []
            tile.append(part)
    yield tile


def _size(tile: list[_Part], n_blocks: int) -> int:
    return n_blocks * sum(part.shape[0] * part.shape[1] for part in tile)


def _split(part: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """<P, P_b> and |P_b|^2 of parts P_b [b, c, d] and their sum P."""
    within = torch.linalg.vector_norm(part, dim=2).double().square().sum(dim=1).cpu().numpy()
    if len(part) == 1:
        return within, within
    return (part.flatten(1) @ part.sum(dim=0).flatten()).double().cpu().numpy(), within
