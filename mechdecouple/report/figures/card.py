"""The structure card: both models side by side on one page."""

from __future__ import annotations

import dataclasses

from mechdecouple.report.figures import contrasts, gate, robustness
from mechdecouple.report.figures.layers import layer_panel
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.figures.similarity import similarity_map
from mechdecouple.report.view import View

_LAYERS = ("ccgp", "erasure_residual", "coding_overlap", "participation_ratio")


def panels(view: View) -> list[Panel]:
    scores, difference = gate.panels(view)
    noise = robustness.panels(view)[:1]
    maps = [similarity_map("cka"), similarity_map("functional_cka")]
    layers = [layer_panel(metric) for metric in _LAYERS]
    row = [dataclasses.replace(p, weight=1.0, height=lambda _: 1.9) for p in (scores, difference, *noise)]
    return [*row, *layers, *maps, *contrasts.panels(view)]


SHEET = Sheet(
    "card",
    panels,
    "The structure of both models on one page: performance and its paired difference against the margin of equality, "
    "answers under activation noise; generalisation over contexts, what one erasure leaves, overlap of concepts and "
    "directions in use, layer by layer with 95 % bands (functional: of what the answers depend on); similarity of all"
    " pairs of layers, of the whole and of what the answers depend on; and every primary difference in units of its "
    "margin.",
)
