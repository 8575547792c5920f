"""The figures of the study of glass boxes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
TITLES = {"test": "in distribution", "shift": "on shift"}


def draw_plane(frontier: pd.DataFrame, best: Mapping[str, float]) -> Figure:
    """Accuracy over simulatability in distribution and on shift; filled where a model is mostly on the frontier.

    Args:
        frontier: a row a model and split; best: split -> accuracy of always giving the likelier answer.
    """
    with styled():
        figure = new_figure(PAGE, 3.1)
        for ax, (split, title) in zip(figure.subplots(1, 2, sharey=True), TITLES.items(), strict=True):
            own = where(frontier, split=split)
            _points(ax, own)
            _steps(ax, own)
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
            markerfacecolor=colour if row["on_frontier"] >= 0.5 else "white", elinewidth=0.5, markersize=4.5,
        )  # fmt: skip
        ax.annotate(row["model"].split()[1], (x, y), xytext=(3.5, 3.5), textcoords="offset points", fontsize=6,
                    color=colour)  # fmt: skip


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
    """Dots of seeds, and the line of the means of each model of a kind."""
    colour, marker = STYLES[kind]
    ax.plot(column(table, x), column(table, y), marker, color=colour, markersize=3, markerfacecolor="none",
            markeredgewidth=0.6)  # fmt: skip
    means = sorted((column(own, x).mean(), column(own, y).mean()) for _, own in table.groupby("model"))
    if means:
        ax.plot(*zip(*means, strict=True), color=colour, linewidth=1)
