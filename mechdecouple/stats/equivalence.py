"""Are two models equally good? Paired TOST with a declared margin; not significant is not equal."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import optimize
from scipy import stats as sps

from mechdecouple.errors import InputError
from mechdecouple.stats._types import Number


@dataclasses.dataclass(frozen=True, kw_only=True)
class TostResult:
    """A paired equivalence test.

    Attributes:
        difference: mean of A - B, in the unit of the scores (a share for 0/1 correctness).
        low, high: the 1 - 2 alpha interval (90 % by default) whose lying inside -+ margin is what 'equal' means.
        low95, high95: the 95 % interval, for showing beside the difference.
        p: the larger of the two one-sided p-values; equal when p <= alpha.
        margin, alpha: as declared.
        n, n_groups: paired items, independent groups.
        only_a, only_b: items that only A, only B got right (0/1 scores; NaN otherwise).
        discordance: (only_a + only_b) / n; NaN for continuous scores.
        design_effect: variance inflation by groups, at least 1; the interval is that of n / design_effect items.
        method: how it was made, in words.
    """

    difference: float
    low: float
    high: float
    low95: float
    high95: float
    p: float
    margin: float
    alpha: float
    n: int
    n_groups: int
    only_a: float
    only_b: float
    discordance: float
    design_effect: float
    method: str

    @property
    def equal(self) -> bool:
        """The difference lies inside the margin, at level alpha."""
        return self.p <= self.alpha

    @property
    def differs(self) -> bool:
        """The 95 % interval leaves zero out. Both this and ``equal`` (within the margin) can hold; so can neither."""
        return self.low95 > 0 or self.high95 < 0


def paired_tost(
    a: Float[np.ndarray, " n"] | Int[np.ndarray, " n"] | Bool[np.ndarray, " n"],
    b: Float[np.ndarray, " _n"] | Int[np.ndarray, " _n"] | Bool[np.ndarray, " _n"],
    groups: Shaped[np.ndarray, " _n"],
    margin: Number,
    alpha: Number = 0.05,
) -> TostResult:
    """Two one-sided tests that the mean paired difference a - b lies inside -+ ``margin``.

    Scores that are all 0 or 1 use Tango's score interval (Stat. Med. 17, 891, 1998), which keeps a finite width at zero
    discordance, where the Wald interval always says 'equal'. Items of one group are not independent: their counts are
    divided by a design effect (cluster-robust over independent variance, at least 1; one fully agreeing group of
    typical size is added to both variances, so that a handful of discordant items cannot hide the clustering) and t
    replaces the normal quantile. Any other scores use the cluster-robust t interval of the paired differences.

    Args:
        a, b: a score for each item from either model; b's rows are a's items.
        groups: the independent unit each item belongs to.
        margin: declared beforehand, in the unit of the scores, > 0.

    Raises:
        InputError: lengths differ, there are no items or one group, a score is not finite, or margin or alpha is out
        of range.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    group, n_groups = _checked(a, b, groups, margin, alpha)
    d = a - b
    n = len(d)
    repeated = n_groups < n
    df = n_groups - 1 if repeated else math.inf
    facts = {
        "difference": float(d.mean()),
        "margin": float(margin),
        "alpha": float(alpha),
        "n": n,
        "n_groups": n_groups,
    }
    if np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all():
        only_a, only_b = float((d > 0).sum()), float((d < 0).sum())
        deff = _design_effect(d, group) if repeated else 1.0
        counts = (only_a / deff, only_b / deff, n / deff)
        low, high = tango_interval(*counts, level=1 - 2 * alpha, df=df)
        low95, high95 = tango_interval(*counts, level=0.95, df=df)
        one_sided = (sps.t.sf(_tango_z(*counts, -margin), df), sps.t.cdf(_tango_z(*counts, margin), df))
        return TostResult(
            low=low, high=high, low95=low95, high95=high95, p=float(max(one_sided)), only_a=only_a, only_b=only_b,
            discordance=(only_a + only_b) / n, design_effect=deff,
            method="Tango score interval" + (", scaled by the design effect of groups" if repeated else ""), **facts,
        )  # fmt: skip
    independent, clustered = _variances(d, group)
    se = math.sqrt(clustered)
    df = n_groups - 1
    half, half95 = (float(sps.t.ppf(q, df)) * se for q in (1 - alpha, 0.975))
    mean = facts["difference"]
    p = max(_t_sf(mean + margin, se, df), _t_sf(margin - mean, se, df))
    return TostResult(
        low=mean - half, high=mean + half, low95=mean - half95, high95=mean + half95, p=p,
        only_a=math.nan, only_b=math.nan, discordance=math.nan,
        design_effect=max(1.0, clustered / independent) if independent > 0 else 1.0,
        method="t interval of paired differences" + (", cluster-robust by group" if repeated else ""), **facts,
    )  # fmt: skip


def tango_interval(
    only_a: Number, only_b: Number, n: Number, level: Number = 0.95, df: Number = math.inf
) -> tuple[float, float]:
    """Score interval of p_a - p_b for paired proportions: the differences that Tango's score test does not reject.

    Args:
        only_a, only_b: discordant pairs (may be fractional: counts divided by a design effect); n: all pairs.
        df: degrees of freedom of the quantile; normal by default.

    At zero discordance it is -+ z^2 / (n + z^2).
    """
    if min(only_a, only_b) < 0 or n <= 0 or only_a + only_b > n * (1 + 1e-12):
        raise InputError(
            f"discordant counts {only_a} and {only_b} of {n} pairs: expected none negative, together at most n"
        )
    z = float(sps.t.ppf((1 + level) / 2, df))
    centre = (only_a - only_b) / n

    def edge(sign: int) -> float:
        """Where the falling statistic passes sign * z, between the observed difference and the end of the range."""
        end = -float(sign)
        if abs(centre - end) < 1e-15 or (_tango_z(only_a, only_b, n, end * (1 - 1e-12)) - sign * z) * sign <= 0:
            return end
        inner, outer = sorted((centre, end * (1 - 1e-12)))
        root: Any = optimize.brentq(lambda x: _tango_z(only_a, only_b, n, x) - sign * z, inner, outer, xtol=1e-13)
        return float(root)

    return edge(+1), edge(-1)


def supported_margin(
    discordance: Number, n: Number, alpha: Number = 0.05, power: Number = 0.9, *, binary: bool = True
) -> float:
    """The smallest margin that n paired items could support, were the models truly equal.

    From n ~ discordance (z_{1-alpha} + z_{1-beta/2})^2 / margin^2; for 0/1 scores never below what the score interval
    spans at zero discordance.

    Args:
        discordance: share of items that exactly one of the two models gets right; for scores that are not 0/1 the
            variance of the paired differences.
        n: independent items (divide by the design effect where groups repeat).
        binary: whether scores are 0/1.
    """
    if not (discordance >= 0 and n >= 1 and 0 < alpha < 0.5 and 0 < power < 1):
        raise InputError(
            f"discordance {discordance}, n {n}, alpha {alpha}, power {power}: expected discordance >= 0, n >= 1, "
            "0 < alpha < 0.5, 0 < power < 1"
        )
    discordance, n = float(discordance), float(n)
    z_alpha, z_power = float(sps.norm.ppf(1 - alpha)), float(sps.norm.ppf((1 + power) / 2))
    least = z_alpha**2 / (n + z_alpha**2) if binary else 0.0
    return max(math.sqrt(discordance / n) * (z_alpha + z_power), least)


def _tango_z(only_a: Number, only_b: Number, n: Number, difference: Number) -> float:
    """Tango's score statistic of H0: p_a - p_b = difference, with the discordant share most likely under H0."""
    w = -only_a - only_b + (2 * n - only_a + only_b) * difference
    v = -only_b * difference * (1 - difference)
    # The two forms are equal; the second keeps its digits where the first cancels.
    root = math.sqrt(max(0.0, w * w - 8 * n * v))
    q = (root - w) / (4 * n) if w <= 0 else (-2 * v / (root + w) if root + w > 0 else 0.0)
    variance = n * (2 * q + difference * (1 - difference))
    distance = only_a - only_b - n * difference
    if variance <= 1e-15 * n:
        return 0.0 if abs(distance) <= 1e-12 * n else math.copysign(math.inf, float(distance))
    return float(distance / math.sqrt(variance))


def _variances(d: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of d, rows taken as independent, and with whole groups as the independent unit."""
    n, g = len(d), int(group.max()) + 1
    residual = d - d.mean()
    sums = np.bincount(group, weights=residual)
    return float(residual @ residual) / (n * (n - 1)), float(sums @ sums) / n**2 * g / (g - 1)


def _design_effect(d: np.ndarray, group: np.ndarray) -> float:
    """Cluster-robust over independent variance of a paired 0/1 difference, at least 1.

    One group of typical size whose items all agree is added to both, which leads to the largest sensible effect (items
    of a group as one) at zero discordance and fades as discordant items come in.
    """
    n = len(d)
    sizes = np.bincount(group).astype(float)
    typical = float(sizes @ sizes) / n
    independent, clustered = (v * n**2 for v in _variances(d, group))
    return max(1.0, (clustered + typical**2) / (independent + typical))


def _t_sf(distance: Number, se: Number, df: int) -> float:
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(sps.t.sf(distance / se, df))


def _checked(a: np.ndarray, b: np.ndarray, groups: np.ndarray, margin: Number, alpha: Number) -> tuple[np.ndarray, int]:
    if not len(a) == len(b) == len(groups):
        raise InputError(f"{len(a)} scores of A, {len(b)} of B, {len(groups)} groups: all three need one a row")
    for name, x in (("A", a), ("B", b)):
        if not np.isfinite(x).all():
            at = int(np.flatnonzero(~np.isfinite(x))[0])
            raise InputError(f"score {at} of model {name} is {x[at]}: expected a finite number; drop the item for both")
    if not (math.isfinite(margin) and margin > 0):
        raise InputError(f"margin is {margin}: declare the difference that would not matter, above 0 (0.02, say)")
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha is {alpha}: expected a level between 0 and 0.5, such as 0.05")
    if len(a) == 0:
        raise InputError("there are no items to test for equality: the table is empty")
    _, group = np.unique(groups, return_inverse=True)
    n_groups = int(group.max()) + 1
    if n_groups < 2:
        raise InputError(f"all {len(a)} items belong to one group: an interval needs at least 2 independent groups")
    return group, n_groups
