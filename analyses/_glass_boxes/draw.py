"""The figures of the study of glass boxes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from analyses._glass_boxes.frontier import pareto
from analyses._study import column, where
from mechdecouple.report.style import COLOURS, GREY, LIGHT, PAGE, new_figure, styled

# The rest of Okabe and Ito's palette; kinds differ in their marker too.
STYLES = {
    "logistic": ("#009E73", "o"), "pairs": ("#CC79A7", "P"), "tree": ("#E69F00", "s"), "rules": ("#56B4E9", "^"),
    "sparse": (COLOURS[1], "D"), "dense": (COLOURS[0], "X"),
}  # fmt: skip
KINDS = {
    "logistic": "sum of weights", "pairs": "sum with products", "tree": "decision tree", "rules": "rule list",
    "sparse": "sparse transformer", "dense": "dense transformer",
}  # fmt: skip
AREA = (215.0, 160.0)
"""Width and height of a panel of the plane, about, in pt."""
TITLES = {"test": "in distribution", "shift": "on shift"}


def draw_plane(frontier: pd.DataFrame, best: Mapping[str, float]) -> Figure:
    """Accuracy over simulatability in distribution and on shift; filled where a model is mostly on the frontier.

    Args:
        frontier: a row a model and split; best: split -> accuracy of always giving the likelier answer.
    """
    with styled():
        figure = new_figure(PAGE, 3.1)
        low, high = column(frontier, "accuracy_low").min(), column(frontier, "accuracy_high").max()
        for ax, (split, title) in zip(figure.subplots(1, 2, sharey=True), TITLES.items(), strict=True):
            own = where(frontier, split=split)
            ax.set_ylim(low - 0.02, high + 0.02)
            _points(ax, own)
            _steps(ax, own)
            _labels(ax, own)
            ax.axhline(best[split], color=GREY, linestyle="--", linewidth=0.8)
            ax.set_title(title)
            ax.set_xlabel("simulatability (kappa)")
        figure.axes[0].set_ylabel("accuracy")
        handles = [
            Line2D([], [], marker=marker, color=colour, markerfacecolor="none", linestyle="none", label=KINDS[kind])
            for kind, (colour, marker) in STYLES.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2, handletextpad=0.2)
    return figure


def _points(ax: Axes, table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        colour, marker = STYLES[row["kind"]]
        x, y = row["simulatability"], row["accuracy"]
        ax.errorbar(
            x, y, xerr=[[max(0, x - row["simulatability_low"])], [max(0, row["simulatability_high"] - x)]],
            yerr=[[max(0, y - row["accuracy_low"])], [max(0, row["accuracy_high"] - y)]], fmt=marker, color=colour,
            markerfacecolor=colour if row["on_frontier"] >= 0.5 else "white", elinewidth=0.5, markersize=5,
            zorder=3 if row["on_frontier"] >= 0.5 else 2,
        )  # fmt: skip


def _labels(ax: Axes, table: pd.DataFrame) -> None:
    """The size of each model, beside its marker or led to it."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    points = np.column_stack([column(table, "simulatability") - left, column(table, "accuracy") - low])
    points *= np.divide(AREA, (right - left, high - low))
    texts = [name.split()[1] for name in table["model"]]
    sizes = np.array([[3.4 * len(text) + 2, 7.0] for text in texts])
    for row, text, offset in zip(table.to_dict("records"), texts, beside(points, sizes), strict=True):
        colour = [0.7 * part for part in to_rgb(STYLES[row["kind"]][0])]
        ax.annotate(
            text, (row["simulatability"], row["accuracy"]), xytext=tuple(offset), textcoords="offset points",
            fontsize=6, color=colour, ha="center", va="center",
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
            if np.hypot(*offset) > 16 else None,
        )  # fmt: skip


def beside(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Offsets of labels from their points, so that no label covers another one or a point; all [n, 2] in pt.

    The nearest free place is taken, point by point; where none is free, the first one tried.
    """
    taken = [(point, np.array([7.0, 7.0])) for point in points]
    found = []
    for point, size in zip(points, sizes, strict=True):
        offsets = [
            radius * np.array([np.cos(angle), np.sin(angle)])
            + np.array([np.sign(round(np.cos(angle), 3)), 0]) * size / 2
            for radius in range(6, 60, 6)
            for angle in np.pi * np.array([1, 3, -1, -3, 0, 4, 2, -2]) / 4
        ]
        free = [
            offset for offset in offsets
            if all((abs(point + offset - at) >= (size + of) / 2).any() for at, of in taken)
            and (point + offset >= size / 2).all() and (point + offset <= np.array(AREA) - size / 2).all()
        ]  # fmt: skip
        found.append((free or offsets)[0])
        taken.append((point + found[-1], size))
    return np.array(found)


def _steps(ax: Axes, table: pd.DataFrame) -> None:
    """The frontier of the means: what is reached at least, at each simulatability."""
    x, y = column(table, "simulatability"), column(table, "accuracy")
    on = np.flatnonzero(pareto(x, y))
    on = on[np.argsort(x[on])]
    ax.plot(x[on], y[on], color=LIGHT, linewidth=1, drawstyle="steps-pre", zorder=0)


def draw_sizes(table: pd.DataFrame, best: float) -> Figure:
    """Accuracy and simulatability over size, and what transformers' answers need; a dot a seed.

    Args:
        table: a row a model and seed; best: accuracy of always giving the likelier answer.
    """
    with styled():
        figure = new_figure(PAGE, 2.5)
        accuracy, foreseen, needed = figure.subplots(1, 3)
        for kind in STYLES:
            own = where(table, kind=kind)
            _sweep(accuracy, own, "size", "test_accuracy", kind)
            _sweep(foreseen, own, "size", "test_simulatability", kind)
            if kind in ("sparse", "dense"):
                _sweep(needed, own, "circuit_edges", "test_accuracy", kind)
        accuracy.axhline(best, color=GREY, linestyle="--", linewidth=0.8)
        needed.axhline(best, color=GREY, linestyle="--", linewidth=0.8)
        for ax, title, x, y in (
            (accuracy, "size buys accuracy", "parts (terms, leaves, rules, weights)", "accuracy"),
            (foreseen, "and costs foresight", "parts (terms, leaves, rules, weights)", "simulatability (kappa)"),
            (needed, "what answers need", "edges of the circuit", "accuracy"),
        ):
            ax.set_xscale("log")
            ticks = [10, 100, 1000, 10_000] if ax is not needed else [300, 1000, 3000, 10_000]
            ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            ax.minorticks_off()
            ax.set_title(title)
            ax.set_xlabel(x)
            ax.set_ylabel(y)
        handles = [
            Line2D([], [], marker=marker, color=colour, markerfacecolor="none", label=KINDS[kind])
            for kind, (colour, marker) in STYLES.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2, handletextpad=0.4)
    return figure


def _sweep(ax: Axes, table: pd.DataFrame, x: str, y: str, kind: str) -> None:
    """Dots of seeds, and the line of the means of each model of a kind; nothing at all is drawn as one."""
    colour, marker = STYLES[kind]
    drawn = pd.DataFrame({"model": table["model"], x: np.maximum(1, column(table, x)), y: column(table, y)})
    ax.plot(column(drawn, x), column(drawn, y), marker, color=colour, markersize=3, markerfacecolor="none",
            markeredgewidth=0.6)  # fmt: skip
    means = sorted((column(own, x).mean(), column(own, y).mean()) for _, own in drawn.groupby("model"))
    if means:
        ax.plot(*zip(*means, strict=True), color=colour, linewidth=1)
