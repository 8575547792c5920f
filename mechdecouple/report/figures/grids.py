"""Grids: a value for every pair of places, with what it is held against: a control below, a ceiling above."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from mechdecouple.report.style import GREY

_MOST_NUMBERS = 9
_APART = 0.25
"""Cells between a grid and the lines beside it."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Values in [0, 1] over rows and columns.

    Attributes:
        values: [r, c], NaN where undefined; rows, columns: labels of either, from below and from the left.
        struck: [r, c] cells that are not told apart from their control.
        beside: further lines of one value a column, drawn apart above the grid: name -> [c].
    """

    values: Float[np.ndarray, "r c"]
    rows: Sequence[str]
    columns: Sequence[str]
    struck: Bool[np.ndarray, "r c"] | None = None
    beside: tuple[tuple[str, Float[np.ndarray, " c"]], ...] = ()

    @property
    def lines(self) -> float:
        """Height in cells."""
        return len(self.rows) + (len(self.beside) + _APART if self.beside else 0)


def draw_grid(grid: Grid, ax: Axes, *, title: str, xlabel: str, ylabel: str, bar: str = "") -> None:
    """Bright is high; every cell has its number where there are not too many; struck-through cells are no better than
    their control."""
    n_rows, n_columns = grid.values.shape
    parts = [(grid.values, 0.0)]
    parts += [(line[None], n_rows + _APART + i) for i, (_, line) in enumerate(grid.beside)]
    image = None
    for values, bottom in parts:
        extent = (-0.5, n_columns - 0.5, bottom - 0.5, bottom + len(values) - 0.5)
        shown = ax.imshow(np.clip(values, 0, 1), vmin=0, vmax=1, cmap="cividis", origin="lower", extent=extent)
        image = image or shown
        if max(n_columns, n_rows) <= _MOST_NUMBERS:
            for (i, j), value in np.ndenumerate(values):
                ax.text(j, bottom + i, cell(value), ha="center", va="center", fontsize=7, color=ink(value))
    for i, j in np.argwhere(grid.struck) if grid.struck is not None else ():
        ax.plot([j - 0.4, j + 0.4], [i - 0.4, i + 0.4], color=ink(float(grid.values[i, j])), linewidth=0.6, alpha=0.8)
    ax.set_facecolor("white")
    ax.set_xlim(-0.5, n_columns - 0.5)
    ax.set_ylim(-0.5, grid.lines - 0.5)
    ax.set_aspect("equal" if max(n_rows, n_columns) > 2 else "auto")
    names = [*grid.rows, *(name for name, _ in grid.beside)]
    places = [*range(n_rows), *(n_rows + _APART + i for i in range(len(grid.beside)))]
    step = -(-n_rows // 16)
    kept = [i for i in range(len(names)) if i >= n_rows or i % step == 0]
    ax.set_yticks([places[i] for i in kept], [_short(names[i]) for i in kept])
    step = -(-n_columns // 16)
    ax.set_xticks(range(0, n_columns, step), [_short(c) for c in grid.columns[::step]])
    if max(map(len, grid.columns), default=0) > 3:
        ax.tick_params(axis="x", labelrotation=40)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    figure = ax.get_figure()
    if bar and image is not None and figure is not None:
        scale = figure.colorbar(image, cax=ax.inset_axes((1.04, 0, 0.05, 1)), ticks=[0, 0.5, 1])
        scale.outline.set_visible(False)
        scale.ax.tick_params(length=2)
        scale.set_label(bar)


def cell(value: float) -> str:
    """A value in [0, 1] as it is written into a cell."""
    if np.isnan(value):
        return "–"
    return "1" if 0.995 <= value < 1.005 else f"{value:.2f}".replace("-0.", "−.").removeprefix("0")


def ink(value: float) -> str:
    if np.isnan(value):
        return GREY
    return "white" if value < 0.55 else "black"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}"
