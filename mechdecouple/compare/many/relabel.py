"""Relabellings: the ways in which runs could have been dealt to arms, and the p-values they can give."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from mechdecouple.errors import InputError
from mechdecouple.stats import permutation_p

MAX_EXACT = 20_000
"""Up to so many relabellings are all gone through; of more, ``DRAWS`` are drawn."""
DRAWS = 9_999


@dataclasses.dataclass(frozen=True, eq=False)
class Relabellings:
    """Which arm each of m runs is dealt to.

    Attributes:
        declared: [m] the arms as declared: the first runs belong to arm 0, and so on.
        others: [r, m] other dealings with the same numbers of runs: every one (``exact``), or a random draw of them.
        smallest_p: the smallest p that any values of the runs could give; arms of equal size have the same statistic
            when they swap names, so that 3 + 3 runs give 2 / 20 = 0.1 at best.
    """

    declared: np.ndarray
    others: np.ndarray
    exact: bool
    smallest_p: float

    @property
    def all(self) -> np.ndarray:
        return np.concatenate([self.declared[None], self.others])

    def p(self, statistic: np.ndarray) -> float:
        """Share of the dealings [1 + r] whose statistic is at least that of the first, the declared one."""
        return float(permutation_p(statistic[0], statistic[1:]))

    @property
    def words(self) -> str:
        n = len(self.others) + 1
        return f"all {n:,} ways to deal the runs to the arms" if self.exact else f"{n:,} random dealings of the runs"


def relabellings(sizes: Sequence[int], *, seed: int = 0) -> Relabellings:
    """The dealings of runs to arms of these sizes.

    Raises:
        InputError: fewer than two arms, or an empty one.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError(f"arms of {list(sizes)} runs: expected two arms or more, each with a run")
    declared = np.repeat(np.arange(len(sizes)), sizes)
    count = n_relabellings(sizes)
    if count <= MAX_EXACT:
        others = np.array(list(itertools.islice(_dealings(tuple(range(len(declared))), sizes), 1, None)))
        return Relabellings(declared, others.reshape(-1, len(declared)), True, smallest_p(sizes))
    rng = np.random.default_rng(seed)
    others = rng.permuted(np.tile(declared, (DRAWS, 1)), axis=1)
    return Relabellings(declared, others, False, max(smallest_p(sizes), 1 / (1 + DRAWS)))


def n_relabellings(sizes: Sequence[int]) -> int:
    """In how many ways runs can be dealt to arms of these sizes."""
    return math.factorial(sum(sizes)) // math.prod(math.factorial(n) for n in sizes)


def smallest_p(sizes: Sequence[int]) -> float:
    """The smallest p of a two-sided test over every dealing to arms of these sizes."""
    swaps = math.prod(math.factorial(k) for k in Counter(sizes).values())
    return swaps / n_relabellings(sizes)


def runs_needed(n_arms: int, level: float) -> int:
    """Runs an arm from which p <= ``level`` can be reached, in arms of equal size."""
    return next(n for n in itertools.count(1) if smallest_p([n] * n_arms) <= level)


def _dealings(runs: tuple[int, ...], sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """The arm of each run, for every dealing; the first gives the first runs to the first arm."""
    m = len(runs)

    def deal(left: tuple[int, ...], arm: int, arms: np.ndarray) -> Iterator[np.ndarray]:
        if arm == len(sizes) - 1:
            arms[list(left)] = arm
            yield arms.copy()
            return
        for chosen in itertools.combinations(left, sizes[arm]):
            arms[list(chosen)] = arm
            yield from deal(tuple(run for run in left if run not in chosen), arm + 1, arms)

    yield from deal(runs, 0, np.zeros(m, dtype=np.int64))
