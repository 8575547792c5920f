"""Base against tuned: where mean states and weights of two models with one ancestor changed, and what it does."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import Table, View, shorten

_MAX_TEXT = 17
_OUTSIDE = "outside"
_ORDER = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.in", "mlp.out")
_MISSING = "No shared ancestor was found, so the two models have no basis in common."


def _missing(metric: str):
    def missing(view: View) -> str:
        rows = view.pairs(metric)
        if not len(view.pairs("weight_change")):
            return _MISSING
        return "" if np.isfinite(rows.value).any() else view.reason(metric)

    return missing


def _states(metric: str, name: str, label: str) -> Panel:
    def draw(view: View, ax: Axes) -> None:
        rows = view.pairs(metric)
        x, value = np.arange(len(rows)), rows.value.to_numpy(float)
        low, high = (rows[end].to_numpy(float) for end in ("low", "high"))
        ax.axhline(0, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        ax.fill_between(x, low, high, color=GREY, alpha=0.2, linewidth=0)
        ax.plot(x, value, "-D", color=GREY)
        if metric == "mean_cosine":
            ax.set_ylim(min(-0.05, np.nanmin(low) - 0.05), 1.05)
        else:
            ax.margins(y=0.12)
        ax.set_xlim(-0.3, len(rows) - 0.7)
        _ticks(ax, shorten(tuple(rows.hook_point)))
        ax.set_title(name)
        ax.set_ylabel(label)
        ax.set_xlabel("hook point")

    return Panel(metric, draw, _missing(metric), models=False)


def _grafts(metric: str, name: str, label: str) -> Panel:
    def draw(view: View, ax: Axes) -> None:
        rows = view.pairs(metric)
        blocks = tuple(dict.fromkeys(rows.hook_point))
        ax.axhline(0, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        for which, model in enumerate(view.names):
            own = rows[rows.model == model].set_index("hook_point").reindex(list(blocks))
            x = np.arange(len(blocks)) + 0.13 * (2 * which - 1)
            value, low, high = (own[c].to_numpy(float) for c in ("value", "low", "high"))
            ax.vlines(x, low, high, color=COLOURS[which], linewidth=1)
            ax.plot(x, value, MARKERS[which], color=COLOURS[which])
        _ticks(ax, [block.removeprefix("blocks.") for block in blocks])
        ax.margins(y=0.12)
        ax.set_xlim(-0.6, len(blocks) - 0.4)
        ax.set_title(name)
        ax.set_ylabel(label)
        ax.set_xlabel("block taken from the other model")

    return Panel(metric, draw, _missing(metric))


def _heat(view: View, ax: Axes) -> None:
    """Relative change of every part's weights; the number is that of the directions it is spread over."""
    change, rank = (_placed(view.pairs(m)) for m in ("weight_change", "weight_change_rank"))
    kinds, columns = _axes(list(change))
    grid = np.full((len(kinds), len(columns)), np.nan)
    for (kind, column), value in change.items():
        grid[kinds.index(kind), columns.index(column)] = value
    top = max(1e-9, float(np.nanmax(grid)))
    image = ax.imshow(grid, vmin=0, vmax=top, cmap="cividis", aspect="auto")
    ax.set_facecolor("white")
    step = -(-len(columns) // 24)
    ax.set_xticks(range(0, len(columns), step), [columns[i] for i in range(0, len(columns), step)])
    ax.set_yticks(range(len(kinds)), [k if len(k) < 22 else f"{k[:10]}…{k[-10:]}" for k in kinds])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if len(columns) <= _MAX_TEXT:
        for (kind, column), value in rank.items():
            at = change[kind, column]
            if np.isfinite(value):
                ax.text(
                    columns.index(column), kinds.index(kind), f"{value:.1f}" if value < 99.5 else f"{value:.0f}",
                    ha="center", va="center", fontsize=7, color="black" if at > 0.55 * top else "white",
                )  # fmt: skip
    ax.set_title("Change of weights (number: directions it is spread over)")
    if columns != [""]:
        ax.set_xlabel("block")
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=ax, shrink=0.9, pad=0.02, fraction=0.05)
    bar.outline.set_visible(False)
    bar.set_label("of their norm")


def _placed(rows: Table) -> dict[tuple[str, str], float]:
    """(kind of part, block) -> value."""
    found = {}
    for part, value in zip(rows.hook_point, rows.value.astype(float), strict=True):
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", part)
        found[(block[2], block[1]) if block else (part, _OUTSIDE)] = value
    if not any(column != _OUTSIDE for _, column in found):
        return {(kind, ""): value for (kind, _), value in found.items()}
    return found


def _axes(cells: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Kinds of parts (rows): what stands before the blocks, attention, MLP, the rest of a block, what stands behind."""
    numbers = sorted({column for _, column in cells if column.isdecimal()}, key=int)
    kinds = list(dict.fromkeys(kind for kind, _ in cells))
    inside = list(dict.fromkeys(kind for kind, column in cells if column.isdecimal()))
    ordered = [k for k in _ORDER if k in inside] + [k for k in inside if k not in _ORDER]
    outside = [kind for kind in kinds if kind not in inside]
    first = [kind for kind in outside if "embed" in kind and not kind.startswith("un")] if inside else outside
    rows = [*first, *ordered, *(kind for kind in outside if kind not in first)]
    return rows, [_OUTSIDE, *numbers] if numbers else [""]


def _ticks(ax: Axes, labels: list[str]) -> None:
    step = -(-len(labels) // 12)
    ax.set_xticks(range(0, len(labels), step), [labels[i] for i in range(0, len(labels), step)])
    if max(map(len, labels)) > 3 and sum(map(len, labels[::step])) > 18:
        ax.tick_params(axis="x", labelrotation=40)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")


def _heat_height(view: View) -> float:
    if not len(view.pairs("weight_change")):
        return 2.1
    return 0.8 + 0.17 * len(_axes(list(_placed(view.pairs("weight_change"))))[0])


def panels(view: View) -> list[Panel]:
    return [
        _states("mean_shift", "Shift of the mean state", "of the rms spread"),
        _states("mean_cosine", "Cosine of mean states", "cosine"),
        Panel("weight_change", _heat, _missing("weight_change"), wide=True, height=_heat_height, models=False),
        _grafts("graft_effect", "Effect of a grafted block", "answers moved"),
        _grafts("graft_performance", "Performance with it", "change of performance"),
        _grafts("graft_closed", "Way to the other closed", "share"),
    ]


SHEET = Sheet(
    "ancestry",
    panels,
    "Two models with one ancestor. Above: shift and cosine of their mean states with 95 % bands. Middle: norm of the "
    "change of each part's weights over their norm, with the number of directions the change is spread over. Below: "
    "what each model's answers make of a block taken from the other (colour: the model that was changed), with 95 % "
    "intervals.",
)
