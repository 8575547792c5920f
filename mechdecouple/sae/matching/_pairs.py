"""Pairs of latents that are strongly alike, found without holding the table of all pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from mechdecouple.sae.matching._codes import ENTRIES, Codes

_DENSE = 0.08
"""Share of nonzeros from which a product of dense tables is faster than one of sparse ones."""
_UNMATCHED = 1e-9


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a latent of A and one of B at or above a floor of similarity, and the best pair of each latent.

    Attributes:
        i, j: their positions among the live latents of A and B; i ascends.
        r: their similarity.
        whole: every similarity ``[la, lb]``; None where it was not kept.
        best_a, best_b: the greatest of each latent with any of the other dictionary.
    """

    i: Int[np.ndarray, " p"]
    j: Int[np.ndarray, " p"]
    r: Float[np.ndarray, " p"]
    whole: Float[np.ndarray, "la lb"] | None
    best_a: Float[np.ndarray, " la"]
    best_b: Float[np.ndarray, " lb"]


def correlate(a: Codes, b: Codes, floor: float, *, keep: bool = False) -> Pairs:
    """Pairs by correlation; with ``keep`` all correlations are kept."""
    if min(a.density, b.density) > _DENSE:
        return strongest(lambda part: a.table[:, part].T @ b.table, a.m, b.m, floor, keep)

    def block(part: slice) -> Float[np.ndarray, "_ lb"]:
        product = (a.columns[:, part].T.tocsr() @ b.rows).toarray()
        product -= (a.n * a.mean[part])[:, None] * b.mean
        return product

    return strongest(block, a.m, b.m, floor, keep)


def strongest(
    similarity: Callable[[slice], Float[np.ndarray, "_ lb"]], la: int, lb: int, floor: float, keep: bool
) -> Pairs:
    """The pairs at or above the floor, from similarities ``[some of A, all of B]`` made a few latents at a time."""
    whole = np.empty((la, lb), np.float32) if keep else None
    best_a, best_b = np.full(la, -np.inf), np.full(lb, -np.inf)
    of_a, of_b = np.zeros(la, np.int64), np.zeros(lb, np.int64)
    found = []
    step = max(1, ENTRIES // max(1, lb))
    for start in range(0, la, step):
        part = slice(start, min(start + step, la))
        block = np.minimum(similarity(part), 1)
        of_a[part] = block.argmax(1)
        best_a[part] = block[np.arange(len(block)), of_a[part]]
        high = block.max(0)
        higher = np.flatnonzero(high > best_b)
        of_b[higher], best_b[higher] = start + block[:, higher].argmax(0), high[higher]
        i, j = np.nonzero(block >= floor)
        found.append((i + start, j, block[i, j].astype(float)))
        if whole is not None:
            whole[part] = block
    weak_a, weak_b = np.flatnonzero(best_a < floor), np.flatnonzero(best_b < floor)
    found += [(weak_a, of_a[weak_a], best_a[weak_a]), (of_b[weak_b], weak_b, best_b[weak_b])]
    i, j, r = (np.concatenate(x) for x in zip(*found, strict=True))
    first = np.unique(i * lb + j, return_index=True)[1]
    return Pairs(i[first], j[first], r[first], whole, best_a, best_b)


def one_to_one(
    i: Int[np.ndarray, " p"], j: Int[np.ndarray, " p"], weight: Float[np.ndarray, " p"]
) -> Int[np.ndarray, " q"]:
    """Which of the pairs (i, j) make the one-to-one matching of greatest total weight; weights are positive.

    Each latent of A has a column of its own that stands for no partner at next to no weight, so that all can be
    assigned and the solver never sees more than the pairs given.
    """
    if not len(i):
        return np.zeros(0, np.int64)
    rows, row = np.unique(i, return_inverse=True)
    columns, column = np.unique(j, return_inverse=True)
    nobody, width = np.arange(len(rows)), len(columns) + len(rows)
    entries = np.r_[weight, np.full(len(rows), _UNMATCHED)]
    table = sparse.csr_matrix(
        (entries, (np.r_[row, nobody], np.r_[column, len(columns) + nobody])), shape=(len(rows), width)
    )
    to_row, to_column = min_weight_full_bipartite_matching(table, maximize=True)
    real = to_column < len(columns)
    keys = row * width + column
    order = np.argsort(keys)
    return order[np.searchsorted(keys[order], to_row[real].astype(np.int64) * width + to_column[real])]
