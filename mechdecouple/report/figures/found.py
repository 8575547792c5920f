"""Figures of mechanism that stand alone: of a comparison of mechanisms, and of each of the results it is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechdecouple.compare.mechanism import chosen, kept
from mechdecouple.report.figures import mechanism, parts
from mechdecouple.report.figures import shared_variables as shared
from mechdecouple.report.figures.dots import LINE
from mechdecouple.report.figures.panel import Sheet
from mechdecouple.report.style import COLUMN, PAGE, new_figure, say, styled
from mechdecouple.report.view import Table, View, place
from mechdecouple.results import Measurement, frame
from mechdecouple.structure.mechanism.compare import MechanismComparison
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.signatures import Signature
from mechdecouple.structure.mechanism.stitched import Direction, Stitching

SHEETS = (
    mechanism.EVIDENCE_SHEET,
    mechanism.SHEET,
    mechanism.SIGNATURE_SHEET,
    shared.STITCHING_SHEET,
    shared.INTERCHANGE_SHEET,
)
"""What is drawn of a comparison of mechanisms, in the order of telling."""


class MechanismView(View):
    """A comparison of mechanisms as the panels ask for it."""

    def __init__(self, found: MechanismComparison) -> None:
        found = named_apart(found)
        self.names = (found.model_a, found.model_b)
        own = kept(found)
        verdicts = {verdict.family: verdict for verdict in own.verdicts}
        facts = SimpleNamespace(parts=own.parts, evidence=own.evidence, verdict=verdicts.get)
        self.comparison = facts  # pyright: ignore[reportAttributeAccessIssue]
        self.table = _table(own.rows)


def named_apart(found: MechanismComparison) -> MechanismComparison:
    """With (A) and (B) behind the names where both models have the same one, as copies have."""
    if found.model_a != found.model_b:
        return found
    a, b = (f"{found.model_a} ({letter})" for letter in "AB")
    stitching, swapped = found.stitching, found.interchange
    if stitching is not None:
        forward, backward = (
            dataclasses.replace(one, source=source, target=target)
            for one, source, target in ((stitching.forward, a, b), (stitching.backward, b, a))
        )
        stitching = dataclasses.replace(stitching, forward=forward, backward=backward)
    if swapped is not None:
        one, other = (
            dataclasses.replace(m, model=n, cells=tuple(dataclasses.replace(c, model=n) for c in m.cells))
            for m, n in zip(swapped.maps, (a, b), strict=True)
        )
        swapped = dataclasses.replace(swapped, maps=(one, other))
    profiles, signatures = found.profiles, found.signatures
    return dataclasses.replace(
        found, model_a=a, model_b=b, stitching=stitching, interchange=swapped,
        profiles=(dataclasses.replace(profiles[0], name=a), dataclasses.replace(profiles[1], name=b)),
        signatures=(dataclasses.replace(signatures[0], model=a), dataclasses.replace(signatures[1], model=b)),
    )  # fmt: skip


def whole_sheet(view: View) -> Sheet:
    """Everything in one figure."""
    made = [panel for sheet in SHEETS for panel in sheet.panels(view)]
    return Sheet("mechanism", lambda _: made, "", columns=2)


def draw_profile(found: CausalProfile, ax: Axes) -> None:
    """The drawing of one model."""
    parts.draw_parts({found.name: parts.parts_of(chosen(found.frame()), found.name)}, ax)


def figure_profile(found: CausalProfile) -> Figure:
    """The drawing above the shares with their intervals."""
    table = chosen(found.frame())
    drawn = {found.name: parts.parts_of(table, found.name)}
    lines = mechanism.share_lines(table, (found.name,))
    with styled():
        heights = [parts.height(drawn), 0.8 + LINE * len(lines)]
        figure = new_figure(parts.breadth(1), sum(heights) + 0.1)
        for part, draw in zip(
            np.ravel(figure.subfigures(2, 1, height_ratios=heights, squeeze=False)),
            (lambda ax: parts.draw_parts(drawn, ax), lambda ax: mechanism.draw_shares(table, (found.name,), ax)),
            strict=True,
        ):
            draw(part.add_subplot())
    return figure


def draw_signature(found: Signature, ax: Axes) -> None:
    """The values of one model that have a common scale."""
    table = _table(found.measurements())
    mechanism.draw_signature(mechanism.signature_lines(table, (found.model,), mechanism.bounded), ax)


def figure_signature(found: Signature) -> Figure:
    """All of its values, the numbers on scales of their own beside the others."""
    table = _table(found.measurements())
    common, own = (
        mechanism.signature_lines(table, (found.model,), lambda r, want=want: mechanism.bounded(r) == want)
        for want in (True, False)
    )
    room = max(len(common), len(own), 4)
    with styled():
        figure = new_figure(PAGE, 0.8 + LINE * room)
        left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
        mechanism.draw_signature(common, left, room=room)
        mechanism.draw_signature(own, right, common_scale=False, room=room)
    return figure


def draw_direction(found: Direction, ax: Axes) -> None:
    """One model driven by the other."""
    rows = _table(found.measurements())
    rows = rows[rows.metric == shared.STITCHED]
    grid = shared.stitching_grid(rows, found.source, found.target, (found.source, found.target))
    shared.draw_stitching(grid, ax, (found.source, found.target), place(found.target_points))


def draw_stitching(found: Stitching, ax: Axes) -> None:
    """A drives B; the other way round is ``found.backward``."""
    draw_direction(found.forward, ax)


def figure_stitching(found: Stitching) -> Figure:
    """Both ways."""
    lines = max(len(d.source_points) for d in found.directions) + 4
    with styled():
        figure = new_figure(PAGE, 1.0 + 0.26 * lines)
        for direction, ax in zip(found.directions, np.ravel(figure.subplots(1, 2)), strict=True):
            draw_direction(direction, ax)
    return figure


def draw_interchange(found: InterchangeMap, ax: Axes) -> None:
    """Where answers follow which concept."""
    rows = _table(found.measurements())
    rows = rows[rows.metric == shared.FOLLOWS]
    if not np.isfinite(rows.value).any():
        say(ax, " ".join(found.sentence(concept) for concept in found.concepts))
        return
    shared.draw_interchange(shared.interchange_grid(rows), ax, found.model, place(found.points))


def figure_interchange(found: InterchangeMap) -> Figure:
    with styled():
        figure = new_figure(COLUMN * 1.3, 1.2 + 0.26 * len({(c.concept, c.place.position) for c in found.cells}))
        draw_interchange(found, figure.add_subplot())
    return figure


def _table(rows: Iterable[Measurement]) -> Table:
    return frame(rows).astype(dict.fromkeys(("value", "low", "high", "null", "p"), float))
