"""plot: one function that draws any result."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechdecouple.activations import Activations
from mechdecouple.behavior import Answers, CalibrationCurve
from mechdecouple.beliefs import Erasure, GapReport, Steering, SubspaceAblation, Trajectories, Trajectory
from mechdecouple.compare import Comparison, ManyComparison
from mechdecouple.compare.trends import Trends
from mechdecouple.errors import InputError
from mechdecouple.faithfulness import Faithfulness
from mechdecouple.report.figures import (
    ancestry,
    beliefs,
    calibration,
    card,
    contrasts,
    controls,
    differences,
    faithfulness,
    features,
    gap,
    gate,
    mechanism,
    overview,
    robustness,
    shared_variables,
    similarity,
    structure,
    use,
    weights,
)
from mechdecouple.report.figures.bands import draw_calibration
from mechdecouple.report.figures.causal import draw_erasure, draw_steering, draw_subspace
from mechdecouple.report.figures.crosscoder import draw_crosscoder, draw_crosscoder_evaluation, draw_exclusivity
from mechdecouple.report.figures.evaluation import (
    draw_absorption,
    draw_evaluation,
    draw_perturbation,
    draw_probing,
    draw_spliced,
    draw_splitting,
)
from mechdecouple.report.figures.found import (
    SHEETS as OF_MECHANISM,
)
from mechdecouple.report.figures.found import (
    MechanismView,
    draw_direction,
    draw_interchange,
    draw_profile,
    draw_signature,
    draw_stitching,
    figure_interchange,
    figure_profile,
    figure_signature,
    figure_stitching,
    whole_sheet,
)
from mechdecouple.report.figures.many import draw_many
from mechdecouple.report.figures.matching import draw_matching, draw_sharing
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.figures.single import draw_activations, draw_answers
from mechdecouple.report.figures.training import draw_training
from mechdecouple.report.figures.trajectory import draw_trajectory, figure_trajectory
from mechdecouple.report.figures.trends import draw_trends
from mechdecouple.report.style import COLUMN, new_figure, styled
from mechdecouple.report.view import View
from mechdecouple.sae import (
    Absorption,
    Crosscoder,
    CrosscoderEvaluation,
    Evaluation,
    Exclusivity,
    Matching,
    Sharing,
    SparseAutoencoder,
    SparseProbing,
    Spliced,
    Splitting,
    TargetedPerturbation,
)
from mechdecouple.structure.mechanism.compare import MechanismComparison
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.signatures import Signature
from mechdecouple.structure.mechanism.stitched import Direction, Stitching
from mechdecouple.usefulness import RiskCoverage, Simulatability

SHEETS: dict[str, Sheet] = {
    sheet.name: sheet
    for sheet in (
        overview.SHEET,
        card.SHEET,
        contrasts.SHEET,
        gate.SHEET,
        structure.SHEET,
        structure.FURTHER_SHEET,
        differences.SHEET,
        controls.SHEET,
        similarity.SHEET,
        robustness.SHEET,
        weights.SHEET,
        ancestry.SHEET,
        mechanism.EVIDENCE_SHEET,
        mechanism.SHEET,
        mechanism.SIGNATURE_SHEET,
        shared_variables.STITCHING_SHEET,
        shared_variables.INTERCHANGE_SHEET,
        faithfulness.SHEET,
        features.SHEET,
        features.LATENTS_SHEET,
        beliefs.SHEET,
        calibration.SHEET,
        use.SHEET,
    )
}

_SINGLE: dict[type, Callable[[Any, Axes], None]] = {
    Activations: draw_activations,
    Answers: draw_answers,
    CalibrationCurve: draw_calibration,
    SparseAutoencoder: draw_training,
    Evaluation: draw_evaluation,
    Spliced: draw_spliced,
    SparseProbing: draw_probing,
    Splitting: draw_splitting,
    Absorption: draw_absorption,
    TargetedPerturbation: draw_perturbation,
    Matching: draw_matching,
    Sharing: draw_sharing,
    Crosscoder: draw_crosscoder,
    CrosscoderEvaluation: draw_crosscoder_evaluation,
    Exclusivity: draw_exclusivity,
    GapReport: gap.draw_gap,
    Steering: draw_steering,
    Erasure: draw_erasure,
    SubspaceAblation: draw_subspace,
    Trajectory: draw_trajectory,
    Trajectories: draw_trajectory,
    CausalProfile: draw_profile,
    Signature: draw_signature,
    Stitching: draw_stitching,
    Direction: draw_direction,
    InterchangeMap: draw_interchange,
    Faithfulness: faithfulness.draw_faithfulness,
    Simulatability: use.draw_simulatability,
    RiskCoverage: use.draw_risk_coverage,
}

_WHOLE: dict[type, Callable[[Any], Figure]] = {
    GapReport: gap.figure,
    Trajectory: figure_trajectory,
    Trajectories: figure_trajectory,
    CausalProfile: figure_profile,
    Signature: figure_signature,
    Stitching: figure_stitching,
    InterchangeMap: figure_interchange,
}
"""Results that have several panels where they are given a figure of their own."""


def plot(result: Any, kind: str | None = None, ax: Axes | None = None) -> Figure | Axes:
    """Draw a result.

    Args:
        result: a Comparison; a ManyComparison; Activations (their norms), Answers (reliability of their confidence); of
            sparse autoencoders one itself (its training), and what ``mechdecouple.sae`` finds: an Evaluation, Spliced,
            SparseProbing, Splitting, Absorption, TargetedPerturbation, Matching, Sharing, Crosscoder, Exclusivity; of
            beliefs a GapReport, Trajectories, Steering, an Erasure or a SubspaceAblation; of mechanism a
            MechanismComparison, a CausalProfile, a Signature, Stitching or one Direction of it, an InterchangeMap; of a
            run of checkpoints its Trends; a Faithfulness (masking curves); of what a user can do with a model its
            Simulatability or RiskCoverage.
        kind: for a Comparison, what to draw: a sheet of panels (``card``, ``gate``, ``contrasts``, ``structure``,
            ``structure_further``, ``differences``, ``controls``, ``similarity``, ``robustness``, ``weights``,
            ``ancestry``, ``evidence``, ``mechanism``, ``signature``, ``stitching``, ``interchange``, ``faithfulness``,
            ``sae``, ``latents``, ``beliefs``, ``calibration``, ``use``; ``overview`` when absent) or one panel of
            a sheet (``ccgp``, ``cka``, ``gap``, ``parts``, ``reliability``, ``shift`` …). For a ManyComparison one
            panel (``tree``, ``map``, or the name of a metric); all of them when absent. For a MechanismComparison one
            of the sheets ``evidence``, ``mechanism``, ``signature``, ``stitching``, ``interchange``; all of them when
            absent. For Trends one metric; performance and the metrics that move most clearly when absent.
        ax: draw one panel into this Axes.

    Returns:
        the Axes where one was given, else a new Figure (not of pyplot: a notebook shows it, and ``savefig`` keeps its
        style).

    Raises:
        InputError: a result or kind that is not known, or a sheet of several panels for one ``ax``.
    """
    if isinstance(result, Comparison):
        return _comparison(View(result), SHEETS, "overview" if kind is None else kind, ax)
    if isinstance(result, MechanismComparison):
        view = MechanismView(result)
        sheets = {"all": whole_sheet(view), **{sheet.name: sheet for sheet in OF_MECHANISM}}
        return _comparison(view, sheets, "all" if kind is None else kind, ax)
    if isinstance(result, ManyComparison):
        return draw_many(result, kind, ax)
    if isinstance(result, Trends):
        return draw_trends(result, kind, ax)
    draw = next((f for type_, f in _SINGLE.items() if isinstance(result, type_)), None)
    if draw is None:
        known = ", ".join(
            ["Comparison", "ManyComparison", *(t.__name__ for t in _SINGLE), "MechanismComparison", "Trends"]
        )
        raise InputError(f"plot cannot draw a {type(result).__name__}; it draws {known}")
    if kind is not None:
        raise InputError(f"kind {kind!r}: a {type(result).__name__} is drawn in one way; leave kind out")
    if ax is None and type(result) in _WHOLE:
        return _WHOLE[type(result)](result)
    with styled():
        if ax is not None:
            draw(result, ax)
            return ax
        figure = new_figure(COLUMN, 2.3)
        draw(result, figure.add_subplot())
        return figure


def _comparison(view: View, sheets: Mapping[str, Sheet], kind: str, ax: Axes | None) -> Figure | Axes:
    panels = {panel.name: panel for sheet in sheets.values() for panel in sheet.panels(view)}
    # a sheet of one panel goes by one name: the panel itself
    if kind in sheets and not (ax is not None and kind in panels):
        sheet = sheets[kind]
        if ax is None:
            return sheet.figure(view)
        inside = ", ".join(p.name for p in sheet.panels(view))
        raise InputError(
            f"kind {kind!r} has several panels and needs a figure of its own: leave ax out, or take one of {inside}"
        )
    if kind not in panels:
        names = list(dict.fromkeys([*sheets, *panels]))
        close = difflib.get_close_matches(kind, names, n=1)
        raise InputError(
            f"kind {kind!r} is unknown{f' (did you mean {close[0]}?)' if close else ''}; there are {', '.join(names)}"
        )
    return _panel(view, panels[kind], ax)


def _panel(view: View, panel: Panel, ax: Axes | None) -> Figure | Axes:
    if ax is None:
        return Sheet(panel.name, lambda _: [panel], "").figure(view)
    with styled():
        panel.into(view, ax)
        marks = panel.legend(view)
        if marks:
            ax.legend(handles=marks)
    return ax
