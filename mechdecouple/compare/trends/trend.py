"""Trend: what one measure does along a run: it jumps, it drifts, or neither is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import stats as sps

from mechdecouple.compare.trends.series import Series
from mechdecouple.stats.change_points import FEWEST, ChangePoints, change_points, step_tests

Kind = Literal["jumps", "drifts", "neither", "undefined"]
_TWO_SIDED = float(sps.norm.ppf(0.975))
_DRAWS_WITH_GAPS = 1_999
"""Each pattern of missing values has a null of its own."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A jump from one level to another.

    Attributes:
        last, first: the checkpoints between which it lies, last of the old level and first of the new one.
        low, high: the checkpoints between which it lies with 95 % confidence.
        before, after: the levels, means over the checkpoints between jumps.
        difference, difference_low, difference_high: after − before, with its 95 % interval: the wider one of that by
            how the series scatters and that by the intervals of its values, of which the items are taken to be shared.
        p: of no difference, by how the series scatters or by the intervals of its values, the larger one.
    """

    last: int
    first: int
    low: int
    high: int
    before: float
    after: float
    difference: float
    difference_low: float
    difference_high: float
    p: float


@dataclasses.dataclass(frozen=True, eq=False)
class Trend:
    """What a series does.

    Attributes:
        kind: ``jumps``, ``drifts`` (it moves, and not by jumps), ``neither`` is shown, or ``undefined``.
        p: that there is no jump; p_drift: that there is no drift; adjusted: over all series (Benjamini-Hochberg).
        changes: the jumps, where they are claimed.
        drift: rise of the straight line through the series, NaN where undefined.
        reason: why it is undefined.
    """

    series: Series
    kind: Kind
    p: float = math.nan
    p_adjusted: float = math.nan
    p_drift: float = math.nan
    p_drift_adjusted: float = math.nan
    changes: tuple[Change, ...] = ()
    drift: float = math.nan
    reason: str = ""


def find_trends(many: Sequence[Series], alpha: float, seed: int) -> list[Trend]:
    """Test each series alone; p-values are not adjusted yet, so that each ``kind`` is still open."""
    out: dict[int, Trend] = {}
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, series in enumerate(many):
        at = series.defined
        if len(at) < FEWEST:
            out[i] = Trend(series, "undefined", reason=_too_few(series, len(at)))
        else:
            alike.setdefault(tuple(at - at[0]), []).append(i)
    for places, chosen in alike.items():
        at = np.array(places)
        options = {"seed": seed, "draws": None if len(at) == at[-1] + 1 else _DRAWS_WITH_GAPS}
        values = np.stack([many[i].value[many[i].defined] for i in chosen])
        tests = step_tests(values, at, **options)
        for row, i in enumerate(chosen):
            found = change_points(values[row], at, **options) if tests.p[row] <= alpha else None
            out[i] = _trend(many[i], found, float(tests.p[row]), float(tests.p_drift[row]))
    return [out[i] for i in range(len(many))]


def _trend(series: Series, found: ChangePoints | None, p: float, p_drift: float) -> Trend:
    at, error = series.defined, series.error
    slope = float(np.polyfit(at, series.value[at], 1)[0])
    drift = slope * float(at[-1] - at[0])
    by_values = _p(drift, math.hypot(error[at[0]], error[at[-1]]))
    p_drift = p_drift if math.isnan(by_values) else max(p_drift, by_values)
    if found is None:
        return Trend(series, "neither", p, p_drift=p_drift, drift=drift)
    changes = tuple(_change(series, found, i) for i in range(len(found.begins)))
    return Trend(
        series, "neither", max(p, min(change.p for change in changes)), p_drift=p_drift, changes=changes, drift=drift
    )


def _change(series: Series, found: ChangePoints, i: int) -> Change:
    at, error = series.defined, series.error
    edges = [0, *found.begins, len(at)]
    around = [at[edges[j] : edges[j + 1]] for j in (i, i + 1)]
    # the same items are read at every checkpoint: a mean over checkpoints is no surer of them than one of these
    own = math.hypot(*(float(error[part].mean()) for part in around))
    rise, half = found.difference(i)
    half = half if math.isnan(own) else max(half, _TWO_SIDED * own)
    begin = found.begins[i]
    return Change(
        last=int(at[begin - 1]), first=int(at[begin]), low=int(at[found.low[i] - 1]), high=int(at[found.high[i]]),
        before=float(found.levels[i]), after=float(found.levels[i + 1]), difference=rise, difference_low=rise - half,
        difference_high=rise + half, p=found.p_alone(i) if math.isnan(own) else max(found.p_alone(i), _p(rise, own)),
    )  # fmt: skip


def _p(difference: float, error: float) -> float:
    """Two-sided p of no difference; NaN where it has no standard error."""
    if math.isnan(error):
        return math.nan
    return float(2 * sps.norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)


def _too_few(series: Series, n: int) -> str:
    why = f" ({'; '.join(series.reasons)})" if series.reasons else ""
    return f"{n} of {len(series.value)} checkpoints have a value{why}; change points take {FEWEST} or more"
