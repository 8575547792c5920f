"""The gap from scores: what is represented against what is expressed, by stratum and model."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.behavior.calibration import reliability
from mechdecouple.beliefs.level import Level
from mechdecouple.beliefs.scores import GapReport
from mechdecouple.report.figures.calibration import BINS
from mechdecouple.report.figures.panel import model_handle
from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, PAGE, Drawing, new_figure, say, styled
from mechdecouple.results import Estimate

STRATA = 24
"""Strata that are drawn; the tables hold all."""
CAPTION = (
    "By stratum: AUROC of the truth as it is represented (filled) and expressed (open), joined by the gap; hidden "
    "knowledge, the share of true–false pairs of answers to one question that are ranked right inside (filled) and "
    "outside (open); the Bullshit index (filled: 0, claims follow belief) beside that of a speaker whose claims are "
    "the truth (open: what the probe alone makes of it); and the share of true statements against the probability "
    "given, for belief (solid) and what is expressed (dotted). Bars: 95 %; dashed: chance."
)

Pick = Callable[[Level], Estimate]


def draw_gap(report: GapReport, ax: Axes) -> None:
    """AUROC of the truth, represented and expressed."""
    _pairs(report, ax, lambda x: x.gap.estimate("represented_auroc"), lambda x: x.gap.estimate("expressed_auroc"), 0.5)
    ax.set_xlabel("AUROC of the truth")
    ax.set_title("Belief and claim")


def draw_hidden_knowledge(report: GapReport, ax: Axes) -> None:
    """K inside and outside."""
    _pairs(
        report, ax, lambda x: x.knowledge.estimate("knowledge_internal"),
        lambda x: x.knowledge.estimate("knowledge_external"), 0.5,
    )  # fmt: skip
    ax.set_xlabel("pairs ranked right within questions, K")
    ax.set_title("Hidden knowledge")


def draw_bullshit(report: GapReport, ax: Axes) -> None:
    """Bullshit index beside that of a truthful speaker."""
    _pairs(
        report, ax, lambda x: x.gap.estimate("bullshit_index"),
        lambda x: x.gap.estimate("bullshit_index_truthful"), None,
    )  # fmt: skip
    ax.set_xlabel("0: claims follow belief")
    ax.set_title("Bullshit index")


def draw_reliability(report: GapReport, ax: Axes) -> None:
    """Share of true statements against the probability given, both channels."""
    ax.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.8, zorder=0)
    for which, model in enumerate(report.models):
        rows = report.scores.of(model)
        truth = np.asarray(rows.truth)
        for channel, line, face in (("represented", "-", COLOURS[which]), ("expressed", ":", "white")):
            score = np.asarray(rows[channel])
            known = ~np.isnan(truth) & ~np.isnan(score)
            if not known.any():
                continue
            of = reliability(score[known], truth[known], n_bins=BINS)
            p, rate, low, high = (np.asarray(of[name]) for name in ("prob", "rate", "low", "high"))
            ax.vlines(p, low, high, color=COLOURS[which], linewidth=0.7)
            ax.plot(
                p, rate, line, color=COLOURS[which], marker=MARKERS[which], markerfacecolor=face, markersize=3.5,
                linewidth=0.9, clip_on=False,
            )  # fmt: skip
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("probability given")
    ax.set_ylabel("share true")
    ax.set_title("Calibration")


def figure(report: GapReport) -> Drawing:
    """All four pictures on a page."""
    strata = len(_shown(report))
    height = max(1.9, 1.0 + 0.3 * strata)
    with styled():
        made = new_figure(PAGE, 2 * height + 0.45)
        axes = made.subplots(2, 2)
        for draw, ax in zip((draw_gap, draw_hidden_knowledge, draw_bullshit, draw_reliability), axes.flat, strict=True):
            draw(report, ax)
        marks: dict[str, Any] = {"color": GREY, "marker": "o", "linestyle": "none"}
        handles = [model_handle(i, name) for i, name in enumerate(report.models) if name]
        handles += [
            Line2D([], [], label="represented, inside, index", **marks),
            Line2D([], [], markerfacecolor="white", label="expressed, outside, truthful speaker", **marks),
        ]
        made.legend(handles=handles, loc="outside upper center", ncols=4)
    return made


def _shown(report: GapReport) -> list[str]:
    return list(report.strata[:STRATA])


def _pairs(report: GapReport, ax: Axes, filled: Pick, hollow: Pick, chance: float | None) -> None:
    """Two estimates a stratum and model on one line, the first filled, the second open."""
    strata, models = _shown(report), report.models
    drawn, reason = False, ""
    for which, model in enumerate(models):
        for i, stratum in enumerate(strata):
            y = -i - (0.16 * (2 * which - 1) if len(models) > 1 else 0.0)
            level = report.levels[model][stratum]
            ends = [pick(level) for pick in (filled, hollow)]
            reason = reason or next((e.reason for e in ends if np.isnan(e.value)), "")
            if all(np.isfinite(e.value) for e in ends):
                ax.plot([e.value for e in ends], [y, y], color=COLOURS[which], linewidth=2.2, alpha=0.3,
                        solid_capstyle="butt")  # fmt: skip
            for e, face, size in zip(ends, (COLOURS[which], "white"), (5.5, 3.5), strict=True):
                if np.isfinite(e.value):
                    drawn = True
                    whiskers = (
                        None if not np.isfinite(e.low) else [[max(e.value - e.low, 0.0)], [max(e.high - e.value, 0.0)]]
                    )
                    ax.errorbar(
                        [e.value], [y], xerr=whiskers, fmt=MARKERS[which],
                        color=COLOURS[which], markerfacecolor=face, capsize=2, linewidth=0.9, markersize=size,
                    )  # fmt: skip
    if not drawn:
        say(ax, f"Not drawn: {reason}.")
        return
    names = [name.replace("_", " ") or "all statements" for name in strata]
    ax.set_yticks(-np.arange(len(strata)), [textwrap.fill(s, 16, max_lines=2, placeholder="…") for s in names])
    ax.set_ylim(-len(strata) + 0.4, 0.6)
    if chance is not None:
        ax.axvline(chance, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        ax.set_xlim(min(ax.get_xlim()[0], chance - 0.05), 1.02)
    else:
        ax.set_xlim(-0.02, 1.02)
