"""Linear CKA: how alike two models place the same items relative to each other, for all pairs of layers at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped

from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, second_order_jackknife
from mechdecouple.structure._distinct_pairs import DistinctPairs
from mechdecouple.structure._layers import Layer, Layers, layer_names, read_pair
from mechdecouple.structure._moments import moments_of
from mechdecouple.structure._permutations import check_counts, chosen, p_values, permuted_products
from mechdecouple.structure._products import gram_is_cheaper
from mechdecouple.structure.similarity_matrix import SimilarityMatrix

CKA = Metric(
    name="cka", family="similarity", title="linear CKA (debiased)",
    measures="similarity of the two item-by-item inner-product matrices: a similarity, 1 for equal geometry",
    range="about 0 to 1 (debiasing lets it fall slightly below 0)",
    invariances="rotation, translation, isotropic scaling of either side",
    null="0 for unrelated representations; p from permuting whole groups, adjusted over layer pairs. The estimate is "
    "degenerate at 0 (its error falls as 1/n, not 1/sqrt n): p, not the interval, says whether anything is shared",
    source="arXiv:1905.00414, debiased as in arXiv:2010.15327",
)  # fmt: skip

_UNDEFINED = "undefined: a layer is constant over these items, or there are too few of them to debias"
_MOST_TESTED = 4096
_MOST_PAIRED = 8192
# Beyond, a representation hardly fills as many directions as there are rows, and the correction does nothing.
_MOST_CORRECTED = 1024


def cka(X: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "_n k"], *, debiased: bool = True) -> float:
    """Linear CKA of two representations of the same n items.

    The biased form has expectation sqrt(PR_X PR_Y) / (n - 1) when nothing is shared, which is near 1 at n < d; so the
    debiased one is the default. Rows are taken as independent.

    Returns:
        1 for equal geometry (up to rotation, translation, scale), 0 in expectation for unrelated ones if debiased;
        NaN for a constant representation, and below 4 rows if debiased.

    Raises:
        InputError: not finite real matrices. MismatchError: different numbers of rows.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 4))
    >>> round(cka(X, 3 * X[:, ::-1] + 1), 6)
    1.0
    """
    sums = moments_of(Layers([X, Y], ["X", "Y"]), 1, leave_out=False)
    inner = sums.hsic() if debiased else sums.inner
    return float(_map(inner, 1)[0, 0, 0])


def cka_matrix(
    A: Sequence[Layer],
    B: Sequence[Layer],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    n_blocks: int = 20,
    n_permutations: int = 1000,
    max_null_groups: int = 256,
    seed: int = 0,
    device: str = "auto",
) -> SimilarityMatrix:
    """Debiased linear CKA of all layer pairs of two models, with jackknife intervals and a permutation null.

    Intervals leave out one block of whole groups at a time (an ordinary bootstrap would put the diagonal back). The
    null permutes groups, one permutation for all layer pairs, on at most ``max_null_groups`` of them and rescaled to
    all (the null spread falls as 1/n). Rows of one group belong together and are alike, so where groups have several
    rows the *test* is made on means of groups (at most 4,096 of them), which are exchangeable; the value and its
    interval are those of the rows, from products of rows of distinct groups alone (products within groups would bias it
    upwards by about the participation ratio over the number of groups; beyond 8,192 rows that is left in).

    Memory: layers that take over 1 GiB together are read some rows at a time; lazy layers may be larger than memory.

    Args:
        A, B: layers ``[n, d_l]`` of either model, rows being the same items in the same order: arrays, or anything with
            a shape and a dtype that gives the rows ``layer[start:stop]``.
        groups: the independent unit each row belongs to; each row on its own if not given.
        n_blocks: 0 leaves out the intervals; n_permutations: 0 leaves p NaN.
        device: what multiplies the matrices: ``"cpu"``, ``"cuda"``, or ``"auto"`` for cuda where there is one.

    Raises:
        InputError: an array is not finite (names layer, row and column). MismatchError: different numbers of rows.
    """
    check_counts(n_permutations, max_null_groups)
    data, codes = read_pair(A, B, groups, n_blocks, seed, device)
    n_groups = int(codes.max(initial=-1)) + 1
    corrected = n_blocks > 0 and data.n <= _MOST_CORRECTED and gram_is_cheaper(data, len(A))
    few = corrected or n_groups < data.n <= _MOST_PAIRED
    if data.held and few:
        sums = DistinctPairs(data, codes)
        replicates = second_order_jackknife(
            lambda *left: _map(sums.without(*left)[0][None], len(A))[0], len(data.counts) if n_blocks else 0, n_groups
        )
    else:
        maps = _map(moments_of(data, len(A), leave_out=n_blocks > 0).hsic(), len(A))
        replicates = Replicates(maps[0], maps[1:], "jackknife", n_groups)

    rng = np.random.default_rng(seed)
    observed, n_tested = replicates.value, n_groups
    if n_groups < data.n and n_permutations:
        codes, n_tested = chosen(codes, _MOST_TESTED, rng)
        means = [m.cpu().numpy() for m in data.group_means(codes, n_tested)]
        data = Layers(means, layer_names("X", means), device=device)
        observed = _map(moments_of(data, len(A), leave_out=False).hsic(), len(A))[0]
        codes = np.arange(n_tested)
    codes, n_null = chosen(codes, max_null_groups, rng)
    draws = np.empty((0, *observed.shape))
    if n_permutations and n_null >= 4:
        grams = torch.stack([_u_centred_gram(x.double()) for x in data.group_means(codes, n_null)])
        size = grams.flatten(1).norm(dim=1)
        grams /= torch.where(size > 0, size, torch.nan)[:, None, None]
        draws = permuted_products(grams[: len(A)], grams[len(A) :], n_permutations, rng, symmetric=True)
        draws *= np.sqrt(n_null * (n_null - 3.0) / (n_tested * (n_tested - 3.0)))
    p, p_adjusted = p_values(observed, draws)
    return SimilarityMatrix(
        CKA, replicates, np.zeros(observed.shape), p, p_adjusted, n_permutations, n_null, _UNDEFINED
    )


def _u_centred_gram(x: torch.Tensor) -> torch.Tensor:
    """Linear Gram matrix with zero diagonal and zero row sums: inner products of two of these are unbiased."""
    x = x - x.mean(dim=0)
    gram = x @ x.T
    n = len(gram)
    gram.fill_diagonal_(0.0)
    row = gram.sum(dim=0) / (n - 2)
    gram += gram.sum() / ((n - 1) * (n - 2)) - row - row[:, None]
    return gram.fill_diagonal_(0.0)


def _map(inner: Float[np.ndarray, "r L L"], n_first: int) -> Float[np.ndarray, "r a b"]:
    """cross / sqrt(own_x own_y) of the first layers with the others; NaN where an own term is not positive."""
    own = np.einsum("rll->rl", inner)
    own = np.sqrt(np.where(own > 0, own, np.nan))
    return inner[:, :n_first, n_first:] / (own[:, :n_first, None] * own[:, None, n_first:])
