"""Mean squared canonical correlation: how much of one representation a linear map of the other gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy import stats as sps

from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, holm
from mechdecouple.structure._layers import Layer, Layers, layer_names, read_pair, row_squares
from mechdecouple.structure._permutations import chosen
from mechdecouple.structure._products import cross_products
from mechdecouple.structure.similarity_matrix import SimilarityMatrix

R2_CCA = Metric(
    name="r2_cca", family="similarity", title="mean squared canonical correlation",
    measures="mean of the squared canonical correlations, over the directions of the smaller side: a similarity",
    range="[0, 1]", invariances="any invertible linear map, translation of either side",
    null="max(d) / (n - 1) for independent rows, d the ranks: near 1 unless n is far above d; p by the exact mean and "
    "variance over permutations",
    assumes="many more items than dimensions; every direction counts alike, however little it varies",
    source="arXiv:1905.00414",
)  # fmt: skip

_UNDEFINED = "undefined: a layer is constant, or has as many directions as items less one, where any two layers give 1"
_MOST_TESTED = 4096
_FLAT = 1e-7


def mean_r2_cca(X: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "_n e"]) -> float:
    """Mean squared canonical correlation of two representations of the same n items, centred.

    With orthonormal bases Q of the centred columns it is ||Qx' Qy||^2 over the smaller rank. Directions whose size is
    rounding beside the largest are left out.

    Returns:
        1 where the smaller side is a linear map of the larger, max(d) / (n - 1) in expectation for unrelated ones; NaN
        for a constant representation, and where a rank reaches n - 1: then it is 1 whatever the data.

    Raises:
        InputError: not finite real matrices. MismatchError: different numbers of rows.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 4))
    >>> round(mean_r2_cca(X, X @ rng.normal(size=(4, 9)) + 1), 6)
    1.0
    """
    return float(_values(_whitened(Layers([X, Y], ["X", "Y"])), 1)[0, 0])


def cca_matrix(
    A: Sequence[Layer],
    B: Sequence[Layer],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    n_blocks: int = 20,
    seed: int = 0,
    device: str = "auto",
) -> SimilarityMatrix:
    """``mean_r2_cca`` of all layer pairs of two models, with jackknife intervals and a closed-form permutation test.

    Every layer is whitened once. Intervals leave out one block of whole groups at a time, and say what the same number
    of other items would give: the bias shown by the null is not taken out. The test compares with a gamma distribution
    that has the exact mean and variance over all permutations, of group means (at most 4,096 of them) where groups have
    several rows; Holm adjusts it over pairs.

    Args: as for ``cka_matrix``. The intervals cost about five times the values.

    Raises:
        InputError: an array is not finite (names layer, row and column). MismatchError: different numbers of rows.
    """
    data, codes = read_pair(A, B, groups, n_blocks, seed, device)
    white = _whitened(data)
    value = _values(white, len(A))
    n_groups = int(codes.max(initial=-1)) + 1
    left_out = _left_out(white, len(A)) if n_blocks else np.empty((0, *value.shape))
    left_out[:, np.isnan(value)] = np.nan

    ranks, observed, tested = np.array(white.widths), value, white
    if n_groups < data.n:
        codes, n_tested = chosen(codes, _MOST_TESTED, np.random.default_rng(seed))
        means = [m.cpu().numpy() for m in data.group_means(codes, n_tested)]
        tested = _whitened(Layers(means, layer_names("X", means), device=device))
        observed = _values(tested, len(A))
    p = _p_values(tested, observed)
    p_adjusted = p.copy()
    p_adjusted[np.isfinite(p)] = holm(p[np.isfinite(p)])
    null = np.maximum(ranks[: len(A), None], ranks[None, len(A) :]) / max(1, data.n - 1)
    return SimilarityMatrix(
        R2_CCA, Replicates(value, left_out, "jackknife", n_groups), null, p, p_adjusted, 0, tested.n, _UNDEFINED
    )


class _White:
    """A layer in coordinates in which its columns are orthonormal, times sqrt(n); read as it is asked for."""

    def __init__(self, data: Layers, l: int) -> None:
        gram = torch.zeros(data.widths[l], data.widths[l], dtype=torch.float64, device=data.device)
        for run in range(len(data.runs)):
            x = data.rows(l, run).double()
            gram += x.T @ x
        square, axes = torch.linalg.eigh(gram)
        size = square.clamp(min=0).sqrt()
        least = max(_FLAT, 4 * max(data.n, len(gram)) ** 0.5 * torch.finfo(data.dtype).eps)
        kept = size > least * size.max() if len(size) else size > 0
        self._map = axes[:, kept] / size[kept] * data.n**0.5
        self._layer, (self._offset, self._scale) = data.sources[l], data.centre(l)
        self.shape = data.n, int(kept.sum())
        self.dtype = np.dtype(np.float64 if data.dtype == torch.float64 else np.float32)

    def __getitem__(self, rows: slice) -> Any:
        x = (np.asarray(self._layer[rows], dtype=np.float64) - self._offset) * self._scale
        return (torch.from_numpy(x).to(self._map.device) @ self._map).cpu().numpy().astype(self.dtype)


def _whitened(data: Layers) -> Layers:
    white = [_White(data, l) for l in range(len(data))]
    return Layers(white, layer_names("X", white), data.blocks, data.device.type)


def _values(white: Layers, n_first: int) -> Float[np.ndarray, "a b"]:
    """||Qx' Qy||^2 over the smaller rank; NaN where a rank is 0 or n - 1."""
    shared = cross_products(white, n_first)[0].sum(axis=0)[:n_first, n_first:] / max(1, white.n) ** 2
    rank = np.array(white.widths, dtype=float)
    rank[(rank == 0) | (rank >= white.n - 1)] = np.nan
    # Rounding may take a perfect correlation past 1.
    return np.minimum(1.0, shared / np.minimum(rank[:n_first, None], rank[None, n_first:]))


def _left_out(white: Layers, n_first: int) -> Float[np.ndarray, "r a b"]:
    """The same without each block: what is left of Qx'Qx = I and of Qx'Qy, whitened anew."""
    ranks, n = white.widths, white.n
    total = torch.zeros(sum(ranks[:n_first]), sum(ranks[n_first:]), dtype=white.dtype, device=white.device)
    for run in range(len(white.runs)):
        rows = [white.rows(l, run) for l in range(len(white))]
        total.addmm_(torch.cat(rows[:n_first], dim=1).T, torch.cat(rows[n_first:], dim=1))
    out = np.full((len(white.counts), n_first, len(white) - n_first), np.nan)
    for b, count in enumerate(white.counts):
        rows = [_block(white, l, b) for l in range(len(white))]
        roots = [
            torch.linalg.cholesky_ex(torch.eye(x.shape[1], dtype=x.dtype, device=x.device) - x.T @ x / n) for x in rows
        ]
        usable = [int(info) == 0 and n - count - 1 > rank > 0 for (_, info), rank in zip(roots, ranks, strict=True)]
        left = torch.addmm(total, torch.cat(rows[:n_first], dim=1).T, torch.cat(rows[n_first:], dim=1), alpha=-1)
        for i, strip in enumerate(left.split(ranks[:n_first])):
            if not usable[i]:
                continue
            strip = torch.linalg.solve_triangular(roots[i][0], strip / n, upper=False)
            for j, part in enumerate(strip.split(ranks[n_first:], dim=1)):
                if usable[n_first + j]:
                    part = torch.linalg.solve_triangular(roots[n_first + j][0], part.T, upper=False)
                    out[b, i, j] = float(row_squares(part).sum()) / min(ranks[i], ranks[n_first + j])
    return np.minimum(out, 1.0)


def _block(white: Layers, l: int, b: int) -> torch.Tensor:
    """Rows of a block, and one more that stands for the mean which the other rows have without it."""
    rows = [white.rows(l, run)[place] for run, edges in enumerate(white.edges) for block, place in edges if block == b]
    shift = white.sums[l][b] / max(1, white.n - white.counts[b]) ** 0.5
    return torch.cat([*rows, shift[None].to(white.dtype)])


def _p_values(white: Layers, observed: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    """Upper tail of a gamma with the mean and variance that ||Qx' P Qy||^2 has over all permutations P.

    Kazi-Aoual, Hitier, Sabatier & Lebreton 1995, doi:10.1016/0167-9473(94)00064-2, for projections: tr = tr of the
    square = rank, and the diagonal holds the leverages.
    """
    n, rank = float(white.n), np.array(white.widths, dtype=float)
    if n < 5:
        return np.full(observed.shape, np.nan)
    leverage = [
        sum(float((row_squares(white.rows(l, r)) / n).square().sum()) for r in range(len(white.runs)))
        for l in range(len(white))
    ]
    even = (n - 1) * rank - rank**2
    uneven = n * (n + 1) * np.array(leverage) - (n - 1) * (rank**2 + 2 * rank)
    a, b = slice(0, len(observed)), slice(len(observed), None)
    mean = np.outer(rank[a], rank[b]) / (n - 1)
    variance = 2 * np.outer(even[a], even[b]) / ((n - 1) ** 2 * (n + 1) * (n - 2))
    variance += np.outer(uneven[a], uneven[b]) / ((n + 1) * n * (n - 1) * (n - 2) * (n - 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        shape, scale = mean**2 / variance, variance / mean
        p = sps.gamma.sf(observed * np.minimum(rank[a][:, None], rank[b]), shape, scale=scale)
    return np.where(variance > 0, p, np.nan)
