"""Replicates: a statistic with its resampled values and the intervals they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy import stats as sps

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats._types import Number

_MAX_UNDEFINED = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Replicates:
    """A statistic and its resampled values.

    Statistics made from the same resampling plan are aligned: replicate ``i`` of each left out (or drew) the same
    groups. So sums, differences and means of aligned Replicates are paired, replicate by replicate, and keep what the
    parts share.

    Attributes:
        value: the statistic on all rows: a float, or an array ``[*s]`` of many values (layers, metrics) at once.
        replicates: its resampled values ``[b, *s]``.
        kind: ``"jackknife"`` (each replicate leaves one block of groups out) or ``"bootstrap"``.
        n: independent groups it rests on.
        resolution: the least standard error that n groups leave, shaped like the value. Where every replicate is the
            same (no errors among the items, say) their spread is 0, which is no certainty. 0 where no such limit is
            known; sums and differences add it in squares.

    An array-valued Replicates is indexed like its value: ``layers[3].estimate(METRIC)``.
    """

    value: Any
    replicates: Float[np.ndarray, "b ..."]
    kind: Literal["jackknife", "bootstrap"]
    n: int
    resolution: Any = 0.0

    def __post_init__(self) -> None:
        value = np.asarray(self.value, float)
        replicates = np.asarray(self.replicates, float)
        if replicates.shape[1:] != value.shape or replicates.ndim != value.ndim + 1:
            raise InputError(
                f"replicates have shape {replicates.shape}, expected (b, *{value.shape}): resamples come first"
            )
        object.__setattr__(self, "value", value if value.ndim else float(value))
        object.__setattr__(self, "replicates", replicates)
        object.__setattr__(self, "resolution", np.broadcast_to(np.asarray(self.resolution, float), value.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value; empty for a single number."""
        return np.shape(self.value)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single-valued Replicates has no length")
        return self.shape[0]

    def __getitem__(self, key) -> Replicates:
        value = np.asarray(self.value)[key]
        key = key if isinstance(key, tuple) else (key,)
        return self._with(value, self.replicates[(slice(None), *key)], self.resolution[key])

    def __iter__(self) -> Iterator[Replicates]:
        return (self[i] for i in range(len(self)))

    def __add__(self, other: Replicates | Number) -> Replicates:
        return self._combine(other, np.add)

    def __sub__(self, other: Replicates | Number) -> Replicates:
        return self._combine(other, np.subtract)

    def __mul__(self, scalar: Number) -> Replicates:
        return self.map(lambda x: x * scalar)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Replicates:
        return self * -1.0

    @classmethod
    def mean(cls, several: Sequence[Replicates]) -> Replicates:
        """The average of aligned Replicates (over seeds, folds or contexts), replicate by replicate."""
        several = list(several)
        if not several:
            raise InputError("the mean of no Replicates is undefined: give at least one")
        total = several[0]
        for other in several[1:]:
            total = total + other
        return total * (1.0 / len(several))

    @classmethod
    def stack(cls, several: Sequence[Replicates]) -> Replicates:
        """Aligned Replicates of equal shape as one array-valued Replicates, the first axis running over them."""
        several = list(several)
        if not several:
            raise InputError("cannot stack no Replicates: give at least one")
        for other in several[1:]:
            several[0]._check_aligned(other)
        return several[0]._with(
            np.stack([r.value for r in several]),
            np.stack([r.replicates for r in several], axis=1),
            np.stack([r.resolution for r in several]),
        )

    def map(self, fn: Callable[[np.ndarray], np.ndarray]) -> Replicates:
        """``fn`` applied elementwise to the value and to each replicate; NaN outside its domain."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value, replicates = fn(np.asarray(self.value)), fn(self.replicates)
        return self._with(value, replicates, self._carried(fn, value))

    def contrast(self, other: Replicates, scale: Literal["difference", "log-ratio", "relative"]) -> Replicates:
        """The paired comparison on a metric's ``scale``: a - b, log a - log b, or (a - b) over their mean."""
        if scale == "difference":
            return self - other
        if scale == "log-ratio":
            return self.map(_log) - other.map(_log)
        return self._combine(other, lambda a, b: 2 * (a - b) / np.where(a + b == 0, np.nan, a + b))

    def standard_error(self) -> Any:
        """Jackknife: sqrt((b-1)/b sum (theta_b - mean)^2), at least the ``resolution``; bootstrap: the spread."""
        b = len(self.replicates)
        if b < 2:
            return _plain(np.full(self.shape, np.nan))
        if self.kind == "jackknife":
            spread = ((self.replicates - self.replicates.mean(axis=0)) ** 2).sum(axis=0)
            return _plain(np.maximum(np.sqrt((b - 1) / b * spread), self.resolution))
        return self._over_defined(lambda r: np.nanstd(r, axis=0, ddof=1))

    def interval(self, level: Number = 0.95) -> tuple[Any, Any]:
        """Ends of the confidence interval, (low, high); arrays for an array value.

        Jackknife: value -+ t_{b-1} SE. Bootstrap: percentiles of the defined resamples. NaN where fewer than two
        replicates exist, where a block's removal leaves the statistic undefined, or where more than 5 % of the
        bootstrap resamples are undefined.
        """
        if not 0 < level < 1:
            raise InputError(f"level {level} is not between 0 and 1: write 0.95 for a 95 % interval")
        b, value = len(self.replicates), np.asarray(self.value)
        if b < 2:
            nothing = _plain(np.full(self.shape, np.nan))
            return nothing, nothing
        if self.kind == "jackknife":
            half = sps.t.ppf((1 + level) / 2, b - 1) * self.standard_error()
            return _plain(value - half), _plain(value + half)
        tail = (1 - level) / 2
        low = self._over_defined(lambda r: np.nanquantile(r, tail, axis=0))
        high = self._over_defined(lambda r: np.nanquantile(r, 1 - tail, axis=0))
        return low, high

    def p_above(self, null: Number = 0.0) -> Any:
        """One-sided p-value of 'not above ``null``'.

        Jackknife: t with b - 1 degrees of freedom, never below 2^-b (the most that b agreeing blocks can show).
        Bootstrap: add-one share of resamples at or below the null.
        """
        b = len(self.replicates)
        if self.kind == "bootstrap":
            return self._over_defined(lambda r: (1 + (r <= null).sum(axis=0)) / (1 + (~np.isnan(r)).sum(axis=0)))
        distance, se = np.asarray(self.value) - null, np.asarray(self.standard_error())
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(distance == 0, 0.0, distance / se)
        p = np.maximum(sps.t.sf(t, b - 1), 0.5**b)
        return _plain(np.where(np.isnan(se), np.nan, p))

    def p_differs(self, null: Number = 0.0) -> Any:
        """Two-sided p-value of 'equal to ``null``': twice the smaller one-sided p, at most 1."""
        above, below = self.p_above(null), (-self).p_above(-null)
        return _plain(np.minimum(1.0, 2 * np.minimum(above, below)))

    def estimate(
        self, metric: Metric, *, unit: str = "groups", null: Number = np.nan, p: Number = np.nan, reason: str = ""
    ) -> Estimate:
        """The Estimate of a single value, with the metric's direction and invariances. NaN needs a ``reason``."""
        if self.shape:
            raise InputError(f"this Replicates holds {self.shape} values: index it before asking for an Estimate")
        low, high = self.interval()
        if np.isfinite(self.value) and np.isnan(low) and not reason:
            reason = "no interval: the statistic is undefined on some resamples, or there are fewer than two of them"
        return Estimate(
            value=float(self.value), low=metric.clip(float(low)), high=metric.clip(float(high)), method=self.method,
            null=float(null), p=float(p),
            n=self.n, unit=unit, direction=metric.direction, invariances=metric.invariances, reason=reason,
        )  # fmt: skip

    @property
    def method(self) -> str:
        """How the interval is made, in words."""
        b = len(self.replicates)
        if self.kind == "jackknife":
            return f"delete-a-block jackknife, {b} blocks of groups, t interval"
        return f"group bootstrap, {b} resamples, percentile interval"

    def _with(self, value, replicates, resolution) -> Replicates:
        return Replicates(np.asarray(value, float), np.asarray(replicates, float), self.kind, self.n, resolution)

    def _carried(self, fn: Callable, value) -> Any:
        """The resolution of ``fn`` of this: how far ``fn`` moves from its ``value`` over one step."""
        if not np.any(self.resolution):
            return np.zeros(np.shape(value))
        steps = [np.abs(fn(np.asarray(self.value) + step * self.resolution) - value) for step in (-1.0, 1.0)]
        return np.nan_to_num(np.fmax(*steps))

    def _combine(self, other: Replicates | Number, op: Callable) -> Replicates:
        if not isinstance(other, Replicates):
            return self.map(lambda x: op(x, other))
        self._check_aligned(other)
        value = op(np.asarray(self.value), other.value)
        mine = self._carried(lambda x: op(x, other.value), value)
        theirs = other._carried(lambda x: op(np.asarray(self.value), x), value)
        return self._with(value, op(self.replicates, other.replicates), np.hypot(mine, theirs))

    def _check_aligned(self, other: Replicates) -> None:
        mine = (self.kind, len(self.replicates), self.n, self.shape)
        theirs = (other.kind, len(other.replicates), other.n, other.shape)
        if mine != theirs:
            raise MismatchError(
                f"Replicates (kind, resamples, groups, shape) {mine} and {theirs} do not pair: make both from one plan"
            )

    def _over_defined(self, summary: Callable[[np.ndarray], np.ndarray]) -> Any:
        """A NaN-skipping ``summary`` over the bootstrap replicates; NaN where more than 5 % of them are undefined."""
        usable = ~np.isnan(self.value) & (np.isnan(self.replicates).mean(axis=0) <= _MAX_UNDEFINED)
        return _plain(np.where(usable, summary(np.where(usable, self.replicates, 0.0)), np.nan))


def _log(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.where(x > 0, x, np.nan)))


def _plain(x) -> Any:
    """A Python float for a 0-d array, the array itself otherwise."""
    x = np.asarray(x, float)
    return x if x.ndim else float(x)
