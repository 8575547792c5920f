"""Resampling plans: delete-a-block jackknife, group bootstrap, and the add-one p-value of permutation draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.stats._types import Number
from mechdecouple.stats.replicates import Replicates, _plain


def jackknife_blocks(groups: Shaped[np.ndarray, " n"], n_blocks: int = 20, seed: int = 0) -> Int[np.ndarray, " n"]:
    """The block of each row: whole groups stay together, blocks hold nearly equal numbers of rows.

    Groups are dealt in random order, the largest first, each to the emptiest block. With fewer groups than
    ``n_blocks`` each group is a block of its own.

    Raises:
        InputError: no rows, or fewer than two blocks asked for.
    """
    if n_blocks < 2:
        raise InputError(f"n_blocks is {n_blocks}: the jackknife needs at least 2")
    if len(groups) == 0:
        raise InputError("there are no rows to put into jackknife blocks: the table is empty")
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n_blocks = min(n_blocks, len(sizes))
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    block_of_group = np.empty(len(sizes), dtype=np.int64)
    if sizes[order[0]] == sizes[order[-1]]:
        block_of_group[order] = np.arange(len(sizes)) % n_blocks
    else:
        filled = np.zeros(n_blocks, dtype=np.int64)
        for g in order:
            emptiest = int(np.argmin(filled))
            block_of_group[g] = emptiest
            filled[emptiest] += sizes[g]
    return block_of_group[group]


def jackknife(
    statistic: Callable[[np.ndarray], Number | np.ndarray],
    blocks: Int[np.ndarray, " n"],
    n_groups: int | None = None,
) -> Replicates:
    """Delete-a-block jackknife of any statistic of rows, pairwise ones included.

    Args:
        statistic: takes the kept row indices (sorted), returns a number or an array of numbers. A step function, such
            as a share of right answers, may have a method ``left_out(rows)`` with a smooth value for the replicates,
            and a ``resolution``, the least standard error it can have (see ``Replicates``).
        blocks: block of each row, from ``jackknife_blocks``.
        n_groups: independent groups among the rows; each row on its own if not given.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> r = jackknife(lambda rows: x[rows].mean(), np.arange(4))
    >>> round(r.standard_error(), 4), round(float(x.std(ddof=1)) / 2, 4)
    (0.6455, 0.6455)
    """
    rows = np.arange(len(blocks))
    value = np.asarray(statistic(rows), float)
    replicate = getattr(statistic, "left_out", statistic)
    left_out = [np.asarray(replicate(rows[blocks != b]), float) for b in np.unique(blocks)]
    resolution = np.asarray(getattr(statistic, "resolution", 0.0), float)
    n = len(blocks) if n_groups is None else int(n_groups)
    return Replicates(value, np.stack(left_out), "jackknife", n, np.broadcast_to(resolution, value.shape))


def second_order_jackknife(without: Callable[..., Number | np.ndarray], n_blocks: int, n_groups: int) -> Replicates:
    """Delete-a-block jackknife that does not count products of two blocks twice.

    A statistic made of products of rows (U-statistics of Gram matrices) varies by single rows and by pairs of them. The
    jackknife's variance holds the first part once and the second twice, which matters where the covariance is spread
    over about as many directions as there are groups, or where nothing is shared: intervals are up to 1.4 times too
    wide. The second part is what leaving out two blocks together does beyond leaving out each (Efron & Stein 1981,
    doi:10.1214/aos/1176345462); the replicates are drawn in so that the jackknife's formula gives the variance less
    that part, and at least half of it.

    Args:
        without: the statistic without the blocks given as arguments; ``without()`` is its value.
        n_blocks: blocks 0 … n_blocks - 1, at least 4 for the correction.
    """
    value = np.asarray(without(), float)
    one = np.array([without(b) for b in range(n_blocks)], float).reshape(n_blocks, *value.shape)
    if n_blocks < 4:
        return Replicates(value, one, "jackknife", n_groups)
    joint = np.zeros((n_blocks, n_blocks, *value.shape))
    for b in range(n_blocks):
        for c in range(b):
            joint[b, c] = joint[c, b] = value - one[b] - one[c] + without(b, c)
    # Double centring off the diagonal: what one of the two blocks does alone is no joint effect.
    rows = joint.sum(axis=1)
    total = rows.sum(axis=0) / (n_blocks - 1)
    alone = (rows - total / 2) / (n_blocks - 2)
    centred = joint - alone[:, None] - alone[None, :]
    pairs = (centred**2).sum(axis=(0, 1)) / 2 - sum(centred[b, b] ** 2 for b in range(n_blocks)) / 2
    # Sum of squares -> variance: by its degrees of freedom, and by the rows that are missing without two blocks.
    second = pairs * n_blocks / (n_blocks - 3) * (1 - 2 / n_blocks) ** 4
    # How much of it the jackknife has too much: nearly once.
    excess = 2 * n_blocks * (n_blocks - 1.5) / (n_blocks - 1) ** 2 - 1
    first = (n_blocks - 1) / n_blocks * ((one - one.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A tenth of the variance is left in for the noise of the correction itself.
        surplus = (excess * second / first - 0.1) / 0.9
        share = np.where(first > 0, np.clip(1 - surplus, 0.5, 1.0), 1.0)
    return Replicates(value, one.mean(axis=0) + np.sqrt(share) * (one - one.mean(axis=0)), "jackknife", n_groups)


def group_bootstrap_weights(
    groups: Shaped[np.ndarray, " n"], n_resamples: int = 1000, seed: int = 0
) -> Float[np.ndarray, "b n"]:
    """Row weights of each bootstrap resample: how often the row's group was drawn. For smooth statistics only.

    Never for pairwise statistics (CKA, neighbours): a group drawn twice is its own twin and puts back the diagonal
    that debiasing took out.
    """
    if len(groups) == 0:
        raise InputError("there are no rows to resample: the table is empty")
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples}: expected at least 1")
    _, group = np.unique(groups, return_inverse=True)
    n_groups = int(group.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples)
    return drawn.astype(float)[:, group]


def permutation_p(
    observed: Number | Float[np.ndarray, "*s"],
    null_draws: Float[np.ndarray, "r ..."],
    tail: Literal["upper", "lower", "two-sided"] = "upper",
) -> float | Float[np.ndarray, "*s"]:
    """Add-one permutation p-value: (1 + draws at least as extreme) / (1 + draws); NaN where the observed value is.

    Draws equal to the observed value but for rounding count as equal.
    """
    observed, draws = np.asarray(observed, float), np.asarray(null_draws, float)
    slack = 1e-12 * np.maximum(1e-300, np.abs(observed))
    upper = (1 + (draws >= observed - slack).sum(axis=0)) / (1 + len(draws))
    lower = (1 + (draws <= observed + slack).sum(axis=0)) / (1 + len(draws))
    p = {"upper": upper, "lower": lower, "two-sided": np.minimum(1.0, 2 * np.minimum(upper, lower))}[tail]
    return _plain(np.where(np.isnan(observed), np.nan, p))
