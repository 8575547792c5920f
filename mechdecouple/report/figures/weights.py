"""Pushes on weights and units: noise, curvature, which concepts weights serve, and ablation, A against B."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.figures.robustness import short
from mechdecouple.report.metrics import METRICS, title
from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import Table, View

_NULL = {"linestyle": "none", "marker": "|", "markersize": 11, "markeredgewidth": 1.3, "color": GREY}
_AREA = "ablation_area"
_UNITS = ("coordinates", "principal axes")


def _pair_panel(metric: str, label: str) -> Panel:
    """One number a model, with its interval, and its own null where it has one."""

    def missing(view: View) -> str:
        drawn = np.isfinite(view.rows(metric).value.astype(float)).any()
        return "" if drawn else f"{title(metric)}: {view.reason(metric)}"

    def draw(view: View, ax: Axes) -> None:
        ax.axvline(0, color=GREY, linewidth=0.6, zorder=0)
        for which, model in enumerate(view.names):
            rows = view.rows(metric, model)
            if len(rows) and np.isfinite(rows.value.iloc[0]):
                _interval(ax, rows.iloc[0], -which, which)
                if metric == "weight_modularity":
                    ax.plot([rows["null"].iloc[0]], [-which], **_NULL)
        ax.set_yticks([0, -1], ["A", "B"])
        ax.set_ylim(-1.6, 0.6)
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title(title(metric))
        arrow = {"higher": " → tidier", "lower": " ← tidier", "": ""}[METRICS[metric].direction]
        ax.set_xlabel(label + arrow)

    return Panel(metric, draw, missing, height=lambda _: 1.25, legend=_marks if "modularity" in metric else _nothing)


def _interval(ax: Axes, row, y: float, which: int) -> None:
    whiskers = None if not np.isfinite(row.low) else [[row.value - row.low], [row.high - row.value]]
    ax.errorbar([row.value], [y], xerr=whiskers, fmt=MARKERS[which], color=COLOURS[which], capsize=2.5)


def _nothing(_: View) -> list[Line2D]:
    return []


def _marks(view: View) -> list[Line2D]:
    return [Line2D([], [], label="fresh weights", **_NULL)]


def _area_missing(view: View) -> str:
    drawn = np.isfinite(view.rows(_AREA).value.astype(float)).any()
    return "" if drawn else f"{title(_AREA)}: {view.reason(_AREA)}"


def _places(view: View) -> list[tuple[str, str, str]]:
    """Label, hook point of A and of B, in order: areas are measured at the same sites in both."""
    a, b = (tuple(dict.fromkeys(view.rows(_AREA, model).hook_point)) for model in view.names)
    return [(f"at {short(view, view.names[0], point)}", point, other) for point, other in zip(a, b, strict=False)]


def _areas(view: View, ax: Axes) -> None:
    ax.axvline(0, color=GREY, linewidth=0.6, zorder=0)
    rows = [(f"{units}, {label}", units, at) for label, *at in _places(view) for units in _UNITS]
    for i, (_, units, at) in enumerate(rows):
        for which, (model, point) in enumerate(zip(view.names, at, strict=True)):
            own: Table = view.rows(_AREA, model)
            own = own[(own.hook_point == point) & (own.context == units)]
            if len(own) and np.isfinite(own.value.iloc[0]):
                _interval(ax, own.iloc[0], -(i + 0.16 * (2 * which - 1)), which)
    ax.set_yticks(-np.arange(len(rows)), [name for name, *_ in rows])
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -0.02), max(high, 1.02))
    ax.set_title(title(_AREA))
    ax.set_xlabel("performance left, mean over all shares of units taken (1: none lost)")


def _area_height(view: View) -> float:
    return 0.8 + 0.2 * 2 * max(1, len(_places(view)))


def panels(view: View) -> list[Panel]:
    return [
        _pair_panel("weight_noise_slope", "rise of the loss"),
        _pair_panel("relative_sharpness", "curvature"),
        _pair_panel("weight_modularity", "1 − entropy"),
        Panel(_AREA, _areas, _area_missing, height=_area_height, wide=True),
    ]


SHEET = Sheet(
    "weights",
    panels,
    "What happens when weights and units are pushed. Rise of the loss per unit of noise on the weights; largest "
    "curvature of the loss; how far each weight serves one concept alone (grey stroke: the same networks with fresh "
    "weights); and the performance above chance that is left while more and more units (coordinates, or principal "
    "axes) are set to their mean. Bars: 95 %.",
)
