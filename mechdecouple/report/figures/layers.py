"""Curves over the layers of both models, with their 95 % bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mechdecouple.report.figures.panel import Panel
from mechdecouple.report.metrics import METRICS, title
from mechdecouple.report.style import COLOURS, GREY, LINES, MARKERS
from mechdecouple.report.view import Curve, View, place, shorten

_NULLS = {"erasure_residual": 0.5, "coding_energy_left": 0.0, "parallelism": 0.0}
"""Levels without any effect that hold for every value of a metric, where its rows give none."""
_LOG = ("participation_ratio", "effective_rank", "probe_compression")
USED = "-."
"""The line of a metric of what the answers depend on: none of those that stand for concepts."""
_USED_LINE: dict[str, Any] = {"linestyle": USED, "linewidth": 0.9, "marker": ".", "markersize": 3}


def layer_panel(metric: str, name: str = "", context: str | None = None, mean: bool = False) -> Panel:
    """The panel of one metric over hook points; ``mean``: of all its concepts, however few they are."""
    most = 1 if mean else len(LINES)

    def missing(view: View) -> str:
        drawn = any(c.drawn for model in view.names for c in _curves(view, metric, model, context).values())
        return "" if drawn else f"{title(metric)}: {view.reason(metric)}"

    return Panel(
        name or metric,
        lambda view, ax: _draw(view, ax, metric, context, most),
        missing,
        legend=lambda view: _styles(view, metric, most),
    )


def functional(metric: str) -> str:
    """The name of a metric's version on what the answers depend on."""
    return f"functional_{metric}"


def _styles(view: View, metric: str, most: int) -> list[Line2D]:
    """What each style of line stands for: concepts where there are not too many, and the functional version."""
    concepts = view.concepts(metric)
    if _draws_used(view, metric):
        return [Line2D([], [], color=GREY, label="functional", **_USED_LINE)]
    if len(concepts) > most:
        return [Line2D([], [], color=GREY, linewidth=1.8, label=f"mean of {len(concepts)} concepts (thin: each)")]
    if len(concepts) < 2:
        return []
    return [Line2D([], [], color=GREY, linestyle=style, label=c) for c, style in zip(concepts, LINES, strict=False)]


def _draws_used(view: View, metric: str) -> bool:
    """Whether the functional version is drawn into the same panel: where no concepts crowd it."""
    used = view.rows(functional(metric))
    return list(view.concepts(metric)) == [""] and bool(np.isfinite(used.value.astype(float)).any())


def _curves(view: View, metric: str, model: str, context: str | None) -> dict[str, Curve]:
    return {concept: view.curve(metric, model, concept, context) for concept in view.concepts(metric)}


def _draw(view: View, ax: Axes, metric: str, context: str | None, most: int) -> None:
    concepts = view.concepts(metric)
    for which, model in enumerate(view.names):
        curves = {c: found for c, found in _curves(view, metric, model, context).items() if found.drawn}
        where = positions(view, which)
        for concept, curve in curves.items():
            style = LINES[concepts.index(concept)] if len(concepts) <= most else None
            _line(ax, curve, where, which, style, alone=len(concepts) == 1)
        if len(concepts) > most and curves:
            _mean_line(ax, view.mean_curve(metric, model, context), where, which)
        if _draws_used(view, metric):
            used = view.curve(functional(metric), model, "", context)
            # where the answers depend on nothing, a part that they depend on says nothing
            value = np.where(used.inert, np.nan, used.value)
            ax.plot([where[p] for p in used.points], value, color=COLOURS[which], **_USED_LINE)
    _null(view, ax, metric)
    ax.set_title(title(metric))
    layer_axis(view, ax)
    known = METRICS.get(metric)
    arrow = {"higher": " ↑ tidier", "lower": " ↓ tidier", "": ""}[known.direction if known else ""]
    ax.set_ylabel(_unit(metric) + arrow)
    if metric in _LOG:
        _log_axis(ax)
    else:
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))


def positions(view: View, which: int) -> dict[str, float]:
    """Where the hook points of a model stand on the axis: by number, or by relative depth where the models differ."""
    points = view.points(view.names[which])
    return {p: _at(i, len(points), _shared(view), which) for i, p in enumerate(points)}


def _shared(view: View) -> bool:
    """Whether both models have the same hook points, by their labels."""
    a, b = (shorten(view.points(model)) for model in view.names)
    return a == b


def _at(i: int, n: int, shared: bool, which: int) -> float:
    """Where a hook point stands; the two models a little apart, so that equal values do not hide each other."""
    apart = 0.012 * max(1, n - 1) * (2 * which - 1)
    return i + apart if shared else (i + apart) / max(1, n - 1)


def _line(ax: Axes, curve: Curve, where: dict[str, float], which: int, style: str | None, alone: bool = True) -> None:
    x = np.array([where[p] for p in curve.points])
    colour = COLOURS[which]
    if style is None:
        ax.plot(x, curve.value, color=colour, linewidth=0.6, alpha=0.45)
        return
    ax.fill_between(x, curve.low, curve.high, color=colour, alpha=0.18 if alone else 0.1, linewidth=0)
    ax.plot(x, curve.value, color=colour, linestyle=style)
    markers(ax, x, curve, which)
    held = np.isfinite(curve.value) & np.isfinite(curve.low)
    if held.sum() == 1:  # a band of one point would not be seen
        ends = [(curve.value - curve.low)[held], (curve.high - curve.value)[held]]
        ax.errorbar(x[held], curve.value[held], ends, color=colour, capsize=2, fmt="none")


def _mean_line(ax: Axes, mean: Curve, where: dict[str, float], which: int) -> None:
    x = np.array([where[p] for p in mean.points])
    ax.plot(x, mean.value, color=COLOURS[which], linewidth=1.8)
    markers(ax, x, mean, which)


def markers(ax: Axes, x: np.ndarray, curve: Curve, which: int) -> None:
    """A curve's markers: hollow at hook points that the answers do not depend on."""
    for mask, face in ((~curve.inert, COLOURS[which]), (curve.inert, "white")):
        ax.plot(
            x[mask],
            curve.value[mask],
            MARKERS[which],
            markerfacecolor=face,
            markeredgecolor=COLOURS[which],
            linestyle="none",
        )


def _null(view: View, ax: Axes, metric: str) -> None:
    nulls = view.rows(metric).null.to_numpy(float)
    nulls = nulls[np.isfinite(nulls)]
    level = nulls[0] if len(nulls) and np.allclose(nulls, nulls[0]) else _NULLS.get(metric)
    if level is not None:
        ax.axhline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)


def layer_axis(view: View, ax: Axes) -> None:
    """The axis over hook points."""
    points = view.points(view.names[0])
    labels = shorten(points)
    if not _shared(view):
        ax.set_xlabel("relative depth")
        ax.set_xticks([0, 0.5, 1], ["first", "middle", "last"])
        return
    ax.set_xlabel(place(points))
    n = len(labels)
    ax.set_xlim(-0.05 * n - 0.1, n - 0.9 + 0.05 * n)
    long = max((len(label) for label in labels), default=0) > 4 and n > 2
    step = -(-n // 7)
    ticks = range(0, n, step)
    ax.set_xticks(list(ticks), [labels[i] for i in ticks])
    if long and max(len(labels[i]) for i in ticks) * len(ticks) > 24:
        ax.tick_params(axis="x", labelrotation=35)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")


def _log_axis(ax: Axes) -> None:
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1, 2, 5) if high / low < 200 else (1,)
    if high / low < 4:
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _unit(metric: str) -> str:
    words = {
        "ccgp": "accuracy",
        "probe_accuracy": "accuracy",
        "erasure_residual": "AUROC",
        "participation_ratio": "directions",
        "effective_rank": "directions",
        "coding_overlap": "mean |cosine|",
        "parallelism": "cosine",
        "coding_energy_left": "share",
        "additive_share": "share",
        "intrinsic_dimension": "dimensions",
        "ccgp_concepts": "accuracy",
        "parallelism_concepts": "cosine",
        "ablation_effect": "change of answers",
        "represented_auroc": "AUROC",
        "neural_collapse": "within / between",
        "erasure_collateral": "accuracy lost",
        "dci_disentanglement": "1 − entropy",
        "dci_completeness": "1 − entropy",
        "probe_accuracy_above_baseline": "AUROC gained",
        "probe_selectivity": "accuracy gained",
        "probe_compression": "times shorter",
    }
    return words.get(metric, "value")
