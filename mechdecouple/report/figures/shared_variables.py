"""Shared variables: how well one model is driven by the other, and where answers follow a swapped concept."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.grids import Grid, draw_grid
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.view import Table, View, place, shorten

STITCHED, FOLLOWS = "stitched_accuracy", "interchange_accuracy"
_CELL = 0.26
"""Inches a cell is high."""
_MOST_CELLS = 14
_BESIDE = (
    ("fresh weights", "control: fresh {}"), ("answer alone", "control: answer alone"), ("itself", "ceiling: {} itself")
)  # fmt: skip
"""Context of the rows that hold a control or the ceiling, and how the line is called."""


def stitching_grid(rows: Table, source: str, target: str, letters: tuple[str, str]) -> Grid:
    """How well the target answers from the source's activations: the source's hook points as rows, the target's as
    columns; above them both controls and the ceiling.

    Args:
        rows: measurements of ``STITCHED``; letters: how source and target are called.
    """
    own = rows[(rows.model == target) & (rows.model_b == source)]
    driven = own[own.context == "driven"]
    here, there = tuple(dict.fromkeys(driven.hook_point_b)), tuple(dict.fromkeys(driven.hook_point))
    values, low, null = (_pivot(driven, "hook_point_b", "hook_point", c, here, there) for c in ("value", "low", "null"))
    beside = []
    for (context, name), letter in zip(_BESIDE, (letters[0], "", letters[1]), strict=True):
        line = own[own.context == context].drop_duplicates("hook_point").set_index("hook_point").value
        if len(line):
            beside.append((name.format(letter), line.reindex(list(there)).to_numpy(float)))
    return Grid(values, shorten(here), shorten(there), low <= null, tuple(beside))


def draw_stitching(grid: Grid, ax: Axes, letters: tuple[str, str], where: str) -> None:
    source, target = letters
    draw_grid(grid, ax, title=f"{source} drives {target}", xlabel=f"into {target}: {where}", ylabel=f"from {source}",
              bar=f"accuracy of {target}")  # fmt: skip


def interchange_grid(rows: Table) -> Grid:
    """How often a model's answers follow a swapped concept: concepts (at single tokens, too) as rows, hook points as
    columns.

    Args:
        rows: measurements of ``FOLLOWS`` of one model.
    """
    words = {p: "" if p in ("all", "last") else f", token {p}" for p in rows.position}
    at = rows.assign(row=rows.concept + rows.position.map(words))
    at = at[at.groupby("row").value.transform(lambda v: v.notna().any())]
    points = by_depth(at.hook_point)
    concepts = list(dict.fromkeys(at.concept))
    named = tuple(sorted(dict.fromkeys(at.row), key=lambda row: concepts.index(row.partition(", token ")[0])))
    named = named[:_MOST_CELLS][::-1]
    values, low, null = (_pivot(at, "row", "hook_point", c, named, points) for c in ("value", "low", "null"))
    return Grid(values, named, shorten(points), low <= null)


def draw_interchange(grid: Grid, ax: Axes, title: str, where: str) -> None:
    draw_grid(grid, ax, title=title, xlabel=where, ylabel="swapped concept", bar="answers that follow")


def by_depth(points: Iterable[str]) -> tuple[str, ...]:
    """Hook points in the order of the blocks they lie in; others as they come."""
    order = ("hook_embed", "hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")

    def place(point: str) -> tuple[int, int]:
        block, name = re.match(r"blocks\.(\d+)\.", point), point.rpartition(".")[2]
        return (int(block[1]) if block else -1, order.index(name) if name in order else 0)

    return tuple(sorted(dict.fromkeys(points), key=place))


def _pivot(
    rows: Table, index: str, columns: str, value: str, here: tuple[str, ...], there: tuple[str, ...]
) -> np.ndarray:
    once = rows.drop_duplicates([index, columns])
    return (
        once.pivot(index=index, columns=columns, values=value)
        .reindex(index=list(here), columns=list(there))
        .to_numpy(float)
    )


def _stitching(name: str, source: int) -> Panel:
    letters = "AB"[source], "AB"[1 - source]

    def rows(view: View) -> Table:
        every = view.pairs(STITCHED)
        return every[(every.model == view.names[1 - source]) & (every.model_b == view.names[source])]

    def grid(view: View) -> Grid:
        return stitching_grid(rows(view), view.names[source], view.names[1 - source], letters)

    def missing(view: View) -> str:
        return "" if np.isfinite(rows(view).value.astype(float)).any() else view.reason(STITCHED)

    return Panel(
        name,
        lambda view, ax: draw_stitching(grid(view), ax, letters, place(tuple(dict.fromkeys(rows(view).hook_point)))),
        missing,
        height=lambda view: 0.9 + _CELL * (1 if missing(view) else min(grid(view).lines, _MOST_CELLS)),
        models=False,
    )


def _interchange(name: str, which: int) -> Panel:
    def rows(view: View) -> Table:
        return view.rows(FOLLOWS, view.names[which])

    def missing(view: View) -> str:
        return "" if np.isfinite(rows(view).value.astype(float)).any() else view.reason(FOLLOWS)

    return Panel(
        name,
        lambda view, ax: draw_interchange(
            interchange_grid(rows(view)), ax, f"{'AB'[which]}: {view.names[which]}"[:40],
            place(tuple(dict.fromkeys(rows(view).hook_point))),
        ),
        missing,
        height=lambda view: 1.0 + _CELL * (1 if missing(view) else interchange_grid(rows(view)).lines),
        models=False,
    )  # fmt: skip


STITCHING_SHEET = Sheet(
    "stitching",
    lambda view: [_stitching("stitching_a", 0), _stitching("stitching_b", 1)],
    "Accuracy of each model when it is driven by the other's activations through the best affine map, fitted on other "
    "values of the inputs. Above each map, what it is held against: driven by the other model with fresh weights, by "
    "the name of the right answer alone, and by itself, which is the most that a map can reach. Cells struck through "
    "are not told apart from the better control.",
    columns=2,
)
INTERCHANGE_SHEET = Sheet(
    "interchange",
    lambda view: [_interchange("interchange_a", 0), _interchange("interchange_b", 1)],
    "Share of items whose answer follows when a concept's directions are given another item's coordinates. Cells "
    "struck through are not told apart from random directions, as many.",
    columns=2,
)
