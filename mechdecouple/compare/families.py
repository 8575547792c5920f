"""What is measured on a pair, family by family: contrasts that may be flagged, and every measurement beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mechdecouple import beliefs, structure
from mechdecouple.compare import robustness
from mechdecouple.compare.belief import belief_contrasts
from mechdecouple.compare.calibration import compare_calibration
from mechdecouple.compare.features import compare_features
from mechdecouple.compare.inside import contrasts
from mechdecouple.compare.layerwise import layerwise
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair, Side
from mechdecouple.compare.subject import ABLATION_EFFECT, Subject
from mechdecouple.compare.verdict import Contrast, Verdict
from mechdecouple.results import Estimate, Measurement

NOISE_SITES = 3
"""Hook points at which noise is added; each costs a read of the sampled items for every scale and draw."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """Contrasts by the verdict they belong to, and measurements."""

    contrasts: dict[str, list[Contrast]]
    rows: list[Measurement]


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


def measure_similarity(pair: Pair, progress: bool) -> Findings:
    """Debiased linear CKA of all hook points of A with all of B, on identical rows."""
    points_a, points_b = (list(dict.fromkeys(points)) for points in (pair.a.points, pair.b.points))
    matrix = structure.cka_matrix(
        [pair.a.structural[p] for p in points_a],
        [pair.b.structural[p] for p in points_b],
        pair.a.labels.groups,
        n_blocks=pair.a.config.blocks,
        n_permutations=pair.a.config.permutations,
        seed=pair.a.config.seed,
    )
    place = {
        "metric": "cka",
        "family": "similarity",
        "model": pair.a.name,
        "model_b": pair.b.name,
        "position": pair.a.acts.position,
    }
    rows = [
        Measurement(**place, hook_point=a, hook_point_b=b, estimate=matrix.estimate(i, j))
        for i, a in enumerate(points_a)
        for j, b in enumerate(points_b)
    ]
    return Findings({}, rows)


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
    found, rows = compare_features(pair, progress)
    return Findings({"sae": [found]}, rows)


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


MEASURES: dict[str, Callable[[Pair, bool], Findings]] = {
    "structure": measure_structure,
    "similarity": measure_similarity,
    "robustness": measure_robustness,
    "sae": measure_features,
    "beliefs": measure_beliefs,
}


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


def similarity_verdict(pair: Pair, rows: list[Measurement]) -> Verdict:
    """How alike the two represent the items, in words. CKA has no margin, so it describes and never flags."""
    at = {(row.hook_point, row.hook_point_b): row.estimate for row in rows}
    found = [(site, at[site.a, site.b]) for site in pair.sites]
    found = [(site, e) for site, e in found if np.isfinite(e.value)]
    if not found:
        return Verdict(
            "similarity", "pair", None, "Similarity is not compared: activations are constant at every hook point."
        )
    values = [e.value for _, e in found]
    site, low = min(found, key=lambda pair_: pair_[1].value)
    # At zero the interval is degenerate: there p says whether anything is shared.
    lowest = f"{low.value:.3f}, p = {low.p:.2g}" if low.p > 0.05 else str(low)
    unrelated = sum(e.p > 0.05 for _, e in found)
    caution = f"At {unrelated} of {len(found)} it is not told apart from unrelated representations (by p). "
    sentence = (
        f"At paired hook points their debiased linear CKA averages {np.mean(values):.3f} and is lowest at {site.a} "
        f"({lowest}). {caution if unrelated else ''}CKA is blind to what the answer uses: high similarity is no proof "
        "of one organisation, and low similarity no proof of two."
    )
    return Verdict("similarity", "pair", False, sentence, tuple(rows))
