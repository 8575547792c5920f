"""The figure of the study of traces."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses._study import column, where
from mechdecouple.report.style import BAND, COLOURS, GREY, LIGHT, PAGE, new_figure, styled

STYLES = {
    "none": ("none", GREY, "o"), "correct": ("right", COLOURS[0], "s"), "wrong": ("wrong", COLOURS[1], "^"),
    "from the start": ("right, from\nthe start", "#000000", "D"),
}  # fmt: skip
RATES = {
    "trace": "trace\nright", "joint": "both\nright", "given_right": "answer, if\ntrace right",
    "given_wrong": "answer, if\ntrace wrong",
}  # fmt: skip


def draw_traces(table: pd.DataFrame, changed: pd.DataFrame, person: pd.DataFrame, most: float) -> Figure:
    """Accuracy, rates, φ, what exchanged traces do, and how well a small rule names answers; a dot a seed.

    Args:
        table: rates, a row a model; changed: of exchanged traces; person: of simulated answers.
        most: size of φ allowed.
    """
    likeliest, drawn = (where(table, traces=name) for name in ("likeliest", "drawn"))
    rule = person["surrogate"].iloc[0]
    with styled():
        figure = new_figure(PAGE, 4.0)
        (rates, correlation), (moved, simulated) = figure.subplots(2, 2, width_ratios=[5, 4])
        _dots(rates, likeliest, {"accuracy": "answer\nright", **RATES})
        rates.set_title("how often what is right")
        rates.set_ylabel("share of questions")
        correlation.axhspan(-most, most, color=BAND, linewidth=0)
        _dots(correlation, likeliest, {"phi_kind": "kind", "phi_fact": "stay", "phi": "trace"})
        _dots(correlation, drawn, {"phi_within": "trace,\nwithin"}, first=3)
        correlation.set_xticks(range(4), ["kind", "stay", "whole\ntrace", "whole, within\nquestions"])
        correlation.set_title("correlation with a right answer")
        correlation.set_ylabel("φ")
        correlation.set_ylim(-0.35, 1.05)
        _dots(moved, changed, {"moved": "the answer changes", "followed": "the answer is of the stay named"})
        moved.set_title("a wrong trace in the place of its own")
        moved.set_ylabel("share of questions")
        wide = where(person, surrogate=rule).pivot(index=["arm", "seed"], columns="seen", values="kappa").reset_index()
        _dots(simulated, wide, {"item": "without the trace", "trace": "with the trace"})
        simulated.set_title(f"answers foreseen by a {rule}")
        simulated.set_ylabel("agreement, κ")
        for ax in (rates, moved):
            ax.set_ylim(-0.05, 1.05)
        handles, labels = rates.get_legend_handles_labels()
        figure.legend(handles, [label.replace("\n", " ") for label in labels], loc="outside lower center", ncols=4,
                      title="traces in training", title_fontsize=7)  # fmt: skip
    return figure


def _dots(ax: Axes, table: pd.DataFrame, measures: dict[str, str], first: int = 0) -> None:
    for j, (arm, (label, colour, marker)) in enumerate(STYLES.items()):
        own = where(table, arm=arm)
        for i, name in enumerate(measures, start=first):
            x, values = i + 0.2 * (j - 1.5), column(own, name)
            ax.plot(np.full(len(values), x), values, marker, color=colour, markersize=3, markerfacecolor="none",
                    label=label if i == 0 else None)  # fmt: skip
            if np.isfinite(values).any():
                ax.plot([x - 0.08, x + 0.08], [np.nanmean(values)] * 2, color=colour)
    ax.axhline(0, color=LIGHT, linewidth=0.4)
    ax.set_xticks(range(first, first + len(measures)), list(measures.values()))
