"""Mutual nearest neighbours: do two models find the same items alike?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure._layers import Layer, Layers, read_pair
from mechdecouple.structure._permutations import check_counts, chosen, p_values, permuted_products
from mechdecouple.structure.similarity_matrix import SimilarityMatrix

MUTUAL_KNN = Metric(
    name="mutual_knn", family="similarity", title="mutual nearest neighbours (chance-corrected)",
    measures="share of an item's k nearest neighbours that two models agree on, above chance: a similarity",
    range="about 0 to 1 (correcting for chance lets it fall slightly below 0)",
    invariances="rotation, translation, isotropic scaling of either side",
    null="0 for unrelated representations; p from permuting groups, adjusted over layer pairs",
    assumes="the same number of items: with more of them the same k neighbours are nearer",
    source="arXiv:2405.07987, with the cosine of centred rows and corrected for chance",
)  # fmt: skip

_UNDEFINED = "undefined: a layer is constant over these items, or other groups hold no more than k of them"
_TILE_BYTES = 2**25
_CHUNK_ROWS = 1024


def mutual_knn(
    X: Float[np.ndarray, "n d"],
    Y: Float[np.ndarray, "_n e"],
    k: int = 10,
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> float:
    """Share of the k nearest neighbours of an item that X and Y have in common, corrected for chance.

    Neighbours have the largest cosine between rows minus their mean; rows of the item's own group are none. With s the
    mean share, and c = k / (n - 1) its expectation for unrelated representations (n less by the own group), the value
    is (s - c) / (1 - c).

    Returns:
        1 for the same neighbours, 0 in expectation for unrelated ones; NaN for a constant representation, and where
        other groups hold no more than k rows.

    Raises:
        InputError: not finite real matrices, k below 1. MismatchError: different numbers of rows.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 4))
    >>> mutual_knn(X, 3 * X[:, ::-1] + 1)
    1.0
    """
    return float(mutual_knn_matrix([X], [Y], groups, k=k, n_blocks=0, n_permutations=0, device="cpu").value.value[0, 0])


def mutual_knn_matrix(
    A: Sequence[Layer],
    B: Sequence[Layer],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    k: int = 10,
    n_blocks: int = 20,
    n_permutations: int = 1000,
    max_null_groups: int = 256,
    seed: int = 0,
    device: str = "auto",
) -> SimilarityMatrix:
    """``mutual_knn`` of all layer pairs of two models, with jackknife intervals and a permutation null.

    Neighbours are found once a layer, some rows at a time, and kept as indices; pairs compare indices. Intervals leave
    out one block of whole groups at a time, and say what the same number of other items would give; they are wider than
    need be (by a third to a half in simulations), since a row that leaves makes its neighbours choose others. The null
    permutes groups, one permutation for all pairs; the test is made on one row of each of at most ``max_null_groups``
    groups, its neighbours taken among these.

    Args: as for ``cka_matrix``; k: neighbours.

    Raises:
        InputError: an array is not finite (names layer, row and column), k below 1. MismatchError: different numbers of
        rows.
    """
    check_counts(n_permutations, max_null_groups)
    if k < 1:
        raise InputError(f"k is {k}: expected at least 1 neighbour")
    data, codes = read_pair(A, B, groups, n_blocks, seed, device)
    if data.n == 0:
        raise InputError("there are no rows to find neighbours among: the activations are empty")
    maps = _overlaps(data, codes, k, len(A), leave_out=n_blocks > 0)
    n_groups = int(codes.max(initial=-1)) + 1
    replicates = Replicates(maps[0], maps[1:], "jackknife", n_groups)

    rng = np.random.default_rng(seed)
    one_a_group = np.full(data.n, -1)
    one_a_group[np.unique(codes, return_index=True)[1]] = np.arange(n_groups)
    sample, n_null = chosen(one_a_group, max_null_groups, rng)
    observed, draws = maps[0], np.empty((0, *maps[0].shape))
    if n_permutations and n_null > k + 1:
        linked = torch.stack([_links(x, k) for x in data.group_means(sample, n_null)])
        observed = (linked[: len(A)].flatten(1) @ linked[len(A) :].flatten(1).T).double().cpu().numpy()
        observed[np.isnan(maps[0])] = np.nan
        draws = permuted_products(linked[: len(A)], linked[len(A) :], n_permutations, rng, symmetric=False)
    p, p_adjusted = p_values(observed, draws)
    zero = np.zeros(maps[0].shape)
    return SimilarityMatrix(MUTUAL_KNN, replicates, zero, p, p_adjusted, n_permutations, n_null, _UNDEFINED)


def _overlaps(
    data: Layers, codes: Int[np.ndarray, " n"], k: int, n_first: int, *, leave_out: bool
) -> Float[np.ndarray, "r a b"]:
    """The corrected share of each pair of layers over all rows and, to leave out, over the rows without each block."""
    group = torch.from_numpy(codes[np.concatenate(data.orders)]).to(data.device)
    block = data.row_blocks
    left_out = torch.arange(-1, len(data.counts) if leave_out else 0, device=data.device)
    gone = block == left_out[:, None]
    # Rows of other groups that each row can have as neighbours; its own group lies in one block.
    others = (data.n - gone.sum(dim=1))[:, None] - torch.bincount(group)[group]
    enough = others.masked_fill(gone, data.n).amin(dim=1) >= k
    counted = (~gone).sum(dim=1).double()
    chance = (k / others.clamp(min=1).double()).masked_fill(gone, 0.0).sum(dim=1) / counted

    layers = [_nearest(data, l, group, block, k, leave_out=leave_out) for l in range(len(data))]
    shared = torch.zeros(len(left_out), n_first, len(data) - n_first, dtype=torch.float64, device=data.device)
    for start in range(0, data.n, _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        near = [index[rows] for index in layers]
        kept = [_kept(index, block, block[rows], left_out, k) for index in near] if leave_out else []
        for i, x in enumerate(near[:n_first]):
            for j, y in enumerate(near[n_first:]):
                same = x[:, :, None] == y[:, None, :]
                if leave_out:
                    row, p, q = torch.nonzero(same, as_tuple=True)
                    shared[:, i, j] += (kept[i][row, p] & kept[n_first + j][row, q]).sum(dim=0)
                else:
                    shared[:, i, j] += same.sum()
    share = shared / (k * counted[:, None, None])
    value = (share - chance[:, None, None]) / (1 - chance[:, None, None])
    value[~enough | (chance >= 1)] = torch.nan
    constant = torch.tensor(data.constant)
    value[:, constant[:n_first]] = torch.nan
    value[:, :, constant[n_first:]] = torch.nan
    return value.cpu().numpy()


def _nearest(
    data: Layers, l: int, group: torch.Tensor, block: torch.Tensor, k: int, *, leave_out: bool
) -> torch.Tensor:
    """Indices [n, c] of the nearest rows of other groups, nearest first: enough for k to be left without any block."""
    unit = _unit(torch.cat([data.rows(l, run) for run in range(len(data.runs))]))
    n, alone = data.n, len(torch.unique(group)) == data.n
    n_wanted = min(2 * k if leave_out else k, n)
    step = max(1, _TILE_BYTES // max(1, n * unit.element_size()))
    while True:
        index = torch.empty(n, n_wanted, dtype=torch.int32, device=data.device)
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            cosine = unit[rows] @ unit.T
            if alone:
                cosine[:, rows].fill_diagonal_(-torch.inf)
            else:
                cosine.masked_fill_(group[rows, None] == group, -torch.inf)
            best, place = torch.topk(cosine, n_wanted, dim=1)
            # A number of its own for rows that are no neighbours, so that those of two layers never agree.
            index[rows] = torch.where(best == -torch.inf, -1 - l, place).to(torch.int32)
        if not leave_out or n_wanted == n:
            return index
        in_block = torch.zeros(n, len(data.counts), dtype=torch.int16, device=data.device)
        in_block.scatter_add_(1, block[index.clamp(min=0)], torch.ones_like(index, dtype=torch.int16))
        if n_wanted - int(in_block.amax()) >= k:
            return index
        n_wanted = min(2 * n_wanted, n)


def _kept(index: torch.Tensor, block: torch.Tensor, own: torch.Tensor, left_out: torch.Tensor, k: int) -> torch.Tensor:
    """Whether each neighbour [m, c] is among the k nearest of its row without each block, [m, c, r]."""
    there = (block[index.clamp(min=0)][:, :, None] != left_out) & (index >= 0)[:, :, None]
    return there & (there.cumsum(dim=1) <= k) & (own[:, None, None] != left_out)


def _links(x: torch.Tensor, k: int) -> torch.Tensor:
    """Which rows [m, m] are the k nearest of each row, 1 or 0."""
    unit = _unit(x)
    cosine = (unit @ unit.T).fill_diagonal_(-torch.inf)
    place = torch.topk(cosine, k, dim=1).indices
    return torch.zeros_like(cosine, dtype=torch.float32).scatter_(1, place, 1.0)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=1, eps=torch.finfo(x.dtype).tiny)
