"""Curves over the layers of both models, with their 95 % bands."""

from __future__ import annotations

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
_LOG = ("participation_ratio", "effective_rank")


def layer_panel(metric: str, name: str = "", context: str | None = None) -> Panel:
    """The panel of one metric over hook points."""

    def missing(view: View) -> str:
        drawn = any(c.drawn for model in view.names for c in _curves(view, metric, model, context).values())
        return "" if drawn else f"{title(metric)}: {view.reason(metric)}"

    return Panel(
        name or metric,
        lambda view, ax: _draw(view, ax, metric, context),
        missing,
        legend=lambda view: _styles(view, metric),
    )


def functional(metric: str) -> str:
    """The name of a metric's version on what the answers depend on."""
    return f"functional_{metric}"


def _styles(view: View, metric: str) -> list[Line2D]:
    """What each style of line stands for: concepts where there are not too many, or the functional version."""
    concepts = view.concepts(metric)
    if list(concepts) == [""] and len(view.rows(functional(metric))):
        labels = ("all of the activations", "what the answers depend on")
        return [Line2D([], [], color=GREY, linestyle=s, label=x) for s, x in zip(LINES[:2], labels, strict=True)]
    if not 1 < len(concepts) <= len(LINES):
        return []
    return [Line2D([], [], color=GREY, linestyle=style, label=c) for c, style in zip(concepts, LINES, strict=False)]


def _curves(view: View, metric: str, model: str, context: str | None) -> dict[str, Curve]:
    return {concept: view.curve(metric, model, concept, context) for concept in view.concepts(metric)}


def _draw(view: View, ax: Axes, metric: str, context: str | None) -> None:
    concepts = view.concepts(metric)
    points = view.points(view.names[0]), view.points(view.names[1])
    labels = shorten(points[0]), shorten(points[1])
    shared = labels[0] == labels[1]
    for which, model in enumerate(view.names):
        curves = {c: found for c, found in _curves(view, metric, model, context).items() if found.drawn}
        where = {p: _at(i, len(points[which]), shared, which) for i, p in enumerate(points[which])}
        for concept, curve in curves.items():
            _line(ax, curve, where, which, LINES[concepts.index(concept)] if len(concepts) <= len(LINES) else None)
        if len(concepts) > len(LINES) and curves:
            _mean_line(ax, curves, where, which)
        if list(concepts) == [""]:
            used = view.curve(functional(metric), model, "", context)
            _line(ax, used, where, which, LINES[1])
    _null(view, ax, metric)
    ax.set_title(title(metric))
    _layer_axis(ax, points, labels, shared)
    known = METRICS.get(metric)
    arrow = {"higher": " ↑ tidier", "lower": " ↓ tidier", "": ""}[known.direction if known else ""]
    ax.set_ylabel(_unit(metric) + arrow)
    if metric in _LOG:
        _log_axis(ax)
    else:
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    if len(concepts) > len(LINES):
        ax.text(
            0.02,
            0.02,
            f"thick: mean of {len(concepts)} concepts",
            transform=ax.transAxes,
            color=GREY,
            fontsize=7,
            backgroundcolor="white",
        )


def _at(i: int, n: int, shared: bool, which: int) -> float:
    """Where a hook point stands; the two models a little apart, so that equal values do not hide each other."""
    apart = 0.012 * max(1, n - 1) * (2 * which - 1)
    return i + apart if shared else (i + apart) / max(1, n - 1)


def _line(ax: Axes, curve: Curve, where: dict[str, float], which: int, style: str | None) -> None:
    x = np.array([where[p] for p in curve.points])
    colour = COLOURS[which]
    if style is None:
        ax.plot(x, curve.value, color=colour, linewidth=0.6, alpha=0.45)
        return
    ax.fill_between(x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, curve.value, color=colour, linestyle=style)
    for mask, face in ((~curve.inert, colour), (curve.inert, "white")):
        ax.plot(
            x[mask], curve.value[mask], MARKERS[which], markerfacecolor=face, markeredgecolor=colour, linestyle="none"
        )
    if len(x) == 1:
        ax.errorbar(x, curve.value, [curve.value - curve.low, curve.high - curve.value], color=colour, capsize=2)


def _mean_line(ax: Axes, curves: dict[str, Curve], where: dict[str, float], which: int) -> None:
    points = [p for p in where if any(p in c.points for c in curves.values())]
    rows = [[dict(zip(c.points, c.value, strict=True)).get(p, np.nan) for p in points] for c in curves.values()]
    held = np.isfinite(rows).all(axis=0)
    x, mean = np.array([where[p] for p in points]), np.mean(rows, axis=0)
    inert = np.array([any(p in c.points and c.inert[c.points.index(p)] for c in curves.values()) for p in points])
    ax.plot(x[held], mean[held], color=COLOURS[which], linewidth=1.8)
    for mask, face in ((held & ~inert, COLOURS[which]), (held & inert, "white")):
        ax.plot(
            x[mask], mean[mask], MARKERS[which], markerfacecolor=face, markeredgecolor=COLOURS[which], linestyle="none"
        )


def _null(view: View, ax: Axes, metric: str) -> None:
    nulls = view.rows(metric).null.to_numpy(float)
    nulls = nulls[np.isfinite(nulls)]
    level = nulls[0] if len(nulls) and np.allclose(nulls, nulls[0]) else _NULLS.get(metric)
    if level is not None:
        ax.axhline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)


def _layer_axis(ax: Axes, points: tuple, labels: tuple, shared: bool) -> None:
    if not shared:
        ax.set_xlabel("relative depth")
        ax.set_xticks([0, 0.5, 1], ["first", "middle", "last"])
        return
    ax.set_xlabel(place(points[0]))
    n = len(labels[0])
    ax.set_xlim(-0.05 * n - 0.1, n - 0.9 + 0.05 * n)
    long = max((len(label) for label in labels[0]), default=0) > 4 and n > 2
    step = -(-n // 7)
    ticks = range(0, n, step)
    ax.set_xticks(list(ticks), [labels[0][i] for i in ticks])
    if long and max(len(labels[0][i]) for i in ticks) * len(ticks) > 24:
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
    }
    return words.get(metric, "value")
