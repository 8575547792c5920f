"""Panel: one picture in one Axes. Sheet: the panels of one idea, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.report.style import COLOURS, COLUMN, MARKERS, PAGE, Drawing, new_figure, say, styled
from mechdecouple.report.view import View

Draw = Callable[[View, Axes], None]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        name: how ``plot`` calls it; draw: draws it into an Axes.
        missing: the empty string, or why there is nothing to draw.
        weight: its width beside the other panels of its row; height: in inches.
        wide: whether it takes a row of its own; models: whether its colours stand for the two models.
        legend: what other marks stand for, told once above a sheet.
    """

    name: str
    draw: Draw
    missing: Callable[[View], str]
    weight: float = 1.0
    height: Callable[[View], float] = lambda _: 2.1
    wide: bool = False
    models: bool = True
    legend: Callable[[View], Sequence[Artist]] = lambda _: []

    def into(self, view: View, ax: Axes) -> None:
        """Draw, or say why not."""
        why = self.missing(view)
        if why:
            say(ax, why)
        else:
            self.draw(view, ax)


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A figure: panels of one idea, at most ``columns`` in a row.

    Attributes:
        caption: what the figure shows, in a sentence; also its text for those who cannot see it.
    """

    name: str
    panels: Callable[[View], list[Panel]]
    caption: str
    columns: int = 3

    def missing(self, view: View) -> str:
        """Empty where at least one panel can be drawn; else why none can."""
        reasons = [panel.missing(view) for panel in self.panels(view)]
        return "" if not all(reasons) else reasons[0]

    def figure(self, view: View) -> Drawing:
        """Draw the panels that have data; where none has, say why."""
        panels = self.panels(view)
        shown = [p for p in panels if not p.missing(view)] or panels[:1]
        rows = _rows(shown, self.columns)
        heights = [max(panel.height(view) for panel in row) for row in rows]
        narrow = len(shown) == 1 and not shown[0].wide
        # a last row that is not full keeps the columns of the others
        full = all(len(row) == len(rows[0]) for row in rows[:-1])
        even = full and not any(p.wide for p in shown) and len({p.weight for p in shown}) == 1
        with styled():
            figure = new_figure(COLUMN if narrow else PAGE, sum(heights) + 0.25)
            # rows of unlike panels are laid out each by itself, so that the labels of one do not squeeze another
            parts = (
                [figure] * len(rows)
                if even
                else np.ravel(figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False))
            )
            whole = figure.add_gridspec(len(rows), len(rows[0]), height_ratios=heights) if even else None
            for i, (row, part) in enumerate(zip(rows, parts, strict=True)):
                grid, line = whole, i
                if grid is None:
                    grid, line = part.add_gridspec(1, len(row), width_ratios=[p.weight for p in row]), 0
                for j, panel in enumerate(row):
                    panel.into(view, part.add_subplot(grid[line, j]))
            if not self.missing(view):
                own = any(p.models for p in shown)
                handles = [model_handle(i, name) for i, name in enumerate(view.names)] if own else []
                others = {str(h.get_label()): h for panel in shown for h in panel.legend(view)}
                if handles := [*handles, *others.values()]:
                    figure.legend(handles=handles, loc="outside upper center", ncols=2 if narrow else 4 if own else 6)
        return figure


def _rows(panels: list[Panel], columns: int) -> list[list[Panel]]:
    rows: list[list[Panel]] = []
    for panel in panels:
        if panel.wide or not rows or rows[-1][0].wide or len(rows[-1]) == columns:
            rows.append([])
        rows[-1].append(panel)
    return rows


def model_handle(which: int, name: str) -> Line2D:
    """The entry of model A (0) or B (1) in a legend."""
    name = name if len(name) <= 32 else f"{name[:20]}…{name[-11:]}"
    return Line2D([], [], color=COLOURS[which], marker=MARKERS[which], label=name)
