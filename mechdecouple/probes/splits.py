"""Splits that keep groups whole: grouped, class-aware folds and leave-one-context-out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int, Num, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks


def grouped_folds(
    y: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"] | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> Int[np.ndarray, " n"]:
    """Fold of each row, 0 … n_folds-1, with whole groups in one fold and the classes spread evenly.

    Groups are ordered by their class mix and size (at random among equals) and dealt out back and forth, so that each
    kind of group is shared out evenly. The result depends on which groups there are, not on the order of the rows. With
    fewer groups than folds there is one fold a group.

    Args:
        y: labels, any numbers; only their mean within a group matters.
        groups: name of each row's group; None makes every row its own.

    Raises:
        InputError: fewer than two groups.
    """
    y = np.asarray(y, dtype=np.float64)
    codes = _checks.group_codes(groups, len(y))
    size = np.bincount(codes)
    if len(size) < 2:
        raise InputError(f"{len(size)} group among {len(y)} rows: held-out scoring needs at least two groups")
    n_folds = min(n_folds, len(size))
    mix = np.round(np.bincount(codes, weights=y) / size, 9)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(size)), -size, mix))
    place = np.arange(len(size))
    turn, seat = np.divmod(place, n_folds)
    fold = np.empty(len(size), dtype=np.int64)
    fold[order] = np.where(turn % 2, n_folds - 1 - seat, seat)
    return fold[codes]


def leave_one_context_out(
    context: Shaped[np.ndarray, " n"],
) -> Iterator[tuple[object, Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]]:
    """Yields (context, train rows, test rows), the contexts in sorted order.

    Raises:
        InputError: fewer than two contexts.
    """
    context = np.asarray(context)
    names = np.unique(context)
    if len(names) < 2:
        raise InputError(f"{len(names)} context among {len(context)} rows: leaving one out needs at least two")
    for name in names:
        test = context == name
        yield name, ~test, test
