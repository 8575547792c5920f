"""Dots: named values of two models beside each other, with their intervals and what other seeds give."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, say

LINE = 0.19
"""Inches a line takes."""
_APART = 0.17
_LONGEST = 42


@dataclasses.dataclass(frozen=True)
class Dot:
    """A value with its interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclasses.dataclass(frozen=True)
class Line:
    """One name, with the value of either model and those of further seeds, or one value of the pair; and its null."""

    name: str
    dots: tuple[Dot | None, Dot | None]
    seeds: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    null: float = math.nan
    pair: Dot | None = None


def draw_lines(
    lines: Sequence[Line], ax: Axes, *, title: str, xlabel: str, limits: tuple[float, float] | None, room: int = 0
) -> None:
    """One line a name, from above; ``room``: lines that there is room for."""
    if not lines:
        say(ax, f"{title}: nothing is defined here.")
        return
    apart = _APART if any(line.dots[1] or line.seeds[1] for line in lines) else 0.0
    for at, line in enumerate(lines):
        if at % 2:
            ax.axhspan(-at - 0.5, -at + 0.5, color="#F6F6F6", linewidth=0, zorder=-1)
        if math.isfinite(line.null):
            ax.plot([line.null] * 2, [-at - 0.4, -at + 0.4], color=GREY, linewidth=0.9, linestyle=":", zorder=1)
        if line.pair is not None:
            _dot(ax, line.pair, -at, "black", "D", limits)
        for which, (dot, seeds) in enumerate(zip(line.dots, line.seeds, strict=True)):
            y = -at + apart * (1 - 2 * which)
            ax.plot(seeds, [y] * len(seeds), "|", color=COLOURS[which], markersize=5, markeredgewidth=0.9, alpha=0.75)
            if dot is not None:
                _dot(ax, dot, y, COLOURS[which], MARKERS[which], limits)
    ax.set_yticks([-at for at in range(len(lines))], [_short(line.name) for line in lines])
    ax.set_ylim(-max(len(lines), room) + 0.4, 0.6)
    ax.tick_params(axis="y", length=0)
    if limits is not None:
        low, high = limits
        ax.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        if low < 0 < high:
            ax.axvline(0, color=LIGHT, linewidth=0.8, zorder=0)
    ax.set_title(title)
    ax.set_xlabel(xlabel)


def _dot(ax: Axes, dot: Dot, y: float, colour: str, marker: str, limits: tuple[float, float] | None) -> None:
    """A value, and its interval as far as the limits go."""
    if math.isfinite(dot.low):
        ends = np.clip([dot.low, dot.high], *(limits or (-math.inf, math.inf)))
        ax.plot(ends, [y, y], color=colour, linewidth=1.1, zorder=2)
    ax.plot([dot.value], [y], marker, color=colour, markersize=3.8, zorder=3)


def seed_marks(lines: Sequence[Line]) -> list[Line2D]:
    """What the marks beside the models' own stand for."""
    found: list[Any] = []
    if any(any(own) for line in lines for own in line.seeds):
        found.append(Line2D([], [], color=GREY, marker="|", linestyle="none", label="further seeds"))
    if any(line.pair for line in lines):
        found.append(Line2D([], [], color="black", marker="D", markersize=3.8, label="both models"))
    if any(math.isfinite(line.null) for line in lines):
        found.append(Line2D([], [], color=GREY, linestyle=":", label="null"))
    return found


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 10]}…{name[-9:]}"
