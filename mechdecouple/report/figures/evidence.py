"""Evidence: every piece on either axis, as a distance of the two models, against what counts as alike or as apart."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mechdecouple.report.style import BAND, GREY, say
from mechdecouple.report.view import Table

LINE = 0.2
"""Inches a line takes."""
SAYS = {"same": ("o", "white", "says same"), "other": ("D", "black", "says other"), "": ("x", GREY, "says nothing")}
_APART = "apart from here on"
_LONGEST = 30


def draw_evidence(pieces: Table, ax: Axes, title: str, room: int = 0) -> None:
    """One line a piece, from above.

    Args:
        pieces: columns evidence, distance, low, high, alike, apart, spread, says (``evidence_frame``).
        room: lines that there is room for.
    """
    if not len(pieces):
        say(ax, f"{title}: no piece of evidence was gathered.")
        return
    ends = pieces[["distance", "low", "high"]].to_numpy(float)
    known = ends[~(ends != ends).any(axis=1)]
    left, right = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    for at, row in enumerate(pieces.itertuples()):
        _bounds(ax, -at, row)
        if not math.isfinite(row.distance):
            ax.text(0.02, -at, "not measured", va="center", color=GREY, fontsize=7)
            continue
        marker, face, _ = SAYS[row.says]
        shade = "black" if row.says else GREY
        if math.isfinite(row.low):
            ax.plot([row.low, row.high], [-at, -at], color=shade, linewidth=1.1, zorder=2)
        ax.plot([row.distance], [-at], marker, markerfacecolor=face, markeredgecolor=shade, markersize=4.2, zorder=3)
    names = [n if len(n) <= _LONGEST else f"{n[:20]}…{n[-9:]}" for n in pieces.evidence]
    ax.set_yticks([-at for at in range(len(pieces))], names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-max(len(pieces), room) + 0.4, 0.6)
    ax.set_xlim(min(-0.03, left - 0.03), max(1.03, right + 0.03))
    ax.set_title(title)
    ax.set_xlabel("distance (0: alike, 1: nothing shared)")


def _bounds(ax: Axes, y: float, row) -> None:
    """Up to where a distance counts as alike, from where as apart, and how far two seeds of one recipe lie apart."""
    if not math.isfinite(row.distance):
        return
    if math.isfinite(row.alike):
        ax.barh(y, row.alike, height=0.78, color=BAND, linewidth=0, zorder=0)
    if math.isfinite(row.apart):
        ax.plot([row.apart] * 2, [y - 0.39, y + 0.39], color=GREY, linewidth=0.9, zorder=1)
        ax.plot([row.apart + 0.012], [y], ">", color=GREY, markersize=3, zorder=1)
    if math.isfinite(row.spread):
        ax.plot([row.spread], [y + 0.2], "v", color=GREY, markersize=3.5, zorder=1)


def marks(pieces: Table) -> list[Line2D | Patch]:
    """What the marks mean: those that are drawn."""
    if not len(pieces):
        return []
    drawn = pieces[pieces.distance.notna()]
    made: list[Line2D | Patch] = [
        Line2D([], [], linestyle="none", marker=marker, markerfacecolor=face, label=label,
               markeredgecolor="black" if said else GREY, markersize=4.2)
        for said, (marker, face, label) in SAYS.items() if said in set(drawn.says)
    ]  # fmt: skip
    if (drawn.alike > -math.inf).any():
        made.append(Patch(color=BAND, label="alike"))
    if (drawn.apart < math.inf).any():
        made.append(Line2D([], [], linestyle="none", marker=">", color=GREY, markersize=4, label=_APART))
    if drawn.spread.notna().any():
        made.append(Line2D([], [], linestyle="none", marker="v", color=GREY, markersize=4, label="between seeds"))
    return made
