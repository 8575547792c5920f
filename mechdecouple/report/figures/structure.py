"""Structure: how each model organises what it represents, layer by layer."""

from __future__ import annotations

from mechdecouple.report.figures.layers import layer_panel
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.view import View

METRICS = (
    "ccgp",
    "erasure_residual",
    "coding_overlap",
    "participation_ratio",
    "probe_accuracy",
    "ablation_effect",
)
FURTHER = (
    "parallelism",
    "coding_energy_left",
    "additive_share",
    "ccgp_concepts",
    "parallelism_concepts",
    "erasure_collateral",
    "effective_rank",
    "intrinsic_dimension",
    "neural_collapse",
    "dci_disentanglement",
    "dci_completeness",
)


def panels(view: View) -> list[Panel]:
    return [layer_panel(metric) for metric in METRICS]


def further(view: View) -> list[Panel]:
    return [layer_panel(metric) for metric in FURTHER]


SHEET = Sheet(
    "structure",
    panels,
    "Structure of both models over their hook points, with 95 % bands. Dashed grey: the level expected without any "
    "effect. Dash-dotted (functional): of the part of the activations that the answers depend on. Hollow markers: hook "
    "points that the answers do not depend on, kept out of verdicts.",
)
FURTHER_SHEET = Sheet(
    "structure_further",
    further,
    "Further structural measures over hook points, with 95 % bands. Dashed grey: the level expected without any "
    "effect. Dash-dotted (functional): of the part of the activations that the answers depend on.",
)
