"""Spread: one number a run, arm by arm. Do the arms differ by more than runs of one arm do? The unit is the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import stats as sps

from mechdecouple.compare.many.relabel import Relabellings, relabellings
from mechdecouple.results import Estimate, Metric

ARM_SHARE = Metric(
    name="arm_share",
    family="arms",
    title="share of the variance between arms",
    range="[0, 1]",
    measures="share of the variance over runs that lies between arms (for distances: of the sum of squared distances)",
    null="(arms - 1) / (runs - 1) on average over all ways to deal the runs to the arms; p from those dealings",
    assumes="runs are independent, and exchangeable if the arms do not differ: seeds chosen before looking",
    source="permutation F test; of distances doi:10.1111/j.1442-9993.2001.01070.pp.x",
)


@dataclasses.dataclass(frozen=True, eq=False)
class ArmContrast:
    """One metric, with one number a run, compared between arms.

    Attributes:
        values: arm -> [runs] the metric in each run, on its own scale.
        scaled: arm -> [runs] the same on the scale of comparison: as they are, their logarithms (log-ratio), or over
            their mean (relative), so that arms differ by a difference of means.
        share: share of the variance over runs that lies between arms; NaN where undefined, with the ``reason``.
        p: from dealing the runs to the arms in other ways; smallest_p: the smallest that so many runs can give.
        p_adjusted: p after Holm's correction over all metrics compared; NaN until it is made.
        method: how p was made.
    """

    metric: Metric
    values: Mapping[str, np.ndarray]
    scaled: Mapping[str, np.ndarray]
    share: float
    p: float
    smallest_p: float
    method: str
    reason: str = ""
    p_adjusted: float = math.nan

    @property
    def defined(self) -> bool:
        return math.isfinite(self.share)

    def mean(self, arm: str) -> float:
        return float(np.mean(self.values[arm]))

    def seed_sd(self, arm: str) -> float:
        """Standard deviation over the runs of an arm; NaN for one run."""
        return float(np.std(self.values[arm], ddof=1)) if len(self.values[arm]) > 1 else math.nan

    def arm_mean(self, arm: str) -> Estimate:
        """The mean over an arm's runs, with a t interval over runs."""
        x = self.values[arm]
        if not np.isfinite(x).all():
            return Estimate.undefined(self.reason, n=len(x), unit="models")
        n, mean = len(x), float(x.mean())
        half = float(sps.t.ppf(0.975, n - 1)) * self.seed_sd(arm) / math.sqrt(n) if n > 1 else math.nan
        return Estimate(
            value=mean,
            low=self.metric.clip(mean - half),
            high=self.metric.clip(mean + half),
            method="t over runs" if n > 1 else "",
            n=n,
            unit="models",
            direction=self.metric.direction,
            invariances=self.metric.invariances,
            reason="" if n > 1 else "one run: no spread of seeds, so no interval",
        )

    def difference(self, a: str, b: str) -> Estimate:
        """Arm a minus arm b on the metric's scale: Welch's interval over runs, p from dealing the runs of both anew."""
        if not self.defined:
            return Estimate.undefined(self.reason, unit="models")
        x, y = self.scaled[a], self.scaled[b]
        value, n = float(x.mean() - y.mean()), len(x) + len(y)
        low, high, reason = *welch(x, y), ""
        if math.isnan(low):
            reason = "an arm of one run has no spread of seeds, so there is no interval"
        deals = relabellings([len(x), len(y)])
        return Estimate(
            value=value,
            low=low,
            high=high,
            method=f"Welch's t over runs; p from {deals.words}",
            null=0.0,
            p=deals.p(between_share(np.concatenate([x, y]), deals)),
            n=n,
            unit="models",
            direction=self.metric.direction,
            invariances=self.metric.invariances,
            reason=reason,
        )

    def share_estimate(self) -> Estimate:
        """The share of variance between arms as an Estimate, with its null and p."""
        n = sum(len(x) for x in self.values.values())
        if not self.defined:
            return Estimate.undefined(self.reason, n=n, unit="models")
        null = (len(self.values) - 1) / (n - 1)
        why = f"no interval; the smallest p that these arms can give is {self.smallest_p:.2g}"
        return Estimate(
            value=self.share, null=null, p=self.p, n=n, unit="models", method=f"p from {self.method}", reason=why
        )


def contrast_arms(
    metric: Metric, values: Mapping[str, Sequence[float] | np.ndarray], *, reason: str = "", seed: int = 0
) -> ArmContrast:
    """Compare arms in one metric, one number a run, by dealing the runs to the arms in other ways.

    Args:
        values: arm -> the metric in each of its runs; where any is not finite, the contrast is undefined.
        reason: why a value is not finite.

    >>> from mechdecouple.structure import CCGP
    >>> contrast = contrast_arms(CCGP, {"a": [0.9, 0.91, 0.92], "b": [0.5, 0.52, 0.51]})
    >>> round(contrast.p, 3), round(contrast.smallest_p, 3)
    (0.1, 0.1)
    """
    arms = {arm: np.asarray(x, dtype=np.float64) for arm, x in values.items()}
    deals = relabellings([len(x) for x in arms.values()], seed=seed)
    flat, why = _scaled(np.concatenate(list(arms.values())), metric)
    edges = np.cumsum([len(x) for x in arms.values()])[:-1]
    scaled = dict(zip(arms, np.split(flat, edges), strict=True))
    if not np.isfinite(flat).all():
        told = reason or why or "undefined in some runs"
        return ArmContrast(metric, arms, scaled, math.nan, math.nan, deals.smallest_p, deals.words, told)
    shares = between_share(flat, deals)
    return ArmContrast(metric, arms, scaled, float(shares[0]), deals.p(shares), deals.smallest_p, deals.words)


def between_share(x: np.ndarray, deals: Relabellings) -> np.ndarray:
    """Share of the variance of x [m] that lies between arms, in each dealing [1 + r]; 0 where nothing varies.

    The total does not change with the labels, so the share orders the dealings as F does.
    """
    x = x - x.mean()
    total = float(x @ x)
    if total <= (1e-12 * max(1.0, float(np.abs(x).max(initial=0.0)))) ** 2:
        return np.zeros(len(deals.others) + 1)
    arms = np.arange(deals.declared.max() + 1)
    member = (deals.all[:, :, None] == arms).astype(np.float64)
    sums = np.einsum("m,rma->ra", x, member)
    # equal but for rounding counts as equal
    return np.round((sums**2 / member[0].sum(axis=0)).sum(axis=1) / total, 12)


def welch(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Welch's interval of mean x - mean y; NaN where an arm has one run."""
    if min(len(x), len(y)) < 2:
        return math.nan, math.nan
    d = float(x.mean() - y.mean())
    vx, vy = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
    if vx + vy == 0:
        return d, d
    df = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    half = float(sps.t.ppf((1 + level) / 2, df)) * math.sqrt(vx + vy)
    return d - half, d + half


@dataclasses.dataclass(frozen=True)
class SeedRank:
    """The difference of two runs among the differences of runs of one arm.

    Attributes:
        difference: absolute difference of the pair; largest: the largest between two runs of one arm.
        rank: 1 + the same-arm pairs that differ at least as much; n_pairs: same-arm pairs, the pair itself left out.
        p: rank / (1 + n_pairs): small where a change of seed does not do this. Pairs share runs, so it is a rank and
            no exact p; simulated at equal recipes it is conservative (2 to 10 seeds an arm).
    """

    difference: float
    largest: float
    rank: int
    n_pairs: int
    p: float

    @property
    def larger(self) -> bool:
        """Whether no two runs of one arm differ as much."""
        return self.n_pairs > 0 and self.rank == 1


def rank_among_seeds(distance: np.ndarray, arm: np.ndarray, i: int, j: int) -> SeedRank:
    """Where the distance of runs i and j stands among those of runs of one arm.

    Args:
        distance: [m, m] symmetric, absolute differences of a metric or distances of models; arm: [m] codes.
    """
    own = float(distance[i, j])
    seeds = np.array(
        [distance[k, l] for k, l in combinations(range(len(arm)), 2) if arm[k] == arm[l] and {k, l} != {i, j}]
    )
    rank = 1 + int((seeds >= own - 1e-12 * max(1.0, own)).sum())
    largest = float(seeds.max()) if len(seeds) else math.nan
    return SeedRank(own, largest, rank, len(seeds), rank / (1 + len(seeds)))


def _scaled(x: np.ndarray, metric: Metric) -> tuple[np.ndarray, str]:
    """Values on the scale on which arms differ by a difference of means, and why some are undefined there."""
    if metric.scale == "log-ratio":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(x > 0, np.log(x), np.nan), "its logarithm is undefined: it is not above 0 in some run"
    if metric.scale == "relative":
        mean = float(x.mean())
        return (x / mean if mean != 0 else np.full(len(x), np.nan)), "its mean over runs is 0"
    return x, ""
