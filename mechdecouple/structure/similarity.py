"""Linear CKA: how alike two models place the same items relative to each other, for all pairs of layers at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, jackknife_blocks, permutation_p
from mechdecouple.structure._moments import centred, checked, moments

CKA = Metric(
    name="cka", family="similarity", title="linear CKA (debiased)",
    measures="similarity of the two item-by-item inner-product matrices: a similarity, 1 for equal geometry",
    range="about 0 to 1 (debiasing lets it fall slightly below 0)",
    invariances="rotation, translation, isotropic scaling of either side",
    null="0 for unrelated representations; p from permuting whole groups, adjusted over layer pairs. The estimate is "
    "degenerate at 0 (its error falls as 1/n, not 1/sqrt n): p, not the interval, says whether anything is shared",
    source="arXiv:1905.00414, debiased as in arXiv:2010.15327",
)  # fmt: skip

_NOT_ABOVE_NULL = "not told apart from unrelated representations; the interval is unreliable at zero: go by p"
_UNDEFINED = "undefined: a layer is constant over these items, or there are too few of them to debias"


@dataclasses.dataclass(frozen=True, eq=False)
class CKAMatrix:
    """Debiased linear CKA of every layer of A (rows) with every layer of B (columns).

    Attributes:
        cka: values ``[a, b]`` with delete-a-block jackknife replicates. NaN where a layer is constant.
        p: add-one permutation p-value of each pair that nothing is shared.
        p_adjusted: the same against the largest (studentised) null value over all pairs, which holds the family-wise
        error. n_permutations: shared permutations drawn; n_null: groups they were drawn on.
    """

    cka: Replicates
    p: Float[np.ndarray, "a b"]
    p_adjusted: Float[np.ndarray, "a b"]
    n_permutations: int
    n_null: int

    def estimate(self, i: int, j: int) -> Estimate:
        """The Estimate of layer i of A with layer j of B; its p is the one adjusted over all pairs."""
        value, p = float(self.cka.value[i, j]), float(self.p_adjusted[i, j])
        reason = _UNDEFINED if np.isnan(value) else _NOT_ABOVE_NULL if p > 0.05 else ""
        return self.cka[i, j].estimate(CKA, null=0.0, p=p, reason=reason)


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
    _same_rows(checked([X], "X"), checked([Y], "Y"))
    sums = moments([X, Y], n_first=1)
    inner = sums.hsic()[0] if debiased else sums.inner[0]
    return float(_normalised(inner[0, 1], inner[0, 0], inner[1, 1]))


def cka_matrix(
    A: Sequence[np.ndarray],
    B: Sequence[np.ndarray],
    groups: Shaped[np.ndarray, " _n"] | None = None,
    *,
    n_blocks: int = 20,
    n_permutations: int = 1000,
    max_null_groups: int = 256,
    seed: int = 0,
) -> CKAMatrix:
    """Debiased linear CKA of all layer pairs of two models, with jackknife intervals and a permutation null.

    Intervals leave out one block of whole groups at a time (an ordinary bootstrap would put the diagonal back). The
    null permutes groups, one permutation for all layer pairs, on at most ``max_null_groups`` of them and rescaled to
    all (the null spread falls as 1/n). Rows of one group belong together and are alike, so where groups have several
    rows the *test* is made on group means, one row a group, which are exchangeable; the value and its interval are
    those of the rows.

    Args:
        A, B: layers ``[n, d_l]`` of either model, rows being the same items in the same order.
        groups: the independent unit each row belongs to; each row on its own if not given.
        n_permutations: 0 leaves p NaN.

    Raises:
        InputError: an array is not finite (names layer, row and column). MismatchError: different numbers of rows.
    """
    layers = checked(A, "A") + checked(B, "B")
    _same_rows(layers, layers[len(A) :])
    rows = len(layers[0])
    if groups is None:
        groups = np.arange(rows)
    if len(groups) != rows:
        raise MismatchError(f"{len(groups)} groups for {rows} rows: give one group a row")
    if n_permutations < 0 or max_null_groups < 4:
        raise InputError(
            f"n_permutations {n_permutations} and max_null_groups {max_null_groups}: expected at least 0 and at least 4"
        )
    hsic = moments(layers, jackknife_blocks(groups, n_blocks, seed), n_first=len(A)).hsic()
    own = np.einsum("rll->rl", hsic)
    values = _normalised(hsic[:, : len(A), len(A) :], own[:, : len(A), None], own[:, None, len(A) :])
    _, group = np.unique(groups, return_inverse=True)
    n_groups = int(group.max()) + 1
    replicates = Replicates(values[0], values[1:], "jackknife", n_groups)

    observed = values[0]
    if n_groups < rows:
        layers = [_group_means(layer, group) for layer in layers]
        hsic = moments(layers, n_first=len(A)).hsic()[0]
        own = hsic.diagonal()
        observed = _normalised(hsic[: len(A), len(A) :], own[: len(A), None], own[None, len(A) :])
    n_null = min(n_groups, max_null_groups)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(n_groups, n_null, replace=False))
    draws = _null_draws([layer[sample] for layer in layers], len(A), n_permutations, rng)
    draws *= np.sqrt(n_null * (n_null - 3.0) / (n_groups * (n_groups - 3.0))) if n_null < n_groups else 1.0
    p, p_adjusted = _p_values(observed, draws)
    return CKAMatrix(replicates, p, p_adjusted, n_permutations, n_null)


def _null_draws(layers: list[np.ndarray], n_first: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Debiased CKA ``[r, a, b]`` under shared permutations of B's rows. Gram matrices are made once and re-indexed."""
    n = len(layers[0])
    out = np.full((n_permutations, n_first, len(layers) - n_first), np.nan)
    if n < 4:
        return out
    upper, lower = np.triu_indices(n, 1)
    grams = [_u_centred_gram(layer) for layer in layers]
    size = np.array([np.sqrt(2 * (g[upper, lower] ** 2).sum()) for g in grams])
    with np.errstate(invalid="ignore"):
        # float32 halves the traffic of the gathers; a sum over the upper triangle counts each pair once.
        first = np.stack([g[upper, lower] / s for g, s in zip(grams[:n_first], size[:n_first], strict=True)])
        other = np.stack([(g / s).ravel() for g, s in zip(grams[n_first:], size[n_first:], strict=True)], axis=1)
    first, other = (2 * first).astype(np.float32), other.astype(np.float32)
    for r in range(n_permutations):
        order = rng.permutation(n)
        out[r] = first @ other[order[upper] * n + order[lower]]
    return out


def _p_values(observed: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add-one p of each pair alone, and against the largest studentised draw over all pairs."""
    nothing = np.full(observed.shape, np.nan)
    defined = np.isfinite(observed) & np.isfinite(draws).all(axis=0)
    if len(draws) == 0 or not defined.any():
        return nothing, nothing
    p = np.where(defined, permutation_p(observed, draws), np.nan)
    centre, spread = draws.mean(axis=0), draws.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = ((draws - centre) / spread)[:, defined].max(axis=1)
        score = (observed - centre) / spread
    adjusted = permutation_p(score, np.broadcast_to(largest[:, None, None], (len(draws), *score.shape)))
    return p, np.where(defined, np.maximum(adjusted, p), np.nan)


def _u_centred_gram(X: np.ndarray) -> np.ndarray:
    """Linear Gram matrix with zero diagonal and zero row sums: inner products of two of these are unbiased."""
    x = centred(X).astype(np.float64)
    gram = x @ x.T
    n = len(gram)
    np.fill_diagonal(gram, 0.0)
    row = gram.sum(axis=0) / (n - 2)
    gram += gram.sum() / ((n - 1) * (n - 2)) - row - row[:, None]
    np.fill_diagonal(gram, 0.0)
    return gram


def _group_means(X: np.ndarray, group: Int[np.ndarray, " n"]) -> np.ndarray:
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    return np.add.reduceat(X[order].astype(np.float64), starts, axis=0) / np.bincount(group)[:, None]


def _normalised(
    cross: np.ndarray | np.floating,
    own_x: np.ndarray | np.floating,
    own_y: np.ndarray | np.floating,
):
    """cross / sqrt(own_x own_y); NaN where either side's own term is not positive."""
    product = np.where((own_x > 0) & (own_y > 0), own_x * own_y, np.nan)
    return cross / np.sqrt(product)


def _same_rows(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    if len(a[0]) != len(b[0]):
        raise MismatchError(f"A has {len(a[0])} rows and B {len(b[0])}: both need the same items in the same order")
