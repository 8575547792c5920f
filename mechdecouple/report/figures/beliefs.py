"""Beliefs: what each model represents as true against what it expresses."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.report.figures.layers import layer_panel
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import title
from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import View

_GAP = ("represented_auroc_selected", "expressed_auroc")


def conditions(view: View) -> list[str]:
    """Levels of the condition, the honest one first."""
    return view.honest_first(list(dict.fromkeys(view.rows("expressed_auroc").context)))


def _defined(*metrics: str):
    def missing(view: View) -> str:
        found = any(np.isfinite(view.rows(m).value).any() for m in metrics)
        return "" if found else f"{title(metrics[0])}: {view.reason(*metrics)}"

    return missing


def _rows_of_conditions(view: View, ax: Axes) -> tuple[list[str], dict[tuple[str, int], float]]:
    levels = conditions(view)
    y = {(level, which): -(i + 0.16 * (2 * which - 1)) for i, level in enumerate(levels) for which in (0, 1)}
    shown = [level or "all items" for level in levels]
    ax.set_yticks(
        -np.arange(len(levels)),
        [textwrap.fill(s.replace("_", " ") if len(s) > 16 else s, 16, max_lines=2, placeholder="…") for s in shown],
    )
    ax.set_ylim(-len(levels) + 0.4, 0.6)
    return levels, y


def _gap(view: View, ax: Axes) -> None:
    levels, y = _rows_of_conditions(view, ax)
    for which, model in enumerate(view.names):
        at = {m: view.rows(m, model).drop_duplicates("context").set_index("context") for m in _GAP}
        for level in levels:
            ends: list[Any] = [at[m].loc[level] if level in at[m].index else None for m in _GAP]
            height = y[level, which]
            if all(e is not None and np.isfinite(e.value) for e in ends):
                ax.plot(
                    [e.value for e in ends],
                    [height, height],
                    color=COLOURS[which],
                    linewidth=2.2,
                    alpha=0.3,
                    solid_capstyle="butt",
                )
            for e, face, size in zip(ends, (COLOURS[which], "white"), (5.5, 3.5), strict=True):
                if e is not None and np.isfinite(e.value):
                    whiskers = None if not np.isfinite(e.low) else [[e.value - e.low], [e.high - e.value]]
                    ax.errorbar(
                        [e.value],
                        [height],
                        xerr=whiskers,
                        fmt=MARKERS[which],
                        color=COLOURS[which],
                        markerfacecolor=face,
                        capsize=2,
                        linewidth=0.9,
                        markersize=size,
                    )
    ax.axvline(0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    low, _ = ax.get_xlim()
    ax.set_xlim(min(low, 0.45), 1.02)
    ax.set_xlabel("AUROC of the truth")
    ax.set_title("Belief and claim")


def _marks(view: View) -> list[Line2D]:
    facts: dict[str, Any] = {"marker": "o", "color": GREY, "linestyle": "none"}
    return [
        Line2D([], [], markersize=5.5, label="represented", **facts),
        Line2D([], [], markersize=3.5, markerfacecolor="white", label="expressed", **facts),
    ]


def _claims(view: View, ax: Axes) -> None:
    levels, y = _rows_of_conditions(view, ax)
    for which, model in enumerate(view.names):
        at = view.rows("bullshit_index", model).drop_duplicates("context").set_index("context")
        for level in levels:
            if level in at.index and np.isfinite(at.loc[level].value):
                e = at.loc[level]
                whiskers = None if not np.isfinite(e.low) else [[e.value - e.low], [e.high - e.value]]
                ax.errorbar(
                    [e.value], [y[level, which]], xerr=whiskers, fmt=MARKERS[which], color=COLOURS[which], capsize=2
                )
    ax.set_xlim(-0.05, 1.05)
    ax.set_xlabel("0: claims follow belief")
    ax.set_title("Bullshit index")


def _height(view: View) -> float:
    return max(2.0, 1.2 + 0.32 * len(conditions(view)))


def panels(view: View) -> list[Panel]:
    return [
        dataclasses.replace(layer_panel("represented_auroc"), height=_height),
        Panel(
            "gap",
            _gap,
            _defined("expressed_auroc", "represented_auroc_selected"),
            weight=1.15,
            height=_height,
            legend=_marks,
        ),
        Panel("claims", _claims, _defined("bullshit_index"), height=_height),
    ]


SHEET = Sheet(
    "beliefs",
    panels,
    "How well the truth can be read from the activations over hook points (honest items); what is represented against "
    "what is expressed by "
    "condition; and how far claims follow belief. Bars and bands: 95 %; dashed: chance.",
)
