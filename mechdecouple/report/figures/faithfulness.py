"""Faithfulness: how well explanations tell what answers depend on, and whether masked items are still known."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.faithfulness import Faithfulness
from mechdecouple.report.figures.dots import LINE, Dot, Line, draw_lines, seed_marks
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import title
from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import View

_SCORE = "probability"
_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def _table(view: View, metric: str, model: str) -> Any:
    rows = view.rows(metric, model)
    rows = rows[rows.context == _SCORE] if metric == "racu" else rows
    return rows[np.isfinite(rows.value)].set_index("concept")


def _lines(view: View, metric: str) -> list[Line]:
    """A line an explanation, with both models and the mean level of explanations drawn at random."""
    tables = [_table(view, metric, name) for name in view.names]
    out = []
    for name in dict.fromkeys(n for table in tables for n in table.index):
        rows = [table.loc[name] if name in table.index else None for table in tables]
        dots = tuple(None if row is None else Dot(row.value, row.low, row.high) for row in rows)
        null = float(np.mean([row.null for row in rows if row is not None]))
        out.append(Line(name.replace("_", " "), (dots[0], dots[1]), null=null))
    return out


def _panel(metric: str, xlabel: str) -> Panel:
    def draw(view: View, ax: Axes) -> None:
        draw_lines(_lines(view, metric), ax, title=title(metric), xlabel=xlabel, limits=None)

    return Panel(
        metric, draw, lambda view: "" if _lines(view, metric) else f"{title(metric)}: {view.reason(metric)}",
        height=lambda view: 0.75 + LINE * 1.4 * max(len(_lines(view, metric)), 4),
        legend=lambda view: seed_marks(_lines(view, metric)),
    )  # fmt: skip


def _known_missing(view: View) -> str:
    drawn = any(len(_table(view, "masf_rate", name)) for name in view.names)
    return "" if drawn else f"{title('masf_rate')}: {view.reason('masf_rate')}"


def _known(view: View, ax: Axes) -> None:
    """Share of items masked at random that look unlike known ones, over the share that is masked."""
    for which, name in enumerate(view.names):
        rows = view.rows("masf_rate", name)
        masked = rows.context.str.partition("%")[0].astype(float)
        ax.fill_between(masked, rows.low, rows.high, color=COLOURS[which], alpha=0.18, linewidth=0)
        ax.plot(masked, rows.value, color=COLOURS[which], marker=MARKERS[which], markersize=2.5)
    ax.axhline(0.05, color=GREY, linestyle=":", linewidth=0.9, zorder=0)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("% of features masked at random")
    ax.set_ylabel("share of items")
    ax.set_title(title("masf_rate"))


def panels(view: View) -> list[Panel]:
    return [
        _panel("racu", "RACU, probability of the answer"),
        _panel("aopc_comprehensiveness", "probability lost without the rationale"),
        _panel("aopc_sufficiency", "probability lost with it alone"),
        Panel("known_masks", _known, _known_missing),
    ]


SHEET = Sheet(
    "faithfulness",
    panels,
    "How well each explanation tells what the answers depend on: the area between masking at random and masking in its "
    "order, what the answer loses without the features that it ranks first, and with them alone (dotted: features "
    "drawn at random). And how many items look unlike known ones inside as features are masked at random (dotted: by "
    "chance); where that is many, masking mixes what features say with damage. Bars and bands: 95 %.",
    columns=2,
)


def draw_faithfulness(found: Faithfulness, ax: Axes) -> None:
    """Masking curves of one model: probability of its answer as what each explanation ranks first is masked."""
    percent = 100 * found.random.ratios
    ax.plot(percent, found.random.probability.mean(axis=1), color=GREY, linestyle=":", label="at random")
    for (method, curve), hue in zip(found.curves.items(), _HUES, strict=False):
        ax.plot(
            percent, curve.probability.mean(axis=1), color=hue, marker="o", markersize=2, label=method.replace("_", " ")
        )
    ax.set_xlabel("% of features masked")
    ax.set_ylabel("probability of the answer")
    ax.set_title(f"Masking what explanations name: {found.name}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2)
