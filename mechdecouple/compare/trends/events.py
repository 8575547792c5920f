"""Events: jumps of several measures at one place of a run, and whether accuracy jumps there too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats as sps

from mechdecouple.compare.trends.series import NEXT, Series
from mechdecouple.compare.trends.trend import Change, Trend

WORDS = {
    "geometry": "structure",
    "fracture": "structure",
    "entanglement": "structure",
    "similarity": "representation",
    "robustness": "robustness",
    "causal": "what the answer depends on",
    "mechanism": "mechanism",
    "ancestry": "distance from the ancestor",
    "controls": "what probes find",
    "sae": "features",
    "beliefs": "beliefs",
    "faithfulness": "faithfulness",
    "behavior": "behaviour",
    "use": "what a user can do with it",
}
PERFORMANCE = "performance"
_PLURAL = ("features", "beliefs")
_NAMED = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Event:
    """Measures that jump at one place of a run.

    Attributes:
        jumps: the measures and their jumps, the clearest first.
        performance: what becomes of performance there, in words; ``alone``: whether it is shown not to change.
    """

    jumps: tuple[tuple[Trend, Change], ...]
    performance: str
    alone: bool

    @property
    def series(self) -> Series:
        """Of the measure that jumps most clearly."""
        return self.jumps[0][0].series

    @property
    def between(self) -> tuple[int, int]:
        """The steps it lies between."""
        change = self.jumps[0][1]
        return int(self.series.steps[change.last]), int(self.series.steps[change.first])

    @property
    def families(self) -> tuple[str, ...]:
        """What changes, in words, structure first and performance left out."""
        told = {trend.series.family for trend, _ in self.jumps if trend.series.metric != PERFORMANCE}
        known = [words for family, words in WORDS.items() if family in told]
        return tuple(dict.fromkeys([*known, *sorted(told.difference(WORDS))]))

    @property
    def sentence(self) -> str:
        what = list(self.families) or [_called(self.jumps[0][0].series)]
        change = "change" if len(what) > 1 or what[0] in _PLURAL else "changes"
        low, high = self.between
        named = "; ".join(_told(trend, change) for trend, change in self.jumps[:_NAMED])
        rest = f"; and {len(self.jumps) - _NAMED} more" if len(self.jumps) > _NAMED else ""
        of_run = f" of {self.series.run}" if self.series.run else ""
        told = f" {self.performance}" if self.performance else ""
        return f"{_list(what).capitalize()} {change} between steps {low} and {high}{of_run}: {named}{rest}.{told}"


def find_events(trends: Sequence[Trend], margin: float) -> list[Event]:
    """Jumps gathered by run, task and place, in the order of the runs."""
    runs: dict[tuple[str, str, str], list[Trend]] = {}
    for trend in trends:
        runs.setdefault((trend.series.job, trend.series.task, trend.series.run), []).append(trend)
    return [event for own in runs.values() for event in _events(own, margin)]


def _events(trends: Sequence[Trend], margin: float) -> list[Event]:
    accuracy = next((t for t in trends if t.series.metric == PERFORMANCE and t.series.context == ""), None)
    jumps = [(trend, change) for trend in trends if trend.kind == "jumps" for change in trend.changes]
    jumps.sort(key=lambda one: (one[1].p, one[0].p_adjusted))
    gathered: list[list[tuple[Trend, Change]]] = []
    for trend, change in jumps:
        # series of pairs are one checkpoint shorter: places are compared by step
        at = _steps(trend, change)
        near = next((own for own in gathered if at[0] < _steps(*own[0])[1] <= at[2]), None)
        if near is None:
            gathered.append([(trend, change)])
        else:
            near.append((trend, change))
    places = sorted({_steps(*own[0])[1] for own in gathered})
    out = []
    for own in sorted(gathered, key=lambda one: _steps(*one[0])[1]):
        words, alone = _of_performance(own, accuracy, places, margin)
        out.append(Event(tuple(own), words, alone))
    return out


def _steps(trend: Trend, change: Change) -> tuple[int, int, int]:
    """Steps of the lower end, of the first checkpoint after the jump, and of the upper end."""
    steps = trend.series.steps
    return int(steps[change.low]), int(steps[change.first]), int(steps[change.high])


def _of_performance(
    jumps: Sequence[tuple[Trend, Change]], accuracy: Trend | None, places: Sequence[int], margin: float
) -> tuple[str, bool]:
    """What performance does at a jump, between the jumps before and after it; whether it is shown not to change."""
    if accuracy is None:
        return "", False
    series, here = accuracy.series, _steps(*jumps[0])[1]
    name = _called(series).capitalize()
    jump = next((change for trend, change in jumps if trend is accuracy), None)
    if jump is not None:
        others = f"{name} does too, from {jump.before:z.3f} to {jump.after:z.3f}."
        return others if len(jumps) > 1 else "No other measure is shown to jump there.", False
    since = max((p for p in places if p < here), default=-math.inf)
    until = min((p for p in places if p > here), default=math.inf)
    parts = [
        np.flatnonzero(np.isfinite(series.value) & inside)
        for inside in (
            (series.steps >= since) & (series.steps < here),
            (series.steps >= here) & (series.steps < until),
        )
    ]
    if min(map(len, parts)) == 0:
        return f"{name} is undefined there.", False
    before, after = (float(series.value[part].mean()) for part in parts)
    rise, half = after - before, _half_width(series, parts)
    facts = f"{before:z.3f} before, {after:z.3f} after, difference {rise:+z.3f}"
    if math.isnan(half):
        return f"Whether {name.lower()} does too is not told, as its values have no intervals: {facts}.", False
    facts += f" [{rise - half:+z.3f}, {rise + half:+z.3f}]"
    if abs(rise) + half <= margin:
        return f"{name} does not: {facts}, within {margin:g}.", True
    if abs(rise) > half:
        return f"{name} differs too: {facts}.", False
    return f"Whether {name.lower()} does too cannot be told: {facts}, which reaches beyond {margin:g}.", False


def _half_width(series: Series, parts: Sequence[np.ndarray]) -> float:
    """Of the 95 % interval of the difference of two means: by the scatter or by the values' own errors, the wider."""
    own = math.hypot(*(float(series.error[part].mean()) for part in parts)) * float(sps.norm.ppf(0.975))
    freedom = sum(map(len, parts)) - 2
    if math.isnan(own) or freedom < 1:
        return own
    rest = sum(float(((series.value[part] - series.value[part].mean()) ** 2).sum()) for part in parts)
    scatter = math.sqrt(rest / freedom * sum(1 / len(part) for part in parts))
    return max(own, float(sps.t.ppf(0.975, freedom)) * scatter)


def _called(series: Series) -> str:
    """Accuracy, where that is what performance can be."""
    if series.metric != PERFORMANCE:
        return WORDS.get(series.family, series.family)
    held = series.value[series.defined]
    return "accuracy" if len(held) and held.min() >= 0 and held.max() <= 1 else PERFORMANCE


def _told(trend: Trend, change: Change) -> str:
    verb = "rises" if change.difference > 0 else "falls"
    steps = trend.series.steps
    where = ""
    if (change.low, change.high) != (change.last, change.first):
        where = f", 95 % between steps {steps[change.low]} and {steps[change.high]}"
    return (
        f"{trend.series.of} {verb} from {change.before:z.3f} to {change.after:z.3f} (by {change.difference:+z.3f} "
        f"[{change.difference_low:+z.3f}, {change.difference_high:+z.3f}], p {trend.p_adjusted:.2g}{where})"
    )


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def drifting(trends: Sequence[Trend]) -> Iterator[str]:
    """What moves without a jump, a sentence a run and kind of measure."""
    found: dict[tuple[str, str], list[Trend]] = {}
    for trend in trends:
        if trend.kind == "drifts" and trend.series.against != NEXT:
            found.setdefault((trend.series.run, _called(trend.series)), []).append(trend)
    for (run, what), own in found.items():
        clearest = min(own, key=lambda t: (t.p_drift_adjusted, -abs(t.drift)))
        verb = "drift" if what in _PLURAL else "drifts"
        more = f", and {len(own) - 1} more" if len(own) > 1 else ""
        of_run = f" along {run}" if run else ""
        yield (
            f"{what.capitalize()} {verb}{of_run} without a jump: {clearest.series.of} by {clearest.drift:+z.3f} "
            f"(p {clearest.p_drift_adjusted:.2g}){more}."
        )
