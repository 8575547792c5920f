"""Replicates of statistics that rest on some of a task's items, on one plan of blocks with those that rest on all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from mechdecouple.stats import Replicates


def on_rows(
    statistic: Callable[[np.ndarray], float | np.ndarray],
    rows: Int[np.ndarray, " r"],
    blocks: Int[np.ndarray, " n"],
    n_groups: int,
) -> Replicates:
    """The jackknife of a statistic of places in ``rows``: each replicate leaves out what one block has of them.

    Args:
        statistic: takes the kept places in ``rows``.
        rows: the items it rests on. blocks: block of every item of the task. n_groups: groups of the task.
    """
    of_row = blocks[rows]
    value = np.asarray(statistic(np.arange(len(rows))), float)
    left_out = [np.asarray(statistic(np.flatnonzero(of_row != b)), float) for b in np.unique(blocks)]
    return Replicates(value, np.stack(left_out), "jackknife", n_groups)
