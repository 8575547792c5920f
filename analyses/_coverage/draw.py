"""The picture of the study: how often each interval covered, as a dot with what so many runs can tell."""

from __future__ import annotations

from collections.abc import Sequence

from _coverage.study import Row
from matplotlib.figure import Figure

from mechdecouple.report.style import BAND, COLOURS, GREY, PAGE, new_figure, styled


def figure(rows: Sequence[Row]) -> Figure:
    """Coverage of every interval (above), rejections of every test (below)."""
    parts = [[r for r in rows if (r.kind in ("size", "exact")) == test] for test in (False, True)]
    shown = [(part, test) for part, test in zip(parts, (False, True), strict=True) if part]
    heights = [len(part) + 3 for part, _ in shown]
    with styled():
        drawing = new_figure(PAGE, 0.15 * sum(heights))
        grid = drawing.add_gridspec(len(shown), 1, height_ratios=heights)
        for place, (part, test) in zip(grid, shown, strict=True):
            _dots(drawing.add_subplot(place), part, test)
    return drawing


def _dots(ax, rows: Sequence[Row], test: bool) -> None:
    ax.axvspan(*((0.036, 0.064) if test else (0.93, 0.97)), color=BAND, lw=0)
    ax.axvline(0.05 if test else 0.95, color=GREY, lw=0.6)
    for y, row in enumerate(rows):
        low, high = row.interval
        good = row.verdict == "holds"
        ax.plot([low, high], [y, y], color=COLOURS[not good], lw=0.9)
        filled = "white" if row.kind == "boundary" else COLOURS[not good]
        ax.plot([row.rate], [y], "o" if good else "s", color=COLOURS[not good], mfc=filled)
    ax.set_yticks(range(len(rows)), [f"{r.metric}: {r.case}, {r.quantity}" for r in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("share of runs that rejected" if test else "share of runs whose interval covers the truth")
    ax.set_title("Tests" if test else "Intervals (hollow: the truth is at a boundary)")
