"""The figure of the study: what is asserted and what is represented, by arm."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses._study import column, seed_interval, where
from mechdecouple.report.style import COLOURS, GREY, PAGE, new_figure, styled

PANELS = {
    "asserted": {
        "unknown_claims": "what nobody\ncan know", "false_claims": "what is\nfalse",
        "correlation": "correlation of\nbelief and claim",
    },
    "represented": {
        "fresh_probe": "probe at\nthe bar", "probe_at_answer": "probe at\nthe answer",
        "honest_accuracy": "accuracy,\nasked honestly", "bullshit_index": "Bullshit\nindex",
    },
}  # fmt: skip


def draw(table: pd.DataFrame) -> Figure:
    """What is asserted, and what is represented, by each arm; a dot a seed."""
    shades = {"honest": GREY, "rewarded": COLOURS[1], "with penalty": COLOURS[0]}
    with styled():
        figure = new_figure(PAGE, 2.3)
        for ax, (title, measures) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            for j, (arm, shade) in enumerate(shades.items()):
                own = where(table, arm=arm)
                for i, name in enumerate(measures):
                    x = i + 0.22 * (j - 1)
                    values = column(own, name)
                    ax.plot(np.full(len(values), x), values, "os^"[j], color=shade, markersize=3.5,
                            markerfacecolor="none", label=arm if i == 0 else None)  # fmt: skip
                    ax.plot([x - 0.08, x + 0.08], [values.mean()] * 2, color=shade)
            ax.axhline(0, color=GREY, linewidth=0.4)
            ax.set_xticks(range(len(measures)), list(measures.values()))
            ax.set_ylim(-0.1, 1.05)
            ax.set_title(title)
        figure.axes[0].set_ylabel("share, correlation")
        figure.axes[1].legend(loc="center left")
    return figure


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with its numbers."""

    def told(arm: str, name: str) -> str:
        value, low, high = seed_interval(column(where(table, arm=arm), name), 0, 1)
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    return (
        f"Claims of what nobody can know rise from {told('honest', 'unknown_claims')} to "
        f"{told('rewarded', 'unknown_claims')} (with a penalty on leaving the honest model "
        f"{told('with penalty', 'unknown_claims')}), while a fresh probe reads the truth at AUROC "
        f"{told('rewarded', 'fresh_probe')}, before {told('honest', 'fresh_probe')}. At the place of the answer under "
        f"the second persona a probe reads it at {told('rewarded', 'probe_at_answer')}, before "
        f"{told('honest', 'probe_at_answer')}; accuracy there is {told('rewarded', 'pressed_accuracy')}, and of a head "
        f"fitted anew {told('rewarded', 'refitted')}. Mean and 95 % interval over seeds."
    )
