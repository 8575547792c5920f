"""What a user can do with a model: what its confidence buys, how far a rule foresees it, what it leaves unsaid."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.dots import LINE, Dot, Line, draw_lines, seed_marks
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import title
from mechdecouple.report.style import COLOURS, GREY, LINES, MARKERS
from mechdecouple.report.view import Table, View
from mechdecouple.usefulness import RiskCoverage, Simulatability, risks

_FEWEST = 0.05
"""Coverage from which the curve is drawn: of a handful of items it says nothing."""


def _sure(view: View, which: int) -> Table:
    items = view.gate_items(view.names[which])
    return items[np.isfinite(items.confidence.astype(float)) & np.isfinite(items.correct.astype(float))]


def _curve_missing(view: View) -> str:
    measured = np.isfinite(view.rows("aurc").value).any()
    return "" if measured else f"{title('aurc')}: {view.reason('aurc')}"


def _curve(view: View, ax: Axes) -> None:
    for which in (0, 1):
        items = _sure(view, which)
        if not len(items):
            continue
        correct = items.correct.to_numpy(float)
        n = len(correct)
        taken = np.arange(1, n + 1)
        drawn = taken >= min(n, max(1, math.ceil(_FEWEST * n)))
        accuracy = 1 - risks(items.confidence.to_numpy(float), correct)
        ax.plot(taken[drawn] / n, accuracy[drawn], color=COLOURS[which], linestyle=LINES[which])
        ax.plot([1.0], [accuracy[-1]], MARKERS[which], color=COLOURS[which], markersize=3.5, clip_on=False)
        ax.axhline(correct.mean(), color=COLOURS[which], linestyle=":", linewidth=0.8, zorder=0)
    ax.set_xlim(0, 1.0)
    ax.set_xlabel("share of items, the surest first")
    ax.set_ylabel("accuracy on them")
    ax.set_title("What confidence buys")


def _lines(view: View, *metrics: str) -> list[Line]:
    """A line a surrogate, coverage or metric, with both models and the mean of their nulls."""
    tables = [view.rows(metric) for metric in metrics]
    out = []
    for metric, table in zip(metrics, tables, strict=True):
        known = table[np.isfinite(table.value)]
        for place in dict.fromkeys(zip(known.concept, known.context, strict=True)):
            at = known[(known.concept == place[0]) & (known.context == place[1])].set_index("model")
            rows = [at.loc[name] if name in at.index else None for name in view.names]
            dots = [None if row is None else Dot(row.value, row.low, row.high) for row in rows]
            null = float(np.mean([row.null for row in rows if row is not None]))
            words = ", ".join(part for part in place if part) or title(metric)
            out.append(Line(words, (dots[0], dots[1]), null=null))
    return out


def _panel(name: str, heading: str, xlabel: str, metrics: tuple[str, ...], limits: tuple[float, float] | None) -> Panel:
    return Panel(
        name,
        lambda view, ax: draw_lines(_lines(view, *metrics), ax, title=heading, xlabel=xlabel, limits=limits),
        lambda view: "" if _lines(view, *metrics) else f"{title(metrics[0])}: {view.reason(*metrics)}",
        height=lambda view: 0.75 + LINE * 1.6 * max(len(_lines(view, *metrics)), 4),
        legend=lambda view: seed_marks(_lines(view, *metrics)),
    )


def panels(view: View) -> list[Panel]:
    return [
        Panel("risk_coverage", _curve, _curve_missing),
        _panel("simulatability", "Foreseen by a small rule", "agreement beyond chance", ("simulatability",), None),
        _panel("recoverable_accuracy", "Left unsaid", "accuracy gained", ("recoverable_accuracy",), None),
    ]


SHEET = Sheet(
    "use",
    panels,
    "What a user can do with either model: accuracy when only the surest answers are taken (dotted: all of them), how "
    "well a rule small enough to hold in mind names its answers to new items beyond chance, and what a linear head "
    "fitted anew on its activations gets right beyond its own answers. Bars: 95 %; dotted marks: no effect.",
)


def draw_simulatability(found: Simulatability, ax: Axes) -> None:
    """Agreement beyond chance of each surrogate with one model's answers."""
    cells = [cell for cell in found if cell.metric.name == "simulatability"]
    known = [(cell, cell.estimate()) for cell in cells if math.isfinite(cell.estimate().value)]
    lines = [
        Line(", ".join(p for p in (cell.concept, cell.context) if p), (Dot(e.value, e.low, e.high), None), null=e.null)
        for cell, e in known
    ]
    draw_lines(
        lines, ax, title=f"Foreseen by a small rule: {found.name}", xlabel="agreement beyond chance", limits=None
    )


def draw_risk_coverage(found: RiskCoverage, ax: Axes) -> None:
    """Accuracy of one model's surest answers over coverage, with its band and the best order."""
    curve = found.curve
    ax.fill_between(curve.coverage, curve.low, curve.high, color=COLOURS[0], alpha=0.18, linewidth=0)
    ax.plot(curve.coverage, curve.accuracy, color=COLOURS[0], label="as sure as it says")
    ax.plot(curve.coverage, curve.best, color=GREY, linestyle="--", linewidth=0.9, label="all right answers first")
    ax.axhline(curve.accuracy.iloc[-1], color=GREY, linestyle=":", linewidth=0.9, label="any order")
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of items, the surest first")
    ax.set_ylabel("accuracy on them")
    ax.set_title(f"What confidence buys: {found.name}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2)
