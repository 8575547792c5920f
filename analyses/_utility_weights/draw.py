"""The figure of the study of utility weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses._study import column, where
from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, PAGE, new_figure, styled

STYLES = {"re-weighted": (COLOURS[0], MARKERS[0]), "weighted": (COLOURS[1], MARKERS[1])}
NAMES = {"re-weighted": "re-weighted\nafterwards", "weighted": "weighted\ntraining"}


def draw_arms(table: pd.DataFrame, floor: Mapping[str, Mapping[str, float]], main: int) -> Figure:
    """Loss, accuracy and decodability over the length of training, and the binary pair; a dot a seed.

    Args:
        table: a row a model; floor: question -> the least possible loss and cost; main: steps of the criteria.
    """
    kinds = where(table, asked="kind")
    with styled():
        figure = new_figure(PAGE, 2.2)
        loss, accuracy, inside, binary = figure.subplots(1, 4)
        _over_steps(loss, kinds, "loss", "weighted loss, nats", floor["kind"]["loss"])
        _over_steps(accuracy, kinds, "accuracy", "accuracy", floor["kind"]["accuracy"])
        _over_steps(inside, kinds, "refitted_light", "light kinds, refitted head", floor["kind"]["refitted_light"])
        loss.set_title("by its own loss")
        accuracy.set_title("answers")
        inside.set_title("held inside")
        _pairs(binary, where(table, asked="urgent"), floor["urgent"]["cost"])
        binary.set_title("urgent or not")
        loss.legend(loc="upper right", handlelength=1)
    for ax in (loss, accuracy, inside):
        ax.axvline(main, color=LIGHT, linewidth=0.6, zorder=0)
    return figure


def _over_steps(ax: Axes, table: pd.DataFrame, name: str, label: str, best: float) -> None:
    """Dots of seeds and the line of their means; the best possible value dashed."""
    steps = np.unique(column(table, "steps"))
    for arm, (colour, marker) in STYLES.items():
        own = where(table, arm=arm)
        means = [column(where(own, steps=at), name).mean() for at in steps]
        ax.plot(column(own, "steps"), column(own, name), marker, color=colour, markersize=3, markerfacecolor="none")
        ax.plot(steps, means, color=colour, marker=marker, markersize=0, label=NAMES[arm])
    ax.axhline(best, color=GREY, linestyle="--", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xticks(steps, [f"{at:g}" for at in steps])
    ax.minorticks_off()
    ax.set_xlabel("steps of training")
    ax.set_ylabel(label)


def _pairs(ax: Axes, table: pd.DataFrame, best: float) -> None:
    """Ranking against cost, the two models of a seed joined."""
    for _, pair in table.groupby("seed"):
        ax.plot(column(pair, "auroc"), column(pair, "cost"), color=LIGHT, linewidth=0.6, zorder=0)
    for arm, (colour, marker) in STYLES.items():
        own = where(table, arm=arm)
        ax.plot(column(own, "auroc"), column(own, "cost"), marker, color=colour, markerfacecolor="none")
    ax.axhline(best, color=GREY, linestyle="--", linewidth=0.8)
    ax.set_xlabel("AUROC")
    ax.set_ylabel("share of stakes lost")
