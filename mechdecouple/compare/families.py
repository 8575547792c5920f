"""What is measured on a pair, family by family: contrasts that may be flagged, and every measurement beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mechdecouple import beliefs, structure
from mechdecouple.compare import robustness
from mechdecouple.compare.ancestry.rows import ancestry_rows
from mechdecouple.compare.belief import belief_contrasts
from mechdecouple.compare.calibration import compare_calibration
from mechdecouple.compare.controls import control_rows
from mechdecouple.compare.faithfulness import compare_faithfulness
from mechdecouple.compare.features import Features, feature_contrast, feature_rows, find_features
from mechdecouple.compare.inside import contrasts
from mechdecouple.compare.layerwise import layerwise
from mechdecouple.compare.mechanism import Mechanism, find_mechanism
from mechdecouple.compare.neurons import cluster_measurements
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair, Side
from mechdecouple.compare.similarity import similarities
from mechdecouple.compare.subject import ABLATION_EFFECT, Subject
from mechdecouple.compare.use import use_rows
from mechdecouple.compare.verdict import Contrast
from mechdecouple.compare.weights import ablation_measurements, weight_measurements
from mechdecouple.results import Estimate, Measurement

NOISE_SITES = 3
"""Hook points at which noise is added; each costs a read of the sampled items for every scale and draw."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """Contrasts by the verdict they belong to, measurements, and what some families find beyond: the dictionaries of
    the pair, how it comes to its answers, and what bounds the numbers."""

    contrasts: dict[str, list[Contrast]]
    rows: list[Measurement]
    features: Features | None = None
    mechanism: Mechanism | None = None
    notes: tuple[str, ...] = ()


def measure_structure(pair: Pair, progress: bool) -> Findings:
    """Geometry, fracture and entanglement at every hook point, and the effect of each hook point on the answers."""
    found = contrasts(pair.a.inside, pair.b.inside, pair.sites, pair.active, pair.a.labels)
    rows = [
        row
        for side in (pair.a, pair.b)
        for row in (*_effects(side), *side.inside.measurements(side.name, side.acts.position))
    ]
    rows += layerwise(pair.a.inside, pair.b.inside, pair.sites, pair.names, pair.a.acts.position)
    return Findings({"structure": found}, rows + [_difference(pair, c) for c in found])


def measure_controls(pair: Pair, progress: bool) -> Findings:
    """What probes read in control labels, in untrained copies, and in the embedding."""
    return Findings({}, control_rows(pair, progress))


def measure_similarity(pair: Pair, progress: bool) -> Findings:
    """Similarity of all hook points of A with all of B, by every measure, on identical rows."""
    return Findings({}, similarities(pair))


def measure_robustness(pair: Pair, progress: bool) -> Findings:
    """Noise tolerance at a few sites, and the shift split."""
    config, sites = pair.a.config, noise_sites(pair)
    rows: list[Measurement] = []
    found: list[Contrast] = []
    reason = _no_noise(pair, sites)
    if reason:
        found.append(Contrast(structure.NOISE_TOLERANCE, None, reason=reason))
    else:
        measured = [_noise(pair.a, [s.a for s in sites]), _noise(pair.b, [s.b for s in sites])]
        rows += [
            row for side in measured for x in side for row in robustness.noise_measurements(*x, pair.a.acts.position)
        ]
        found.append(robustness.tolerance_contrast(*measured))
    if pair.a.task.shift_mask.any():
        shifted, estimates = robustness.shift(pair.a.answers, pair.b.answers, pair.a.task, config.blocks, config.seed)
        rows += [
            Measurement(metric=shifted.metric.name, family="robustness", estimate=e, model=name)
            for name, e in zip(pair.names, estimates, strict=True)
        ]
        found.append(shifted)
    return Findings({"robustness": found}, rows + [_difference(pair, c) for c in found])


def measure_features(pair: Pair, progress: bool) -> Findings:
    """Sparse autoencoders at one site."""
    found = find_features(pair, progress)
    return Findings({"sae": [feature_contrast(found)]}, feature_rows(pair, found), found)


def measure_beliefs(pair: Pair, progress: bool) -> Findings:
    """Represented against expressed truth; nothing where the task has no truth."""
    a, b = pair.a.belief, pair.b.belief
    if a is None or b is None:
        return Findings({}, [])
    rows = [*beliefs.measurements(a), *beliefs.measurements(b), *beliefs.differences(a, b)]
    return Findings({"belief": belief_contrasts(a, b)}, rows)


def measure_calibration(pair: Pair, progress: bool) -> Findings:
    """Brier score and debiased calibration error on the gate's items."""
    config = pair.a.config
    found, rows = compare_calibration(
        pair.a.answers, pair.b.answers, pair.a.task, pair.names, config.blocks, config.seed
    )
    return Findings({"calibration": [found]}, [*rows, _difference(pair, found)])


def measure_weights(pair: Pair, progress: bool) -> Findings:
    """Noise on the weights, their curvature, clusters and what they serve, and ablation of units."""
    rows: list[Measurement] = []
    sites = noise_sites(pair)
    for side, points in ((pair.a, [site.a for site in sites]), (pair.b, [site.b for site in sites])):
        rows += cluster_measurements(side.model, side.config.seed)
        if side.subject is not None:
            rows += weight_measurements(side.subject, side.config.seed)
            rows += ablation_measurements(side.subject, points, side.acts.position, side.config.seed)
    return Findings({}, rows)


def measure_ancestry(pair: Pair, progress: bool) -> Findings:
    """Where two models with one ancestor differ; nothing where they have none in common."""
    return Findings({}, ancestry_rows(pair, progress))


def measure_mechanism(pair: Pair, progress: bool) -> Findings:
    """Which parts carry the answers, and over which variables."""
    found = find_mechanism(pair, progress)
    return Findings({}, found.rows, mechanism=found)


def measure_faithfulness(pair: Pair, progress: bool) -> Findings:
    """How well explanations of the answers tell what they depend on."""
    found, rows, notes = compare_faithfulness(pair)
    return Findings({"faithfulness": [found]}, [*rows, _difference(pair, found)], notes=notes)


def measure_use(pair: Pair, progress: bool) -> Findings:
    """What a user can do with either: foresee its answers, trust the surest of them, get more out of what it holds."""
    rows, notes = use_rows(pair)
    return Findings({}, rows, notes=notes)


MEASURES: dict[str, Callable[[Pair, bool], Findings]] = {
    "structure": measure_structure,
    "controls": measure_controls,
    "similarity": measure_similarity,
    "robustness": measure_robustness,
    "weights": measure_weights,
    "ancestry": measure_ancestry,
    "sae": measure_features,
    "beliefs": measure_beliefs,
    "mechanism": measure_mechanism,
    "faithfulness": measure_faithfulness,
    "use": measure_use,
}

JUDGED = ("structure", "robustness", "sae", "beliefs", "faithfulness")
"""Families that make contrasts, against which the spread of seeds is held; the others describe."""


def noise_sites(pair: Pair) -> list[Site]:
    """Up to ``NOISE_SITES`` sites spread over those that the answers of both models depend on."""
    live = [site for site in pair.sites if pair.active[site]]
    keep = np.unique(np.linspace(0, len(live) - 1, min(NOISE_SITES, len(live))).round().astype(int)) if live else []
    return [live[i] for i in keep]


def _noise(side: Side, points: list[str]) -> list[tuple[Subject, robustness.NoiseCurve]]:
    subject, gradients, seed = side.subject, side.gradients, side.config.seed
    assert subject is not None and gradients is not None
    return [(subject, robustness.noise_curve(subject, p, gradients.outputs[p], seed)) for p in points]


def _no_noise(pair: Pair, sites: list[Site]) -> str:
    """Why noise tolerance cannot be measured; empty where it can."""
    if pair.a.subject is None or pair.b.subject is None:
        return (
            pair.a.answers.reason or pair.b.answers.reason or "the task brings scores, so no answers can be disturbed"
        )
    if pair.a.answers.performance not in ("choice", "class"):
        return f"answers read as {pair.a.answers.unit} have no options whose logits say what the read-out uses"
    return "" if sites else "no hook point has an effect on the answers of both models"


def _effects(side: Side) -> list[Measurement]:
    place = {"metric": ABLATION_EFFECT.name, "family": "causal", "model": side.name, "position": side.acts.position}
    if side.untestable:
        return [Measurement(**place, hook_point=p, estimate=Estimate.undefined(side.untestable)) for p in side.points]
    return [
        Measurement(
            **place,
            hook_point=p,
            estimate=found.estimate(
                ABLATION_EFFECT, null=0.0, reason="" if side.active(p) else "inert: kept out of verdicts"
            ),
        )
        for p, found in side.effects.items()
    ]


def _difference(pair: Pair, contrast: Contrast, **place: str) -> Measurement:
    return Measurement(
        metric=contrast.metric.name,
        family=contrast.metric.family,
        estimate=contrast.estimate(),
        model=pair.a.name,
        model_b=pair.b.name,
        position=pair.a.acts.position,
        **place,
    )
