"""Scores of swaps: shares of pairs with what there is to compare them to, left out by groups."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Shaped

from mechdecouple.stats import Replicates, jackknife, jackknife_blocks
from mechdecouple.structure.mechanism._interchanged import SCORES

_ROOM = 0.1
"""Where the model is right less than this above random directions, there is nothing to take a share of."""


def scores(
    outcomes: Bool[np.ndarray, "6 m"],
    changes: Bool[np.ndarray, " m"],
    unseen: Bool[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " m"],
    seed: int = 0,
) -> Replicates:
    """``SCORES`` from what became of each pair, left out by groups of bases.

    Args:
        outcomes: right after swapping the directions, random ones, nothing, everything and directions without the
            value; and whether the model is right on the base.
        changes: the answer should change; unseen: the fifth outcome counts.
    """
    return jackknife(
        _Scores(outcomes.astype(float), changes, unseen, groups), jackknife_blocks(groups, seed=seed), _count(groups)
    )


class _Scores:
    def __init__(self, outcomes: np.ndarray, changes: np.ndarray, unseen: np.ndarray, groups: np.ndarray) -> None:
        self._outcomes, self._changes, self._unseen, self._groups = outcomes, changes, unseen, groups

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        followed, random, nothing, everything, anew, right = self._outcomes[:, rows]
        changes, unseen = self._changes[rows], self._unseen[rows]
        follows, by_chance, ceiling = (_mean(x, changes) for x in (followed, random, right))
        room = ceiling - by_chance
        return np.array(
            [
                follows, _mean(followed, ~changes), by_chance, _mean(nothing, changes), _mean(everything, changes),
                _mean(anew, changes & unseen), ceiling, (follows - by_chance) / room if room > _ROOM else math.nan,
                follows - by_chance,
            ]
        )  # fmt: skip

    @property
    def resolution(self) -> np.ndarray:
        """Twice the weight of one group: the standard error that no error at all leaves."""
        every = np.ones(len(self._changes), bool)
        kinds = dict.fromkeys(SCORES, self._changes) | {"keeps": ~self._changes, "unseen": self._changes & self._unseen}
        least = np.array([2 / max(1, _count(self._groups[kinds[name] & every])) for name in SCORES])
        room = _mean(self._outcomes[5], self._changes) - _mean(self._outcomes[1], self._changes)
        least[SCORES.index("share")] /= max(room, _ROOM)
        return least


def _mean(x: np.ndarray, where: np.ndarray) -> float:
    return float(x[where].mean()) if where.any() else math.nan


def _count(groups: np.ndarray) -> int:
    return len(np.unique(groups))
