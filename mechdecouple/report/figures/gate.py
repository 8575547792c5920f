"""The gate: do both models perform alike, over all and in each stratum?"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.style import BAND, COLOURS, GREY, MARKERS
from mechdecouple.report.view import View, interval, sentence

MAX_STRATA = 12


def _missing(view: View) -> str:
    gate = view.comparison.gate
    return "" if math.isfinite(gate.difference.value) else f"The gate: {sentence(gate.difference.reason)}"


def _scores(view: View, ax: Axes) -> None:
    gate = view.comparison.gate
    for which, score in enumerate((gate.a, gate.b)):
        whiskers = [[score.value - score.low], [score.high - score.value]]
        ax.errorbar(
            [score.value],
            [1 - which],
            xerr=whiskers,
            fmt=MARKERS[which],
            color=COLOURS[which],
            capsize=2.5,
            markersize=5,
        )
        ax.annotate(
            interval(score),
            (score.value, 1 - which),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=COLOURS[which],
            bbox={"facecolor": "white", "linewidth": 0, "pad": 0.5},
        )
    # chance is drawn where it is near: far off, it would press both intervals into one dot
    low, high = min(gate.a.low, gate.b.low), max(gate.a.high, gate.b.high)
    if math.isfinite(gate.chance) and abs(gate.chance - (low + high) / 2) < 4 * (high - low):
        ax.axvline(gate.chance, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
        ax.annotate("chance", (gate.chance, -0.55), xytext=(3, 0), textcoords="offset points", color=GREY, fontsize=7)
    elif math.isfinite(gate.chance):
        ax.annotate(
            f"chance {gate.chance:.2g}", (0.02, -0.55), xycoords=ax.get_yaxis_transform(), color=GREY, fontsize=7
        )
    ax.set_ylim(-0.6, 1.6)
    ax.set_yticks([1, 0], ["A", "B"])
    ax.margins(x=0.3)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel(gate.unit)
    ax.set_title("Performance")


def _differences(view: View, ax: Axes) -> None:
    gate = view.comparison.gate
    strata = [s for s in gate.strata if math.isfinite(s.difference.value)]
    strata = sorted(strata, key=lambda s: -abs(s.difference.value))[:MAX_STRATA] if len(strata) > MAX_STRATA else strata
    rows = [("all items", gate.outcome, gate.difference), *((s.name, s.outcome, s.difference) for s in strata)]
    ax.axvspan(-gate.margin, gate.margin, color=BAND, zorder=0)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    for i, (_, _, d) in enumerate(rows):
        ax.errorbar(
            [d.value],
            [-i],
            xerr=[[d.value - d.low], [d.high - d.value]],
            fmt="D",
            color="black" if i == 0 else GREY,
            capsize=2.5,
            markersize=5 if i == 0 else 3.5,
        )
    ax.set_yticks(-np.arange(len(rows)), [name if len(name) < 26 else f"{name[:23]}…" for name, _, _ in rows])
    right = ax.get_yaxis_transform()
    for i, (_, outcome, _) in enumerate(rows):
        ax.text(1.02, -i, outcome, transform=right, va="center", fontsize=7, color=GREY, clip_on=False)
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(f"A − B ({gate.unit}); band: ±{gate.margin:g}")
    ax.set_title("Paired difference")


def panels(view: View) -> list[Panel]:
    return [
        Panel("scores", _scores, _missing, height=_height),
        Panel("difference", _differences, _missing, weight=1.5, height=_height, models=False),
    ]


def _height(view: View) -> float:
    return 1.6 + 0.16 * min(len(view.comparison.gate.strata), MAX_STRATA)


SHEET = Sheet(
    "gate",
    panels,
    "Performance of both models with 95 % intervals, and their paired difference against the margin of equality "
    "(shaded), over all items and by stratum.",
)
