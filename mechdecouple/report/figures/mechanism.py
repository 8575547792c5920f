"""Mechanism: which parts carry the answer, the signature of either model, and what one knows of the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.compare.mechanism import DISTANCE, SEED, chosen
from mechdecouple.report.figures import evidence as pieces
from mechdecouple.report.figures import parts as drawing
from mechdecouple.report.figures.dots import LINE, Dot, Line, draw_lines, seed_marks
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import METRICS, title
from mechdecouple.report.metrics_of_mechanism import ALIKE, SIGNATURE
from mechdecouple.report.view import Table, View
from mechdecouple.structure.mechanism.evidence import AXES

_MOST = 24
"""Parts in the picture of shares: those on which the answers depend most."""
_NUMBERED = ("head", "head pattern", "units", "latents")
"""Kinds whose numbering says nothing: the first head of one model is not that of another."""
_EDGES = 0.75
"""Inches above and below the lines of a panel."""


def _of_axis(view: View, axis: str) -> Table:
    found = view.comparison.evidence
    return found[found.axis == axis] if len(found) else found


def _room(view: View) -> int:
    return max(*(len(_of_axis(view, axis)) for axis in AXES), 2)


def _evidence(axis: str) -> Panel:
    def draw(view: View, ax: Axes) -> None:
        verdict = view.comparison.verdict(axis)
        said = "" if verdict is None else {True: ": other", False: ": same", None: ": cannot tell"}[verdict.flagged]
        pieces.draw_evidence(_of_axis(view, axis), ax, f"{axis.capitalize()}{said}", _room(view))

    return Panel(
        f"evidence_{axis}",
        draw,
        lambda view: "" if len(_of_axis(view, axis)) else view.reason(DISTANCE.name),
        height=lambda view: _EDGES + pieces.LINE * _room(view),
        models=False,
        legend=lambda view: pieces.marks(view.comparison.evidence),
    )


def _parts(view: View) -> Table:
    return chosen(view.comparison.parts)


def _no_parts(view: View) -> str:
    return "" if len(_parts(view)) else view.reason("causal_share")


def _drawn(view: View) -> dict[str, list[drawing.Part]]:
    return {name: drawing.parts_of(_parts(view), name) for name in view.names}


def share_lines(parts: Table, names: tuple[str, ...]) -> list[Line]:
    """The parts on which the answers depend most, from what is read to the answer; like parts on one line."""
    table = parts[np.isfinite(parts.share.astype(float)) & ~parts.kind.isin(_NUMBERED)]
    table = table if len(table) else parts[np.isfinite(parts.share.astype(float))]
    most = set(table.groupby("component", sort=False).share.max().nlargest(_MOST).index)
    kept = table[table.component.isin(most)].drop_duplicates("component")
    whole = kept.component.str.startswith("all ")
    kept = kept.assign(depth=kept.depth.where(~whole, 2.0)).sort_values("depth", kind="stable")
    ends = "share", "share_low", "share_high"
    return [Line(c, _both(table[table.component == c], names, *ends)) for c in kept.component[::-1]]


def _both(
    rows: Table, names: tuple[str, ...], value: str = "value", low: str = "low", high: str = "high"
) -> tuple[Dot | None, Dot | None]:
    found: list[Dot | None] = []
    for name in names:
        own = rows[rows.model == name]
        row = own.iloc[0] if len(own) else None
        found.append(None if row is None else Dot(float(row[value]), float(row[low]), float(row[high])))
    return (found[0], found[1] if len(found) > 1 else None)


def draw_shares(parts: Table, names: tuple[str, ...], ax: Axes) -> None:
    draw_lines(
        share_lines(parts, names), ax, title="Share of the answer that depends on a part", limits=(0.0, 1.0),
        xlabel="share (0: nothing depends on it, 1: all)",
    )  # fmt: skip


PARTS = Panel(
    "parts",
    lambda view, ax: drawing.draw_parts(_drawn(view), ax),
    _no_parts,
    wide=True,
    height=lambda view: drawing.height(_drawn(view)) if not _no_parts(view) else 1.0,
    models=False,
)
SHARES = Panel(
    "shares",
    lambda view, ax: draw_shares(_parts(view), view.names, ax),
    _no_parts,
    wide=True,
    height=lambda view: _EDGES + LINE * (len(share_lines(_parts(view), view.names)) if not _no_parts(view) else 2),
)


def signature_lines(table: Table, names: tuple[str, ...], scale: Callable[[str], bool]) -> list[Line]:
    """The values of the signature of either model whose metric's range passes ``scale``, in the order of telling."""
    lines = []
    for metric in SIGNATURE:
        own = table[(table.metric == metric) & (table.model_b == "")]
        if not scale(METRICS[metric].range):
            continue
        for concept in dict.fromkeys(own.concept):
            rows = own[own.concept == concept]
            seeds = [tuple(rows[rows.context == SEED.format(side)].value.dropna().astype(float)) for side in "ab"]
            null = rows.null.to_numpy(float)
            null = null[np.isfinite(null)]
            dots = _both(rows[rows.context == ""], names)
            if any(dot is not None and math.isfinite(dot.value) for dot in dots):
                words = f"{title(metric)}{': ' if concept else ''}{concept}"
                lines.append(Line(words, dots, (seeds[0], seeds[1]), float(null[0]) if len(null) else math.nan))
    return lines


def alike_lines(table: Table) -> list[Line]:
    """How far two models agree in what is read off their answers."""
    rows = table[table.metric.isin(ALIKE) & np.isfinite(table.value.astype(float))]
    return [
        Line(title(r.metric), (None, None), null=float(r.null), pair=Dot(float(r.value), float(r.low), float(r.high)))
        for r in rows.itertuples()
    ]


def bounded(range_: str) -> bool:
    """Whether a metric ends at 1, as shares and cosines do, and no count."""
    return ", 1]" in range_


def _signature(name: str, common: bool) -> Panel:
    def lines(view: View, common: bool = common) -> list[Line]:
        own = signature_lines(view.table, view.names, lambda r: bounded(r) == common)
        return [*own, *alike_lines(view.table)] if common and own else own

    def draw(view: View, ax: Axes) -> None:
        draw_signature(lines(view), ax, common, room=max(len(lines(view, True)), len(lines(view, False))))

    return Panel(
        name,
        draw,
        lambda view: "" if lines(view) else view.reason(*SIGNATURE),
        weight=1.6 if common else 1.0,
        height=lambda view: _EDGES + LINE * max(len(lines(view)), 4),
        legend=lambda view: seed_marks(lines(view)),
    )


def draw_signature(lines: list[Line], ax: Axes, common_scale: bool = True, room: int = 0) -> None:
    """Values that have a common scale, or those that have not; ``room``: lines that there is room for."""
    if common_scale:
        low = min([0.0, *(dot.low for line in lines for dot in line.dots if dot and math.isfinite(dot.low))])
        draw_lines(lines, ax, title="Signature", limits=(max(low, -1.0), 1.0), xlabel="value", room=room)
    else:
        draw_lines(lines, ax, title="Effective numbers", limits=None, xlabel="number (1: one alone)", room=room)


EVIDENCE_SHEET = Sheet(
    "evidence",
    lambda view: [_evidence(axis) for axis in AXES],
    "Every piece of evidence on the route and on the variables of the two models, as their distance with its 95 % "
    "interval. Grey band: what counts as alike; line with an arrow: from here on it counts as apart; triangle: how far "
    "two seeds of one recipe lie apart, below which nothing counts as apart. Filled diamond: the piece says that the "
    "two are not the same; hollow circle: that they are; cross: nothing.",
    columns=2,
)
SHEET = Sheet(
    "mechanism",
    lambda view: [PARTS, SHARES],
    "Above: both models from what they read (below) to the answer (above). The darker a part, and the thicker the line "
    "that leaves it, the more of the answer depends on it, as its activations are replaced by those of other items; "
    "hatched parts were not taken out. Below: the same shares with 95 % intervals, where they are largest.",
)
SIGNATURE_SHEET = Sheet(
    "signature",
    lambda view: [_signature("signature_values", True), _signature("signature_numbers", False)],
    "What the answers of both models say of how they are computed, whatever the basis of their activations, with 95 % "
    "intervals; ticks: further seeds of either recipe.",
)
