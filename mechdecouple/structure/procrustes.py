"""Angular Procrustes distance: how far two representations are from being rotations of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from mechdecouple.results import Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure._layers import Layer, Layers, read_pair
from mechdecouple.structure._permutations import check_counts, chosen, p_values
from mechdecouple.structure.similarity_matrix import SimilarityMatrix

PROCRUSTES = Metric(
    name="procrustes", family="similarity", title="angular Procrustes distance",
    measures="angle between two representations after the best rotation: a distance, in radians",
    range="[0, 1.5708]", invariances="rotation, translation, isotropic scaling of either side",
    null="far below a right angle (independent Gaussians, n = 2000, d = 768: cosine .50), so the value always stands "
    "beside its own permutation null; p from permuting groups, adjusted over layer pairs",
    assumes="the same number of items and widths: it falls with the width and grows with the number of items",
    source="arXiv:2110.14739",
)  # fmt: skip

_UNDEFINED = "undefined: a layer is constant over these items, or there are fewer than two of them"
_LEVEL_SHUFFLES = 2


def procrustes(X: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "_n e"]) -> float:
    """arccos(||X'Y||_* / (||X|| ||Y||)) of centred representations of the same n items, in radians.

    A metric on representations up to rotation, translation and scale. It has no zero point of its own: unrelated
    representations are far below a right angle where n is not far above d, so read it beside the null of
    ``procrustes_matrix``, and compare it only at equal n.

    Returns:
        0 for equal geometry, at most pi / 2; NaN for a constant representation.

    Raises:
        InputError: not finite real matrices. MismatchError: different numbers of rows.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 4))
    >>> round(procrustes(X, 3 * X[:, ::-1] + 1), 6)
    0.0
    """
    matrix = procrustes_matrix([X], [Y], n_blocks=0, n_permutations=0, device="cpu")
    return float(matrix.value.value[0, 0])


def procrustes_matrix(
    A: Sequence[Layer],
    B: Sequence[Layer],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    n_blocks: int = 20,
    n_permutations: int = 200,
    max_null_groups: int = 64,
    seed: int = 0,
    device: str = "auto",
) -> SimilarityMatrix:
    """``procrustes`` of all layer pairs of two models, with jackknife intervals and its permutation null.

    The intervals leave out one block of whole groups at a time while the rotation is held (to first order that is what
    a new rotation gives), and say what the same number of other items would give. The null is the mean distance when
    whole groups of B's rows have changed places, at all rows. The test permutes means of at most ``max_null_groups``
    groups, one permutation for all pairs, and compares with the distance of these very means. Everything is float64.

    Args: as for ``cka_matrix``; n_permutations: 0 leaves both p and the null NaN.

    Raises:
        InputError: an array is not finite (names layer, row and column). MismatchError: different numbers of rows.
    """
    check_counts(n_permutations, max_null_groups)
    data, codes = read_pair(A, B, groups, n_blocks, seed, device)
    rng, n_first = np.random.default_rng(seed), len(A)
    shuffles = _shuffles(codes[np.concatenate(data.orders)], _LEVEL_SHUFFLES if n_permutations else 0, rng)
    shape = n_first, len(B)
    value, null = np.full(shape, np.nan), np.full(shape, np.nan)
    left_out = np.full((len(data.counts) if n_blocks else 0, *shape), np.nan)
    held = {l: _reduced(data, l) for l in range(n_first, len(data)) if data.held}
    for i in range(n_first):
        x = _reduced(data, i)
        for j in range(len(B)):
            if data.constant[i] or data.constant[n_first + j]:
                continue
            y = held[n_first + j] if data.held else _reduced(data, n_first + j)
            inner, rotation = _aligned(x, y)
            value[i, j] = _angle(inner, x.norm() * y.norm())
            if n_blocks:
                left_out[:, i, j] = _left_out(x, y, rotation, data)
            if n_permutations:
                null[i, j] = np.mean([_angle(_aligned(x, y[order])[0], x.norm() * y.norm()) for order in shuffles])

    n_groups = int(codes.max(initial=-1)) + 1
    sample, n_null = chosen(codes, max_null_groups, rng)
    observed, draws = value, np.empty((0, *shape))
    if n_permutations and n_null >= 4:
        observed, draws = _permuted(data.group_means(sample, n_null), n_first, n_permutations, rng)
        observed[np.isnan(value)] = np.nan
    p, p_adjusted = p_values(observed, draws)
    replicates = Replicates(value, left_out, "jackknife", n_groups)
    return SimilarityMatrix(PROCRUSTES, replicates, null, p, p_adjusted, n_permutations, n_null, _UNDEFINED)


def _reduced(data: Layers, l: int) -> torch.Tensor:
    """All rows of a layer as they lie in its runs, float64; with n < d in a basis of their own span."""
    x = torch.cat([data.rows(l, run) for run in range(len(data.runs))]).double()
    return x if len(x) >= x.shape[1] else torch.linalg.qr(x.T, mode="r").R.T


def _aligned(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """||X'Y||_*, and the rotation R for which it is <X R, Y>."""
    u, size, v = torch.linalg.svd(x.T @ y, full_matrices=False)
    return size.sum(), u @ v


def _angle(inner: torch.Tensor, norms: torch.Tensor) -> np.ndarray:
    return torch.arccos((inner / norms).clamp(-1.0, 1.0)).cpu().numpy()


def _left_out(x: torch.Tensor, y: torch.Tensor, rotation: torch.Tensor, data: Layers) -> Float[np.ndarray, " b"]:
    """The angle without each block, at the rotation of all rows: sums of products less the block's, recentred."""
    block, turned = data.row_blocks, x @ rotation
    counts = torch.from_numpy(data.counts).to(data.device)
    left = (data.n - counts).clamp(min=1)

    def without(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        products = torch.zeros(len(counts), dtype=a.dtype, device=a.device).index_add_(0, block, (a * b).sum(dim=1))
        sum_a, sum_b = (torch.zeros(len(counts), v.shape[1], dtype=v.dtype, device=v.device) for v in (a, b))
        moved = (sum_a.index_add_(0, block, a) * sum_b.index_add_(0, block, b)).sum(dim=1) / left
        return products.sum() - products - moved

    return _angle(without(turned, y), (without(x, x) * without(y, y)).clamp(min=0).sqrt())


def _shuffles(group: Int[np.ndarray, " n"], count: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Orders of the rows in which whole groups have changed places, rows of a group staying next to one another."""
    rows = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[rows]) != 0])
    orders = []
    for _ in range(count):
        pieces = np.split(rows, starts[1:])
        order = np.empty(len(rows), dtype=np.int64)
        order[rows] = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
        orders.append(torch.from_numpy(order))
    return orders


def _permuted(
    means: list[torch.Tensor], n_first: int, n_permutations: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "a b"], Float[np.ndarray, "r a b"]]:
    """Cosine of each pair as it is, and under each permutation of B's rows."""
    m = len(means[0])
    compact = torch.zeros(len(means), m, m, dtype=torch.float64, device=means[0].device)
    for out, mean in zip(compact, means, strict=True):
        x = mean.double() - mean.double().mean(dim=0)
        u, size, _ = torch.linalg.svd(x, full_matrices=False)
        out[:, : len(size)] = u * size / size.norm().clamp(min=torch.finfo(x.dtype).tiny)
    width = min(m, max(mean.shape[1] for mean in means))
    first, other = (side[:, :, :width].float() for side in compact.split([n_first, len(means) - n_first]))
    orders = [np.arange(m)] + [rng.permutation(m) for _ in range(n_permutations)]
    cosines = torch.stack(
        [
            torch.linalg.svdvals(first.mT[:, None] @ other[None, :, torch.from_numpy(order)]).sum(dim=-1)
            for order in orders
        ]
    )
    cosines = cosines.double().cpu().numpy()
    return cosines[0], cosines[1:]
