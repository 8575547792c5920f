"""The picture of the whole comparison: performance, what differs, similarity, and beliefs."""

from __future__ import annotations

import dataclasses

from mechdecouple.report.figures import beliefs, contrasts, gate, similarity, structure
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.view import View


def panels(view: View) -> list[Panel]:
    scores, difference = gate.panels(view)
    heat = similarity.similarity_map("cka")
    _, gap, _ = beliefs.panels(view)
    below = [p for p in (heat, structure.panels(view)[0], gap) if not p.missing(view)]
    return [
        scores,
        difference,
        *contrasts.panels(view),
        *(dataclasses.replace(p, height=lambda _: 2.4, weight=1.0) for p in below),
    ]


SHEET = Sheet(
    "overview",
    panels,
    "Performance of both models, their differences in units of each margin, similarity, generalisation over contexts, "
    "and beliefs.",
    columns=3,
)
