"""Many runs: a tree and a map of how far apart they are inside, and every metric run by run in its arm."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.cluster.hierarchy import dendrogram

from mechdecouple.compare.many.comparison import ManyComparison
from mechdecouple.compare.many.spread import ArmContrast
from mechdecouple.errors import InputError
from mechdecouple.report.metrics import title
from mechdecouple.report.style import COLUMN, GREY, LIGHT, PAGE, Drawing, new_figure, say, styled

# Okabe and Ito's palette and a marker for each, so that arms are told apart in grey too; beyond, they begin again.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STRIPS = 4
_SPREAD = 0.24
CAPTION = (
    "How far apart the runs are inside (mean angle of debiased CKA; 0 alike, π/2 unrelated), as a tree by average "
    "linkage and as a map by classical scaling, with the share of the distances that the map holds; and every metric "
    "run by run, the bar at the mean of each arm. The unit is the run."
)


def draw_many(many: ManyComparison, kind: str | None = None, ax: Axes | None = None) -> Figure | Axes:
    """Draw runs in arms: everything, or one panel (``tree``, ``map``, or the name of a metric).

    Raises:
        InputError: an unknown kind, or one Axes for all panels.
    """
    panels = _panels(many)
    if kind is None and ax is None:
        return figure(many)
    if kind not in panels:
        if kind is None:
            raise InputError(f"runs in arms take several panels: leave ax out, or take one of {', '.join(panels)}")
        close = difflib.get_close_matches(kind, list(panels), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"kind {kind!r} is unknown{hint}; there are {', '.join(panels)}")
    with styled():
        if ax is not None:
            panels[kind](ax)
            return ax
        alone = new_figure(COLUMN, 2.4)
        panels[kind](alone.add_subplot())
        _legend(many, alone)
        return alone


def figure(many: ManyComparison) -> Drawing:
    """The tree, the map, and a strip for every metric that is defined."""
    panels = _panels(many)
    strips = [name for name in panels if name not in ("tree", "map")]
    shown = [name for name in strips if many.contrast(name).defined] or strips[:1]
    rows = -(-len(shown) // _STRIPS)
    top = max(2.3, 0.7 + 0.15 * len(many.labels))
    with styled():
        drawing = new_figure(PAGE, top + 1.75 * rows + 0.25)
        parts: Any = drawing.subfigures(2, 1, height_ratios=[top, 1.75 * rows])
        for name, ax in zip(("tree", "map"), parts[0].subplots(1, 2, width_ratios=[1.15, 1]), strict=True):
            panels[name](ax)
        grid = parts[1].subplots(rows, min(_STRIPS, len(shown)), squeeze=False).ravel()
        for name, ax in zip(shown, grid, strict=False):
            panels[name](ax)
        for ax in grid[len(shown) :]:
            ax.set_axis_off()
        _legend(many, drawing)
    return drawing


def _panels(many: ManyComparison) -> dict[str, Callable[[Axes], None]]:
    strips = {m.name: (lambda ax, name=m.name: _strip(many, many.contrast(name), ax)) for m in many.metrics}
    return {"tree": lambda ax: _tree(many, ax), "map": lambda ax: _map(many, ax), **strips}


def _style(many: ManyComparison) -> dict[str, tuple[str, str]]:
    """Arm -> colour and marker."""
    return {arm: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, arm in enumerate(many.arms)}


def _legend(many: ManyComparison, drawing: Figure) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=_short(arm, 28))
        for arm, (colour, marker) in _style(many).items()
    ]
    drawing.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))


def _tree(many: ManyComparison, ax: Axes) -> None:
    if many.map is None:
        say(ax, _no_distances(many))
        return
    style, arm_of = _style(many), many.arm_of
    drawn = dendrogram(many.map.linkage, no_plot=True)
    for x, y in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        ax.plot(x, y, color=GREY, linewidth=1)
    places = 5 + 10 * np.arange(len(many.labels))
    order = [many.labels[i] for i in drawn["leaves"]]
    ax.set_yticks(places, [_short(run, 24) for run in order])
    for place, label, run in zip(places, ax.get_yticklabels(), order, strict=True):
        colour, marker = style[arm_of[run]]
        label.set_color(colour)
        ax.plot([0], [place], marker, color=colour, clip_on=False)
    ax.set_xlim(0, 1.05 * float(many.map.linkage[:, 2].max()) or 1.0)
    ax.set_ylim(0, 10 * len(many.labels))
    ax.tick_params(axis="y", length=0, pad=5)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("distance inside at which runs join")
    ax.set_title("Tree of runs")


def _map(many: ManyComparison, ax: Axes) -> None:
    if many.map is None:
        say(ax, _no_distances(many))
        return
    points, at = many.map.coordinates, {run: i for i, run in enumerate(many.labels)}
    reach = max(1e-3, float(np.abs(points).max())) * 1.15
    for arm, (colour, marker) in _style(many).items():
        own = points[[at[run] for run in many.arms[arm]]]
        ax.plot(own[:, 0], own[:, 1], marker, color=colour, alpha=0.8, markersize=5)
    # both axes to one scale: what is far in the map is far
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.axhline(0, color=LIGHT, linewidth=0.5, zorder=0)
    ax.axvline(0, color=LIGHT, linewidth=0.5, zorder=0)
    ax.set_xlabel("distance inside, first axis")
    ax.set_ylabel("second axis")
    ax.set_title(f"Map (holds {many.map.explained:.0%}, stress {many.map.stress:.2f})")


def _strip(many: ManyComparison, contrast: ArmContrast, ax: Axes) -> None:
    if not contrast.defined:
        say(ax, f"{title(contrast.metric.name)}: {contrast.reason}.")
        return
    for i, (arm, (colour, marker)) in enumerate(_style(many).items()):
        values = contrast.values[arm]
        # a fixed spread keeps equal runs apart without a random jitter
        across = np.linspace(-_SPREAD, _SPREAD, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(i + across, values, marker, color=colour, alpha=0.8)
        ax.plot([i - 0.36, i + 0.36], [values.mean()] * 2, color=colour, linewidth=1.5)
    ax.set_ylim(_limits(contrast))
    ax.ticklabel_format(axis="y", useOffset=False, style="plain")
    ax.set_xlim(-0.6, len(contrast.values) - 0.4)
    names = [_short(arm, 11) for arm in contrast.values]
    ax.set_xticks(range(len(names)), names)
    if sum(map(len, names)) > 16:
        ax.tick_params(axis="x", labelrotation=30)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
    ax.set_title(title(contrast.metric.name))
    tested = f"p {contrast.p:.2g}" + ("" if np.isnan(contrast.p_adjusted) else f", Holm {contrast.p_adjusted:.2g}")
    ax.set_xlabel(tested, color=GREY, fontsize=7)
    ax.set_ylabel({"higher": "↑ tidier", "lower": "↓ tidier", "": ""}[contrast.metric.direction])


def _limits(contrast: ArmContrast) -> tuple[float, float]:
    """Room for every run, and no closer than the margin: a difference that does not count shall not look large."""
    values = np.concatenate(list(contrast.values.values()))
    margin, middle = contrast.metric.margin, float(values.min() + values.max()) / 2
    unit = 1.0 if contrast.metric.scale == "difference" else abs(middle)
    half = max(float(np.ptp(values)) / 2 * 1.25, unit * (margin if np.isfinite(margin) else 0.05), 1e-6)
    return middle - half, middle + half


def _no_distances(many: ManyComparison) -> str:
    return next((note for note in many.notes if note.startswith("Distances")), "Distances inside were not measured.")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-(longest // 2 - 1) :]}"
