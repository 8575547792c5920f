"""Trends: performance above, measures of the inside below, over the checkpoints of a run, with the jumps marked."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mechdecouple.compare.trends import Trends
from mechdecouple.compare.trends.events import PERFORMANCE
from mechdecouple.compare.trends.series import NEXT
from mechdecouple.compare.trends.trend import Change, Trend
from mechdecouple.errors import InputError
from mechdecouple.report.metrics import title
from mechdecouple.report.style import COLUMN, LIGHT, PAGE, Drawing, new_figure, say, styled
from mechdecouple.report.view import shorten

# Okabe and Ito's palette and a marker for each, so that runs are told apart in grey too; beyond, they begin again.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_PANELS = 4
_FAINT = 12
"""Other places of a metric that are drawn beside the clearest one, at most."""
_TICKS = 12
CAPTION = (
    "Performance (above) and measures of the inside (below) over the checkpoints of a run, in order, with 95 % "
    "intervals; of each measure the place that moves most clearly, others in grey. Dashed lines mark where a measure "
    "jumps, shading where the jump lies with 95 % confidence, flat lines the levels before and after."
)


def draw_trends(found: Trends, kind: str | None = None, ax: Axes | None = None) -> Figure | Axes:
    """Draw trends: performance and the measures that move most clearly, or one metric alone.

    Raises:
        InputError: an unknown metric, or one Axes for all panels.
    """
    if kind is None:
        if ax is not None:
            raise InputError("trends take several panels: leave ax out, or name a metric")
        return figure(found)
    known = list(dict.fromkeys(trend.series.metric for trend in found.all))
    if kind not in known:
        close = difflib.get_close_matches(kind, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"kind {kind!r} is unknown{hint}; there are {', '.join(known)}")
    with styled():
        if ax is not None:
            _panel(found, kind, ax)
            return ax
        alone = new_figure(PAGE, 2.4)
        _panel(found, kind, alone.add_subplot())
        _legend(found, alone)
        return alone


def figure(found: Trends) -> Drawing:
    """Performance above, and below it the metrics that move most clearly, over one axis of checkpoints."""
    metrics = _metrics(found)
    with styled():
        if not metrics:
            drawing = new_figure(COLUMN, 1.6)
            say(drawing.add_subplot(), found.sentences[0])
            return drawing
        drawing = new_figure(PAGE, 0.5 + 1.45 * len(metrics))
        axes = drawing.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
        for ax, metric in zip(axes, metrics, strict=True):
            _panel(found, metric, ax)
            ax.label_outer()
        _legend(found, drawing)
    return drawing


def _metrics(found: Trends) -> list[str]:
    """Performance, then metrics with jumps, with drift, and others, the clearest first."""
    best: dict[str, tuple[int, float]] = {}
    order = ("jumps", "drifts", "neither", "undefined")
    for trend in found.all:
        if trend.series.family != "behavior" and len(trend.series.defined) > 1:
            p = trend.p_drift_adjusted if trend.kind == "drifts" else trend.p_adjusted
            rank = (order.index(trend.kind), 1.0 if np.isnan(p) else p)
            best[trend.series.metric] = min(best.get(trend.series.metric, rank), rank)
    inside = sorted(best, key=lambda metric: best[metric])[:_PANELS]
    return [m for m in (PERFORMANCE,) if any(t.series.metric == m for t in found.all)] + inside


def _panel(found: Trends, metric: str, ax: Axes) -> None:
    runs, steps = _runs(found), _steps(found)
    where = {step: i for i, step in enumerate(steps)}
    named = []
    for number, run in enumerate(runs):
        own = [t for t in found.all if (t.series.job, t.series.task, t.series.run) == run and t.series.metric == metric]
        own.sort(key=_clarity)
        for other in own[1 : 1 + _FAINT]:
            x = [where[step] for step in other.series.steps]
            ax.plot(x, other.series.value, color=LIGHT, linewidth=0.7, zorder=1)
        if own:
            _line(ax, own[0], where, number)
            named.append(own[0])
        if metric == PERFORMANCE:
            _events(ax, found, run, where, number)
    ax.set_xlim(-0.4, len(steps) - 0.6)
    ticks = np.arange(0, len(steps), -(-len(steps) // _TICKS))
    ax.set_xticks(ticks, [_short(steps[i]) for i in ticks])
    ax.set_xlabel("step of the checkpoint (in order, not to scale)")
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(_title(metric, named))
    if metric == PERFORMANCE:
        # a difference that does not count shall not look large
        low, high = ax.get_ylim()
        room = max(0.0, 5 * found.margin - (high - low)) / 2
        most = max((float(np.nanmax(trend.series.value)) for trend in named if len(trend.series.defined)), default=1.0)
        ax.set_ylim(low - room, min(high + room, 1.01) if most <= 1 else high + room)


def _line(ax: Axes, trend: Trend, where: dict[int, int], number: int) -> None:
    series, colour = trend.series, _COLOURS[number % len(_COLOURS)]
    x = np.array([where[int(step)] for step in series.steps])
    ax.fill_between(x, series.low, series.high, color=colour, alpha=0.15, linewidth=0)
    ax.plot(x, series.value, color=colour, linewidth=0.9, marker=_MARKERS[number % len(_MARKERS)], markersize=3.5)
    edges = [x[0] - 0.3, *(_middle(x, change) for change in trend.changes), x[-1] + 0.3]
    levels = [*(change.before for change in trend.changes), *(change.after for change in trend.changes[-1:])]
    for level, start, end in zip(levels, edges, edges[1:], strict=False):
        ax.plot([start, end], [level, level], color=colour, linewidth=2.2, alpha=0.45, zorder=1)
    for change in trend.changes:
        _mark(ax, x, change, colour)


def _events(ax: Axes, found: Trends, run: tuple[str, str, str], where: dict[int, int], number: int) -> None:
    """Where measures of the inside jump, drawn over performance."""
    for event in found.events:
        series = event.series
        if (series.job, series.task, series.run) == run and event.families:
            x = np.array([where[int(step)] for step in series.steps])
            _mark(ax, x, event.jumps[0][1], _COLOURS[number % len(_COLOURS)])


def _mark(ax: Axes, x: np.ndarray, change: Change, colour: str) -> None:
    ax.axvspan(x[change.low], x[change.high], color=colour, alpha=0.10, linewidth=0, zorder=0)
    ax.axvline(_middle(x, change), color=colour, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)


def _middle(x: np.ndarray, change: Change) -> float:
    return float(x[change.last] + x[change.first]) / 2


def _clarity(trend: Trend) -> tuple[float, float, float]:
    p = [1.0 if np.isnan(value) else value for value in (trend.p_adjusted, trend.p_drift_adjusted)]
    return (0.0 if trend.kind == "jumps" else 1.0, min(p), -abs(trend.drift) if np.isfinite(trend.drift) else 0.0)


def _title(metric: str, named: Sequence[Trend]) -> str:
    places = dict.fromkeys(
        ", ".join(part for part in (_place(trend), trend.series.concept, trend.series.context) if part)
        for trend in named
    )
    where = f" ({next(iter(places))})" if len(places) == 1 and next(iter(places)) else ""
    words = title(metric)
    if any(trend.series.against == NEXT for trend in named):
        words += ", from one checkpoint to the next"
    return f"{words}{where}"


def _place(trend: Trend) -> str:
    point = trend.series.hook_point
    return f"block {label}" if point and (label := shorten((point,))[0]).isdecimal() else point


def _runs(found: Trends) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((t.series.job, t.series.task, t.series.run) for t in found.all))


def _steps(found: Trends) -> list[int]:
    return sorted({int(step) for trend in found.all for step in trend.series.steps})


def _legend(found: Trends, drawing: Figure) -> None:
    runs = _runs(found)
    if len(runs) < 2:
        return
    parts = [
        [part for part, values in zip(run, zip(*runs, strict=True), strict=True) if len(set(values)) > 1]
        for run in runs
    ]
    handles = [
        Line2D([], [], color=_COLOURS[i % len(_COLOURS)], marker=_MARKERS[i % len(_MARKERS)],
               label=" · ".join(part or "given order" for part in own))
        for i, own in enumerate(parts)
    ]  # fmt: skip
    drawing.legend(handles=handles, loc="outside upper center", ncols=min(3, len(handles)))


def _short(step: int) -> str:
    """A step as few characters tell it: 143000 is 143k."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if step >= size and step % (size // 10) == 0:
            return f"{step / size:g}{letter}"
    return str(step)
