"""Parts: both models side by side, their stream upwards, each part as dark as the answer depends on it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import Table

WIDTH = 6.9
"""Inches that the drawing of two models is laid out for."""
_SHADES = colormaps["Greys"]
_BOX, _WHOLE, _GAP, _BAR = 1.24, 0.8, 0.22, 0.13
"""Inches: a box, its part for all heads together, between it and the stream, the bar of shades."""
_TALL, _BETWEEN = 0.24, 0.2
"""Inches: one line of boxes, and the room of a row around its lines."""
_MOST, _LEAST = 7.5, 0.12
"""Inches: the rows of a deep model are squeezed into the first; lines lower than the second are drawn without words."""
_THICK = 9.0
"""Points of a line that carries all of the answer."""
_READS = "#9A9A9A"
_ROLES = {"pattern": "patterns", "attention": "heads", "mlp": "MLP"}
_SIDE = {"pattern": -1, "head pattern": -1, "attention": -1, "head": -1, "mlp": 1}
"""Which side of the stream a kind of part branches off to; the others stand in it."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part as it is drawn: its name, kind and head, where it stands, and its share (NaN: not taken out)."""

    name: str
    kind: str
    head: int | None
    block: int | None
    depth: float
    share: float


@dataclasses.dataclass
class Row:
    """Parts at one height: those that branch off, and the way past them."""

    boxes: list[Part] = dataclasses.field(default_factory=list)
    skip: Part | None = None

    @property
    def side(self) -> int:
        """-1: they branch off to the left, 1: to the right, 0: they stand in the stream."""
        return _SIDE.get(self.boxes[0].kind, 0) if self.boxes else 0

    @property
    def lines(self) -> int:
        """How many lines of boxes stand over each other."""
        if self.side:
            return len({_line(p) for p in self.boxes})
        return len(self.boxes) if len({p.depth for p in self.boxes}) > 1 else 1


def parts_of(parts: Table, model: str) -> list[Part]:
    """A model's parts from the table of parts, without those that lie at several places."""
    return [
        Part(r.component, r.kind, _head(r.component, r.kind), _block(r.hook_point), float(r.depth), float(r.share))
        for r in parts[(parts.model == model) & ~parts.component.str.startswith("all ")].itertuples()
    ]


def draw_parts(models: Mapping[str, Sequence[Part]], ax: Axes) -> None:
    """One or two models side by side, from what they read (below) to the answer (above).

    A box is as dark, and the line that leaves it as thick, as the share of the answer that depends on the part.
    """
    drawn = {name: rows_of(parts) for name, parts in models.items()}
    top = _top(drawn.values())
    width = breadth(len(drawn))
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(-0.42, top + 0.5)
    for which, (name, rows) in enumerate(drawn.items()):
        _model(ax, name, rows, (which + 0.5) * width / len(drawn), top, which)
    untested = any(not np.isfinite(p.share) for parts in models.values() for p in parts)
    _scale(ax, width / 2, -0.36, untested)


def breadth(n_models: int) -> float:
    """Inches that the drawing is broad: that of one model has its scale to hold, too."""
    return WIDTH if n_models > 1 else 0.65 * WIDTH


def height(models: Mapping[str, Sequence[Part]]) -> float:
    """Inches that the drawing takes."""
    return _top([rows_of(parts) for parts in models.values()]) + 0.92


def rows_of(parts: Sequence[Part]) -> list[Row]:
    """The rows of a model from below: what it reads, then block by block attention and MLP, or what comes by depth."""
    rows: dict[tuple[float, float], Row] = {}
    for part in parts:
        row = rows.setdefault(_place(part), Row())
        if part.kind == "skip" and part.block is not None:
            row.skip = part
        else:
            row.boxes.append(part)
    return [rows[place] for place in sorted(rows)]


def _place(part: Part) -> tuple[float, float]:
    """Order from below: in a block attention comes first, then the MLP; parts outside of blocks come by depth."""
    if part.kind in ("embedding", "input"):
        return (-1.0, float(part.kind == "embedding"))
    if part.block is None:
        return (0.0, part.depth)
    late = part.kind == "mlp" or (part.kind in ("skip", "units", "latents") and _passes_mlp(part))
    return (float(part.block), 0.5 if late else 0.0)


def _passes_mlp(part: Part) -> bool:
    return "mlp" in part.name.lower()


def _head(name: str, kind: str) -> int | None:
    found = re.search(r"H(\d+)", name) if kind in ("head pattern", "head") else None
    return int(found[1]) if found else None


def _block(hook_point: str) -> int | None:
    found = re.match(r"blocks\.(\d+)\.", hook_point)
    return int(found[1]) if found else None


def _line(part: Part) -> int:
    """Over which other line of its row a box stands: patterns below what the heads give."""
    return 0 if part.kind in ("pattern", "head pattern", "mlp") else 1


def _height(row: Row) -> float:
    return _BETWEEN + _TALL * max(1, row.lines)


def _top(models: Iterable[Sequence[Row]]) -> float:
    return min(_MOST, max(sum(map(_height, rows)) for rows in models))


def _model(ax: Axes, name: str, rows: Sequence[Row], x: float, top: float, which: int) -> None:
    stretch = top / sum(map(_height, rows))
    tall = _TALL * min(1.0, stretch)
    y = 0.0
    for row in rows:
        step = _height(row) * stretch
        _stream(ax, row, x, y, step)
        (_branch if row.side else _inside)(ax, row, x, y, step, tall)
        y += step
    ax.annotate(
        "", (x, top + 0.16), (x, top), arrowprops={"arrowstyle": "-|>", "color": _READS, "linewidth": 1.2},
        annotation_clip=False,
    )  # fmt: skip
    ax.text(x, top + 0.18, "answer", ha="center", va="bottom", color=GREY)
    shown = name if len(name) <= 40 else f"{name[:24]}…{name[-15:]}"
    ax.text(x, top + 0.36, shown, ha="center", va="bottom", fontweight="bold", fontsize=8)
    ax.plot([x - 0.036 * len(shown) - 0.12], [top + 0.42], MARKERS[which], color=COLOURS[which], clip_on=False)


def _stream(ax: Axes, row: Row, x: float, y: float, step: float) -> None:
    """The way past a row's boxes: as thick as the answer depends on it, thin and dotted where that is not measured."""
    share = row.skip.share if row.skip else np.nan
    if np.isfinite(share):
        ax.plot([x, x], [y, y + step], color=_line_shade(share), linewidth=_thick(share),
                solid_capstyle="butt", zorder=1)  # fmt: skip
        side = -row.side or 1
        if step >= _LEAST:
            ax.text(x + side * 0.11, y + step / 2, f"skip {_number(share)}", ha="left" if side > 0 else "right",
                va="center", fontsize=7)  # fmt: skip
    else:
        ax.plot([x, x], [y, y + step], color=_READS, linewidth=0.9, zorder=1)


def _branch(ax: Axes, row: Row, x: float, y: float, step: float, tall: float) -> None:
    """Boxes beside the stream, with a line from it below and one back to it above."""
    side, lines = row.side, row.lines
    near = x + side * _GAP
    left = near if side > 0 else near - _BOX
    low = y + (step - tall * lines) / 2
    given = _given(row)
    middle_low, middle_high = low + tall / 2, low + tall * (lines - 0.5)
    if lines > 1:
        ax.plot([x, near], [middle_low, middle_low], color=_READS, linewidth=0.9, zorder=1)
    else:
        ax.plot([x, x + side * _GAP / 2, near], [y + 0.02, y + 0.02, middle_low - 0.04], color=_READS, linewidth=0.9,
                zorder=1)  # fmt: skip
    if np.isfinite(given):
        ax.annotate(
            "", (x, middle_high), (near, middle_high), annotation_clip=False, zorder=1,
            arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": _line_shade(given),
                        "linewidth": 0.5 + 0.35 * _thick(given)},
        )  # fmt: skip
    for line in range(lines):
        own = [p for p in row.boxes if _line(p) == line] if lines > 1 else row.boxes
        _cells(ax, own, left, low + line * tall, _BOX, tall)
    block = row.boxes[0].block
    if block is not None:
        end = left - 0.05 if side < 0 else left + _BOX + 0.05
        ax.text(end, low + lines * tall / 2, f"L{block}", ha="right" if side < 0 else "left", va="center", color=GREY)


def _given(row: Row) -> float:
    """The share of what a branch gives back to the stream: of all its heads, or of its MLP."""
    found = {p.kind: p.share for p in row.boxes if p.head is None}
    return found.get("attention", found.get("mlp", next(iter(found.values()), np.nan)))


def _inside(ax: Axes, row: Row, x: float, y: float, step: float, tall: float) -> None:
    """Boxes in the stream itself, side by side; where they are narrow, what tells them apart stands below them."""
    wide = (1.6, 2.3, 2.8)[min(len(row.boxes), 5) // 2]
    each, low = wide / len(row.boxes), y + (step - tall) / 2
    narrow = each < 0.65
    for i, part in enumerate(row.boxes):
        left = x - wide / 2 + i * each
        _box(ax, part, left, low, each - 0.03 * (len(row.boxes) > 1), tall, label=not narrow)
        if narrow and tall >= _LEAST:
            words = part.name.split()[-1][: max(2, int(each / 0.07))]
            ax.text(left + each / 2, low - 0.015, words, ha="center", va="top", color=GREY, fontsize=7)
    if narrow and tall >= _LEAST:
        kind = row.boxes[0].name.split()[0]
        ax.text(x - wide / 2 - 0.05, low + tall / 2, kind[:9], ha="right", va="center", color=GREY)


def _cells(ax: Axes, parts: Sequence[Part], left: float, low: float, wide: float, tall: float) -> None:
    """One line of a branch: the whole kind, then head by head."""
    whole, heads = [p for p in parts if p.head is None], [p for p in parts if p.head is not None]
    heads.sort(key=lambda p: p.head or 0)
    reach = wide if not heads else min(_WHOLE, wide) if whole else 0.0
    for i, part in enumerate(whole):
        _box(ax, part, left + i * reach / len(whole), low, reach / len(whole), tall)
    each = (wide - reach) / max(1, len(heads))
    for i, part in enumerate(heads):
        _box(ax, part, left + reach + i * each, low, each, tall, label=False)


def _box(ax: Axes, part: Part, left: float, low: float, wide: float, tall: float, label: bool = True) -> None:
    known = bool(np.isfinite(part.share))
    shade = _SHADES(_shade(part.share)) if known else "white"
    ax.add_patch(Rectangle((left, low), wide, tall, facecolor=shade, edgecolor=GREY, linewidth=0.6,
                           hatch="" if known else "////", zorder=2))  # fmt: skip
    if tall < _LEAST:
        return
    look: dict[str, Any] = {"va": "center_baseline", "fontsize": 7, "zorder": 3}
    look |= {"color": "white" if known and _shade(part.share) > 0.5 else "black"}
    look |= {} if known else {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6}}
    middle = low + tall / 2
    if label:
        words = _ROLES.get(part.kind, part.name)
        room = max(3, int((wide - 0.3) / 0.062))
        ax.text(left + 0.05, middle, words if len(words) <= room else f"{words[: room - 1]}…", ha="left", **look)
    if known and (label or wide >= 0.2):
        at, side = (left + wide - 0.05, "right") if label else (left + wide / 2, "center")
        ax.text(at, middle, _number(part.share), ha=side, **look)


def _scale(ax: Axes, x: float, y: float, untested: bool) -> None:
    """The bar that says what the shades mean."""
    steps, wide = 11, 1.1
    x = x - 0.5 if untested else x
    for i in range(steps):
        ax.add_patch(Rectangle((x - 0.1 + i * wide / steps, y), wide / steps, _BAR, facecolor=_SHADES(i / 12),
                               edgecolor="none"))  # fmt: skip
    ax.add_patch(Rectangle((x - 0.1, y), wide, _BAR, facecolor="none", edgecolor=GREY, linewidth=0.6))
    ax.text(x - 0.22, y + _BAR / 2, "share of the answer   0", ha="right", va="center")
    ax.text(x - 0.1 + wide + 0.06, y + _BAR / 2, "1", ha="left", va="center")
    if untested:
        at = x + wide + 0.4
        ax.add_patch(Rectangle((at, y), 0.22, _BAR, facecolor="white", edgecolor=GREY, linewidth=0.6, hatch="////"))
        ax.text(at + 0.28, y + _BAR / 2, "not taken out", ha="left", va="center")


def _shade(share: float) -> float:
    return float(np.clip(share, 0, 1)) * 10 / 12


def _line_shade(share: float) -> Any:
    """Thin lines are never so light that they vanish: their width tells the share."""
    return _SHADES(0.35 + 0.6 * _shade(share))


def _thick(share: float) -> float:
    return 0.6 + _THICK * float(np.clip(share, 0, 1))


def _number(share: float) -> str:
    if not np.isfinite(share):
        return "–"
    return f"{share:.2f}".removeprefix("0").replace("-0.", "−.")
