"""Replicates of statistics of nearest neighbours, for which leaving out one block at a time is too coarse a tool."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from mechdecouple.stats import Replicates

_SHARE = 1 / 6


def subsampled(
    statistic: Callable[[np.ndarray], float], groups: Int[np.ndarray, " n"], n_draws: int, seed: int
) -> Replicates:
    """A statistic of the kept rows with its replicates on m = n / 6 of the n groups, drawn without replacement.

    The standard error is their spread times √(m / (n - m)). The replicates are given drawn in towards the value by so
    much that the jackknife's formula returns this standard error: they add, subtract and map like any others, and pair
    with those of another model on the same groups.
    """
    n = int(groups.max()) + 1
    m = max(1, round(_SHARE * n))
    rng = np.random.default_rng(seed)
    value = statistic(np.arange(len(groups)))
    found = np.empty(n_draws)
    for i in range(n_draws):
        drawn = np.zeros(n, dtype=bool)
        drawn[rng.choice(n, m, replace=False)] = True
        found[i] = statistic(np.flatnonzero(drawn[groups]))
    shrink = math.sqrt(m / max(1, n - m) * n_draws) / (n_draws - 1)
    return Replicates(value, value + shrink * (found - found.mean()), "jackknife", n)
