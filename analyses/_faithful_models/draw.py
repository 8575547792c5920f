"""The figure of the study of faithful models."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses._study import column, where
from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, PAGE, new_figure, styled

SHADES = {"plain": (COLOURS[1], MARKERS[1]), "masked": (COLOURS[0], MARKERS[0])}
SPEAKERS = {"honest": (COLOURS[0], MARKERS[0]), "constant": (COLOURS[1], MARKERS[1])}
WAYS = {"given": "held, knows\nmasks", "together": "trained\nalong"}
LINES = {
    "leave_one_out": (COLOURS[0], "-"), "gradient_norm": (COLOURS[1], "--"), "input_x_gradient": (COLOURS[1], ":"),
    "random": (GREY, "-"),
}  # fmt: skip
NAMES = {
    "leave_one_out": "leave one out", "integrated_gradients": "integrated gradients", "attention": "attention",
    "gradient_norm": "gradient norm", "input_x_gradient": "input × gradient", "random": "at random",
}  # fmt: skip


def draw_models(
    curves: pd.DataFrame, attributions: pd.DataFrame, known: pd.DataFrame, selectors: pd.DataFrame, spoken: pd.DataFrame
) -> Figure:
    """Masking curves, what explanations are worth, whether masks are known; selectors; self-explanations."""
    with styled():
        figure = new_figure(PAGE, 4.4)
        axes = figure.subplots(2, 3)
        _masking(axes[0, 0], where(curves, arm="masked"))
        _dots(axes[0, 1], attributions, "racu", "RACU")
        axes[0, 1].set_title("(b) explanations, checked")
        axes[0, 1].legend(loc="lower right", title="training", labelspacing=0.2, handlelength=1.0)
        _dots(axes[0, 2], attributions, "rationale_auroc", "AUROC against deciding words")
        axes[0, 2].set_title("(c) … against the truth")
        axes[0, 2].set_yticklabels([])
        _known(axes[1, 0], known)
        _selectors(axes[1, 1], selectors)
        _spoken(axes[1, 2], spoken)
    return figure


def _masking(ax: Axes, curves: pd.DataFrame) -> None:
    for name, (colour, style) in LINES.items():
        own = where(curves, explanation=name)
        ratios = np.unique(column(own, "ratio"))
        values = np.stack([column(where(own, ratio=ratio), "accuracy") for ratio in ratios])
        ax.plot(100 * ratios, values, color=colour, linewidth=0.4, linestyle=style, alpha=0.5)
        ax.plot(100 * ratios, values.mean(axis=1), color=colour, linestyle=style, label=NAMES[name])
    ax.set_xlabel("words masked, %")
    ax.set_ylabel("accuracy")
    ax.set_title("(a) masked fine-tuning")
    ax.set_ylim(-0.03, 1.3)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.legend(loc="upper right", handlelength=1.4, labelspacing=0.15, borderaxespad=0.0)


def _dots(ax: Axes, table: pd.DataFrame, name: str, label: str) -> None:
    """A row an explanation, a dot a seed."""
    rows = [key for key in NAMES if key != "random"][::-1]
    for (arm, (colour, marker)), shift in zip(SHADES.items(), (-0.16, 0.16), strict=True):
        for at, explanation in enumerate(rows):
            values = column(where(table, arm=arm, explanation=explanation), name)
            ax.plot(
                values, np.full(len(values), at + shift), marker, color=colour, markersize=3.5, markerfacecolor="none",
                label=arm if at == 0 else None,
            )  # fmt: skip
            ax.plot([values.mean()] * 2, [at + shift - 0.12, at + shift + 0.12], color=colour)
    for at in range(len(rows) - 1):
        ax.axhline(at + 0.5, color=LIGHT, linewidth=0.4)
    ax.axvline(0.5 if name == "rationale_auroc" else 0.0, color=GREY, linestyle="--", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [NAMES[key] for key in rows])
    ax.set_xlabel(label)


def _known(ax: Axes, known: pd.DataFrame) -> None:
    """Share of reviews that are masked at all with a smaller p, one line a seed, beside masked ones or whole ones."""
    looks = {
        ("masked", "masked"): ("-", "masked"), ("plain", "masked"): ("-.", "plain"),
        ("plain", "whole"): ("--", "plain,\nto whole"),
    }  # fmt: skip
    for (arm, reference), (line, label) in looks.items():
        own = where(known, arm=arm, reference=reference, order="leave_one_out")
        own = own.iloc[np.flatnonzero(column(own, "words") > 0)]
        for i, seed in enumerate(np.unique(column(own, "seed"))):
            p = np.sort(column(where(own, seed=seed), "p"))
            ax.step([0, *p, 1], [0, *(np.arange(len(p)) + 1) / len(p), 1], where="post", color=SHADES[arm][0],
                    linewidth=0.8, linestyle=line, label=label if i == 0 else None)  # fmt: skip
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":", label="uniform")
    ax.set_xlabel("p of masked reviews (MaSF)")
    ax.set_ylabel("share of reviews below")
    ax.set_title("(d) masked beside known")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), labelspacing=0.3, handlelength=1.4).set_in_layout(False)


def _selectors(ax: Axes, table: pd.DataFrame) -> None:
    """Accuracy of the own predictor and of the evaluator from the words kept, and the share of words."""
    measures = {"own_accuracy": "own predictor", "selected_accuracy": "evaluator", "share": "share of words kept"}
    looks = ((COLOURS[0], "o"), (COLOURS[1], "s"), (GREY, "^"))
    for i, way in enumerate(WAYS):
        own = where(table, way=way)
        for j, ((name, label), (colour, marker)) in enumerate(zip(measures.items(), looks, strict=True)):
            values, x = column(own, name), i + 0.22 * (j - 1)
            ax.plot(np.full(len(values), x), values, marker, color=colour, markersize=3.5, markerfacecolor="none",
                    label=label if i == 0 else None)  # fmt: skip
            ax.plot([x - 0.08, x + 0.08], [values.mean()] * 2, color=colour)
    ax.set_xticks(range(len(WAYS)), list(WAYS.values()))
    ax.set_xlim(-0.5, len(WAYS) - 0.5)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("predictor of the selector")
    ax.set_ylabel("accuracy, share")
    ax.set_title("(e) learned selection")
    ax.legend(loc="center", bbox_to_anchor=(0.5, 0.56), labelspacing=0.2)


def _spoken(ax: Axes, table: pd.DataFrame) -> None:
    """Self-consistency by kind of explanation; the grey bar is that of random edits."""
    kinds = list(dict.fromkeys(table["kind"]))
    for j, (arm, (colour, marker)) in enumerate(SPEAKERS.items()):
        for i, kind in enumerate(kinds):
            own, x = where(table, arm=arm, kind=kind), i + 0.22 * (j - 0.5)
            values = column(own, "consistent")
            ax.plot([x - 0.1, x + 0.1], [column(own, "random").mean()] * 2, color=GREY, linewidth=2.5, alpha=0.6,
                    label="random edits" if i + j == 0 else None)  # fmt: skip
            ax.plot(np.full(len(values), x), values, marker, color=colour, markersize=3.5, markerfacecolor="none",
                    label=arm if i == 0 else None)  # fmt: skip
            ax.plot([x - 0.08, x + 0.08], [values.mean()] * 2, color=colour)
    ax.set_xticks(range(len(kinds)), [kind.replace("counterfactual", "counter-\nfactual") for kind in kinds])
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("answers that follow")
    ax.set_title("(f) explaining oneself")
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.72), labelspacing=0.2)
