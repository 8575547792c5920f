"""Every primary contrast of the pair on one scale: its difference in units of its own margin."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import title
from mechdecouple.report.style import BAND, GREY
from mechdecouple.report.view import Table, View, number

_LINEAR_UP_TO = 12


def defined(view: View) -> Table:
    found = view.contrasts
    return found[np.isfinite(found.value.astype(float))].reset_index(drop=True)


def _missing(view: View) -> str:
    return "" if len(defined(view)) else "No contrast of the two models is defined."


def _forest(view: View, ax: Axes) -> None:
    rows = defined(view)
    numbers = rows[["value", "low", "high"]].astype(float)
    value, low, high = (numbers[c].to_numpy() / rows.margin.to_numpy(float) for c in ("value", "low", "high"))
    reach = max(1.5, np.nanmax(np.abs([value, low, high])) * 1.1)
    ax.axvspan(-1, 1, color=BAND, zorder=0)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    outside = (low > 1) | (high < -1)
    for i in range(len(rows)):
        y, beyond = -i, outside[i]
        if np.isfinite(low[i]):
            ax.plot([low[i], high[i]], [y, y], color="black" if beyond else GREY, linewidth=1.2)
        ax.plot([value[i]], [y], "D", color="black", markerfacecolor="black" if beyond else "white", markersize=4)
    if reach > _LINEAR_UP_TO:
        reach *= 1.3
        ax.set_xscale("symlog", linthresh=2, linscale=1)
        powers = [t for t in (2, 5, 10, 20, 50, 100, 500, 1000) if t <= reach]
        ticks = [*(-t for t in reversed(powers)), -1, 0, 1, *powers]
        ax.set_xticks(ticks, [f"{t:g}".replace("-", "−") if abs(t) != 1 or len(ticks) < 12 else "" for t in ticks])
        ax.minorticks_off()
    ax.set_xlim(-reach, reach)
    ax.set_yticks(-np.arange(len(rows)), [_label(r) for r in rows.itertuples()])
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    right = ax.get_yaxis_transform()
    for i, r in enumerate(rows.itertuples()):
        text = f"{number(r.value, signed=True)} (±{r.margin:g})"
        ax.text(1.01, -i, text, transform=right, va="center", fontsize=7, clip_on=False)
    ax.set_xlabel("A − B, in units of the metric's margin (shaded: within)")
    ax.set_title("What differs")


def _label(row) -> str:
    name = title(row.metric)
    context = row.context if len(row.context) < 22 else f"{row.context[:19]}…"
    return f"{name}, {context}" if context else name


def _height(view: View) -> float:
    return 0.75 + 0.2 * max(1, len(defined(view)))


def panels(view: View) -> list[Panel]:
    return [Panel("contrasts", _forest, _missing, height=_height, wide=True, models=False)]


SHEET = Sheet(
    "contrasts",
    panels,
    "Differences of the two models with 95 % intervals, each in units of its metric's declared margin. Filled: the "
    "interval lies wholly "
    "beyond the margin. Verdicts also correct for the number of metrics and, where seeds are given, for their spread.",
)
