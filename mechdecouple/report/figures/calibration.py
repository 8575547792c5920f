"""Calibration: is an answer given with confidence p right p of the time?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mechdecouple.behavior.calibration import reliability
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.style import COLOURS, LIGHT, MARKERS
from mechdecouple.report.view import Table, View

BINS = 10


def _sure(view: View, which: int) -> Table:
    items = view.gate_items(view.names[which])
    return items[np.isfinite(items.confidence.astype(float)) & np.isfinite(items.correct.astype(float))]


def _missing(view: View) -> str:
    if any(len(_sure(view, which)) for which in (0, 1)):
        return ""
    return f"Calibration: {view.reason('ece_debiased')}"


def draw_reliability(ax: Axes, table: pd.DataFrame, which: int) -> None:
    """One model's reliability curve with Wilson intervals; the size of a marker grows with the items in its bin."""
    p, rate = table.prob.to_numpy(), table.rate.to_numpy()
    colour = COLOURS[which]
    ax.errorbar(
        p,
        rate,
        [rate - table.low.to_numpy(), table.high.to_numpy() - rate],
        color=colour,
        linewidth=0.7,
        capsize=1.5,
        fmt="none",
    )
    ax.plot(p, rate, color=colour, linewidth=0.8, alpha=0.5)
    ax.scatter(
        p,
        rate,
        s=6 + 34 * table.n / table.n.max(),
        color=colour,
        marker=MARKERS[which],
        linewidths=0,
        zorder=3,
        clip_on=False,
    )


def square(ax: Axes, low: float) -> None:
    ax.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.8, zorder=0)
    ax.set_xlim(max(0.0, low - 0.04), 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("confidence in the answer given")
    ax.set_ylabel("share right")
    ax.set_title("Reliability")


def _curve(view: View, ax: Axes) -> None:
    lowest = 1.0
    for which in (0, 1):
        items = _sure(view, which)
        if len(items):
            table = reliability(items.confidence.to_numpy(float), items.correct.to_numpy(float), n_bins=BINS)
            lowest = min(lowest, float(table.prob.min()))
            draw_reliability(ax, table, which)
    square(ax, lowest)


def _histogram(view: View, ax: Axes) -> None:
    found = [_sure(view, which).confidence.to_numpy(float) for which in (0, 1)]
    low = min((c.min() for c in found if len(c)), default=0.0)
    edges = np.linspace(np.floor(low * 20) / 20, 1, 21) if low < 0.95 else np.linspace(low - 1e-3, 1, 21)
    for which, confidence in enumerate(found):
        if len(confidence):
            share = np.histogram(confidence, edges)[0] / len(confidence)
            ax.stairs(share, edges, color=COLOURS[which], linewidth=1.2, fill=False)
            ax.stairs(share, edges, color=COLOURS[which], alpha=0.15, fill=True)
    ax.set_xlabel("confidence in the answer given")
    ax.set_ylabel("share of items")
    ax.set_title("Confidence")
    ax.set_ylim(0, None)


def panels(view: View) -> list[Panel]:
    return [Panel("reliability", _curve, _missing), Panel("confidence", _histogram, _missing)]


SHEET = Sheet(
    "calibration",
    panels,
    "Share of right answers against the confidence they were given with (bars: 95 % Wilson; the diagonal is "
    "calibrated; larger markers hold more items), and how "
    "confidence is spread.",
)
