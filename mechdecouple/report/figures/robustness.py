"""Robustness: performance under activation noise, and on the declared shift."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import View, shorten

_NOISE = "noise_accuracy"


def _sites(view: View) -> list[tuple[str, str]]:
    """Hook points at which noise was added: A's with B's, in order."""
    a, b = (list(dict.fromkeys(view.rows(_NOISE, model).hook_point)) for model in view.names)
    return list(zip(a, b, strict=False))


def _noise_panel(site: tuple[str, str], number_: int) -> Panel:
    def missing(view: View) -> str:
        found = (
            view.rows(_NOISE, model).query("hook_point == @point")
            for model, point in zip(view.names, site, strict=True)
        )
        return (
            ""
            if any(np.isfinite(rows.value).any() for rows in found)
            else f"Noise: {view.reason(_NOISE, 'noise_tolerance')}"
        )

    return Panel(f"noise_{number_}", lambda view, ax: _noise(view, ax, site), missing)


def _noise(view: View, ax: Axes, site: tuple[str, str]) -> None:
    for which, (model, point) in enumerate(zip(view.names, site, strict=True)):
        rows = view.rows(_NOISE, model)
        rows = rows[rows.hook_point == point]
        scale = rows.context.str.removeprefix("eps=").astype(float).to_numpy()
        order = np.argsort(scale)
        x = scale[order]
        value, low, high = (rows[c].to_numpy(float)[order] for c in ("value", "low", "high"))
        ax.fill_between(x, low, high, color=COLOURS[which], alpha=0.18, linewidth=0)
        ax.plot(x, value, color=COLOURS[which], marker=MARKERS[which], markersize=2.5)
        limit = view.rows("noise_tolerance", model)
        limit = limit[limit.hook_point == point]
        if len(limit) and np.isfinite(limit.value.iloc[0]):
            at = float(limit.value.iloc[0])
            ax.plot([at, at], [0, 0.09], color=COLOURS[which], transform=ax.get_xaxis_transform(), linewidth=1.5)
            ax.plot(
                [at],
                [0.09],
                marker=MARKERS[which],
                color=COLOURS[which],
                transform=ax.get_xaxis_transform(),
                markersize=4,
            )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator([0.25, 1, 4, 16]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.16 * (high - low), high)
    ax.set_xlabel("noise / functional rms")
    ax.text(0.02, 0.045, "ε90", transform=ax.transAxes, fontsize=7, color=GREY, va="center")
    if site == _sites(view)[0]:
        ax.set_ylabel(view.comparison.gate.unit)
    names = [short(view, model, point) for model, point in zip(view.names, site, strict=True)]
    ax.set_title(f"Noise at {names[0]}" if names[0] == names[1] else f"Noise at {names[0]} | {names[1]}")


def short(view: View, model: str, point: str) -> str:
    """What a hook point is called in a title."""
    points = view.points(model)
    label = dict(zip(points, shorten(points), strict=True))[point]
    return f"block {label}" if label.isdecimal() else label


def _shift_missing(view: View) -> str:
    rows = view.rows("shift_performance")
    return "" if np.isfinite(rows.value).any() else f"Shift: {view.reason('shift_performance')}"


def _shift(view: View, ax: Axes) -> None:
    gate = view.comparison.gate
    nulls = []
    for which, (model, home) in enumerate(zip(view.names, (gate.a, gate.b), strict=True)):
        row = view.rows("shift_performance", model).iloc[0]
        offset = 0.12 * (2 * which - 1)
        points = [(0 + offset, home), (1 + offset, row)]
        ax.plot([x for x, _ in points], [e.value for _, e in points], color=COLOURS[which], linewidth=0.8, alpha=0.6)
        for x, e in points:
            whiskers = None if not np.isfinite(e.low) else [[e.value - e.low], [e.high - e.value]]
            ax.errorbar([x], [e.value], yerr=whiskers, fmt=MARKERS[which], color=COLOURS[which], capsize=2.5)
        nulls.append(row.null)
    if np.isfinite(nulls[0]):
        ax.axhline(nulls[0], color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    ax.set_xlim(-0.65, 1.65)
    ax.set_xticks([0, 1], ["as fitted", "shifted"])
    ax.set_ylabel(gate.unit)
    ax.margins(y=0.12)
    ax.set_title("Declared shift")


def panels(view: View) -> list[Panel]:
    noise = [_noise_panel(site, i + 1) for i, site in enumerate(_sites(view))]
    shift = Panel("shift", _shift, _shift_missing)
    return [*(noise or [Panel("noise_1", _shift, lambda v: f"Noise: {v.reason(_NOISE, 'noise_tolerance')}")]), shift]


SHEET = Sheet(
    "robustness",
    panels,
    "Performance under activation noise of growing size at a few hook points (bands: 95 %; marks on the axis: ε90, "
    "the noise that takes a model to 90 % of its "
    "clean performance), and on the task's declared shift; dashed: chance.",
    columns=4,
)
