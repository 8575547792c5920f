"""How many directions a representation fills: participation ratio and effective rank."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import MismatchError
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, second_order_jackknife
from mechdecouple.structure._distinct import distinct
from mechdecouple.structure._distinct_pairs import DistinctPairs
from mechdecouple.structure._layers import Layers
from mechdecouple.structure._moments import centred, checked, moments
from mechdecouple.structure._rows import reduced

PARTICIPATION_RATIO = Metric(
    name="participation_ratio", family="geometry", title="participation ratio (debiased)",
    measures="number of directions that share the variance evenly", range="[1, d]",
    invariances="rotation, translation, isotropic scaling",
    null="no honest null: read it against the other model, at the same items",
    source="Chun, Canatar, Chung & Lee, ICLR 2026 (the row-corrected estimator)", margin=0.20, scale="log-ratio",
)  # fmt: skip
EFFECTIVE_RANK = Metric(
    name="effective_rank", family="geometry", title="effective rank",
    measures="exponential of the entropy of the singular-value spectrum", range="[1, min(n - 1, d)]",
    invariances="rotation, translation, isotropic scaling",
    null="no honest null: it grows with n, so compare it only at the same number of items",
    source="Roy & Vetterli, EUSIPCO 2007", scale="log-ratio",
)  # fmt: skip

_MOST_PAIRED = 8192


def participation_ratio(X: Float[np.ndarray, "n d"], groups: Shaped[np.ndarray, " g"] | None = None) -> float:
    """(tr S)^2 / tr S^2 of the covariance S, debiased: how many directions share the variance evenly.

    Both terms are U-statistics, so isotropic data give d at any n where the plain ratio gives about nd / (n + d + 1).
    The estimate may leave [1, d] by its own noise. Cost: the smaller of the n x n and the d x d Gram matrix.

    Args:
        groups: the independent unit of each row; by default every row its own. Rows of one group are alike: their
            products would put the bias back, so they are left out.

    Returns:
        NaN below 4 groups, for constant activations, and where noise makes either term negative (n too small).

    Raises:
        InputError: X is not a finite real matrix; the message names the position.

    >>> round(participation_ratio(np.random.default_rng(0).normal(size=(500, 40))))
    40
    """
    return float(_jackknife(X, None, groups, None).value)


def participation_ratio_jackknife(
    X: Float[np.ndarray, "n d"],
    blocks: Int[np.ndarray, " b"],
    n_groups: int | None = None,
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> Replicates:
    """``participation_ratio`` with its delete-a-block replicates, at little more than the cost of the value.

    Take the logarithm (``.map(np.log)``) before comparing two models: the metric's margin is a log-ratio.

    Args:
        blocks: from ``stats.jackknife_blocks``; n_groups: independent groups among the rows (each row on its own if
        not given); groups: as for ``participation_ratio``, needed where they hold several rows.
    """
    return _jackknife(X, blocks, groups, n_groups)


def effective_rank(X: Float[np.ndarray, "n d"]) -> float:
    """exp of the entropy of the shares of the centred singular values; in [1, min(n - 1, d)].

    Biased in n: compare at matched n. NaN below 2 rows and for constant activations.
    """
    checked([X])
    return _rank_of(_gram(centred(X).astype(np.float64)))


def effective_rank_jackknife(
    X: Float[np.ndarray, "n d"], blocks: Int[np.ndarray, " b"], n_groups: int | None = None
) -> Replicates:
    """``effective_rank`` with its delete-a-block replicates: one eigenvalue problem a block."""
    checked([X])
    _check_blocks(blocks, len(X))
    x = centred(X).astype(np.float64)
    full, tall = _gram(x), len(x) > X.shape[1]
    values = []
    for b in np.unique(blocks):
        kept = blocks != b
        if not kept.any():
            gram = np.empty((0, 0))
        elif tall:
            out, mean = x[~kept], x[kept].mean(axis=0)
            gram = full - out.T @ out - kept.sum() * np.outer(mean, mean)
        else:
            gram = full[np.ix_(kept, kept)]
            row = gram.mean(axis=0)
            gram = gram - row - row[:, None] + row.mean()
        values.append(_rank_of(gram))
    return Replicates(_rank_of(full), np.array(values), "jackknife", len(X) if n_groups is None else n_groups)


def _jackknife(X: np.ndarray, blocks: np.ndarray | None, groups: np.ndarray | None, n_groups: int | None) -> Replicates:
    """The ratio and, given ``blocks``, its replicates; by whichever route costs less."""
    checked([X])
    n = len(X)
    if groups is not None and len(groups) != n:
        raise MismatchError(f"{len(groups)} groups for {n} rows: give one group a row")
    if blocks is not None:
        _check_blocks(blocks, n)
    code = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    alone = n == 0 or code.max() + 1 == n
    n_groups = n if n_groups is None else n_groups
    if 0 < n <= _MOST_PAIRED and (n < X.shape[1] or not alone):
        data = Layers([X], ["X"], blocks, held_bytes=np.inf)
        sums = DistinctPairs(data, code)
        return second_order_jackknife(
            lambda *left: _ratio(*sums.without(*left))[0, 0], 0 if blocks is None else len(data.counts), n_groups
        )
    if alone:
        sums = moments([X], blocks)
        values = _ratio(sums.hsic()[:, 0, 0], sums.squared_trace()[:, 0])
    else:
        rows = reduced(centred(X).astype(np.float64))
        sums = distinct(rows, rows, code, blocks)
        values = _ratio(sums.cross, sums.squared_trace)
    return Replicates(values[0], values[1:], "jackknife", n_groups)


def _check_blocks(blocks: np.ndarray, n: int) -> None:
    if len(blocks) != n:
        raise MismatchError(f"{len(blocks)} blocks for {n} rows: give one block a row")


def _ratio(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    below, above = np.broadcast_arrays(below, above)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=(above > 0) & (below > 0))


def _gram(x: np.ndarray) -> np.ndarray:
    return x.T @ x if len(x) > x.shape[1] else x @ x.T


def _rank_of(gram: np.ndarray) -> float:
    values = np.linalg.eigvalsh(gram)
    values = values[values > len(gram) * np.finfo(float).eps * values[-1]] if len(values) else values
    if len(values) == 0 or values[-1] <= 0:
        return float("nan")
    share = np.sqrt(values)
    share = share / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
