"""Ablation curve: how performance falls as a growing share of a representation's units is taken away."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.integrate import trapezoid

from mechdecouple.errors import InputError
from mechdecouple.results import Metric

ABLATION_AREA = Metric(
    name="ablation_area",
    family="robustness",
    title="area under the ablation curve",
    measures="performance above chance that is left while units are set to their mean one after the other, in random "
    "order, averaged over the share taken",
    range="(-inf, inf)",
    direction="higher",
    invariances="translation, scale of each unit, order of units; with principal axes as units also rotation",
    null="0: performance is at chance with the first unit; 1: no unit is needed",
    assumes="mean ablation leaves the rest of the network in a state that it knows",
    source="random orders as in arXiv:1803.06959",
)


def ablation_counts(d: int, steps: int = 8) -> Int[np.ndarray, " s"]:
    """Up to ``steps`` numbers of units to ablate, evenly spaced from d / steps to d.

    >>> ablation_counts(64), ablation_counts(3)
    (array([ 8, 16, 24, 32, 40, 48, 56, 64]), array([1, 2, 3]))
    """
    if d < 1 or steps < 1:
        raise InputError(f"{d} units in {steps} steps: expected at least one of each")
    return np.unique(np.linspace(0, d, min(steps, d) + 1).round().astype(int)[1:])


def ablation_curve(
    scores: Callable[[Bool[np.ndarray, " d"]], Float[np.ndarray, " n"]],
    d: int,
    counts: Int[np.ndarray, " s"],
    draws: int = 4,
    seed: int = 0,
) -> Float[np.ndarray, "r s n"]:
    """Score of each item with a growing number of units ablated, for a few random orders of the units.

    Each order is averaged with its reverse, so that a code of one unit, too, has its area from few draws.

    Args:
        scores: score of each item [n] with the units in a mask [d] ablated.
        d: units; counts: [s] how many are ablated, increasing; draws: r, pairs of orders.

    Raises:
        InputError: counts that are not increasing from 1 to d at most.
    """
    if not len(counts) or counts[0] < 1 or counts[-1] > d or (np.diff(counts) <= 0).any():
        raise InputError(f"ablated units {counts.tolist()}: expected increasing numbers from 1 to {d}")
    if draws < 1:
        raise InputError(f"{draws} draws of the order of units: expected at least one")
    rng = np.random.default_rng(seed)
    ranks = [rng.permutation(d) for _ in range(draws)]
    partial = [
        [0.5 * (np.asarray(scores(rank < count), float) + scores(rank >= d - count)) for count in counts if count < d]
        for rank in ranks
    ]
    last = [np.asarray(scores(np.ones(d, dtype=bool)), float)] if counts[-1] == d else []
    return np.array([curve + last for curve in partial])


def ablation_area(
    shares: Num[np.ndarray, " s"], performance: Num[np.ndarray, " p"], clean: float, chance: float = 0.0
) -> float:
    """Area under (performance - chance) / (clean - chance) over the share of units ablated; higher is tidier.

    Begun with 1 at share 0, by trapezoids, divided by the last share. 1 where ablation costs nothing; 1/2 where
    performance falls in a straight line to chance when all is gone; about 0 where the first units take it all.

    Returns:
        usually in [0, 1]; NaN where clean performance is not above chance.

    Raises:
        InputError: shares that do not increase from above 0 to at most 1, lengths that differ, values that are not
            finite.

    >>> ablation_area(np.array([0.5, 1.0]), np.array([0.75, 0.5]), clean=1.0, chance=0.5)
    0.5
    """
    shares, performance = np.asarray(shares, dtype=float), np.asarray(performance, dtype=float)
    if shares.shape != performance.shape or not len(shares):
        raise InputError(
            f"{len(shares)} shares and {len(performance)} performances: expected equal numbers, one or more"
        )
    if not np.isfinite([*shares, *performance, clean, chance]).all():
        raise InputError(f"shares {shares.tolist()}, performance {performance.tolist()}: expected finite values")
    if shares[0] <= 0 or shares[-1] > 1 or (np.diff(shares) <= 0).any():
        raise InputError(f"shares {shares.tolist()}: expected increasing, above 0 and at most 1")
    if clean <= chance:
        return math.nan
    curve = np.append(1.0, (performance - chance) / (clean - chance))
    return float(trapezoid(curve, np.append(0.0, shares)) / shares[-1])


class AblationArea:
    """Area under the ablation curve as a function of the kept rows, for ``stats.jackknife``.

    Args:
        shares: [s] of units ablated, increasing.
        scores: [r, s, n] score of each item at each share by draw, from ``ablation_curve``; higher is better.
        clean: [n] scores without ablation; chance: expected score of guessing.

    Attributes:
        draws: r; reason: why a value is NaN.

    Raises:
        InputError: no draws, or numbers of shares or items that differ.
    """

    def __init__(
        self,
        shares: Num[np.ndarray, " s"],
        scores: Num[np.ndarray, "r t n"],
        clean: Num[np.ndarray, " m"],
        chance: float = 0.0,
    ) -> None:
        if scores.shape[1:] != (len(shares), len(clean)) or not len(scores):
            raise InputError(
                f"scores have shape {scores.shape}, expected [draws, {len(shares)}, {len(clean)}], by share and item, "
                "with one draw at least"
            )
        self._shares, self._scores, self._clean = shares, np.asarray(scores, float), np.asarray(clean, float)
        self._chance = chance
        self.draws = len(self._scores)
        self.reason = f"performance without ablation is not above chance ({chance:.3g})"

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        rows = np.arange(len(self._clean)) if rows is None else rows
        if len(rows) == 0:
            return math.nan
        return self._area(self._scores[:, :, rows].mean(axis=(0, 2)), self._clean[rows])

    def draw_error(self) -> float:
        """Standard error of the area from the few orders drawn; NaN with one draw."""
        areas = [self._area(curve, self._clean) for curve in self._scores.mean(axis=2)]
        return float(np.std(areas, ddof=1) / np.sqrt(len(areas))) if len(areas) > 1 else math.nan

    def _area(self, performance: np.ndarray, clean: np.ndarray) -> float:
        return ablation_area(self._shares, performance, float(clean.mean()), self._chance)
