"""Structure of one model at its hook points, as replicates that pair with those of another model on the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from mechdecouple.activations import Activations
from mechdecouple.compare.gradients import Gradients
from mechdecouple.compare.labels import Labels
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.structural import Measured, measure
from mechdecouple.compare.subject import Subject
from mechdecouple.compare.units import measure_units
from mechdecouple.compare.verdict import Contrast
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure import (
    CCGP,
    CODING_OVERLAP,
    ERASURE_RESIDUAL,
    PARTICIPATION_RATIO,
    PROBE_ACCURACY,
)

PRIMARY = (CCGP, ERASURE_RESIDUAL, CODING_OVERLAP, PARTICIPATION_RATIO)
RECIPE_BOUND = (CODING_OVERLAP, PARTICIPATION_RATIO)
"""Metrics in which two runs of one recipe were seen to differ by more than the margin."""
READABLE = 0.6
"""Within-context probe accuracy from which a concept counts as present; else failing to generalise is no fracture."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inside:
    """Structure of one model: (metric, hook point, concept) -> what was measured."""

    found: Mapping[tuple[str, str, str], Measured]

    def get(self, metric: Metric, hook_point: str, concept: str = "") -> Replicates | None:
        """The replicates; None where the metric was not measured or is undefined."""
        one = self.found.get((metric.name, hook_point, concept))
        values = None if one is None else one.replicates
        return values if values is not None and np.isfinite(values.value) else None

    def reason(self, metric: Metric, hook_point: str, concept: str = "") -> str:
        one = self.found.get((metric.name, hook_point, concept))
        return "" if one is None else one.reason

    def measurements(self, model: str, position: str) -> list[Measurement]:
        rows = []
        for (name, hook_point, concept), one in self.found.items():
            values = self.get(one.metric, hook_point, concept)
            if values is None:
                estimate = Estimate.undefined(one.reason or "undefined on these rows", direction=one.metric.direction)
            else:
                estimate = values.estimate(one.metric, null=one.null)
            rows.append(
                Measurement(
                    metric=name,
                    family=one.metric.family,
                    estimate=estimate,
                    model=model,
                    hook_point=hook_point,
                    position=position,
                    concept=concept,
                )
            )
        return rows


def measure_inside(
    acts: Activations,
    used: Mapping[str, np.ndarray],
    points: Sequence[str],
    labels: Labels,
    subject: Subject | None,
    gradients: Gradients | None,
) -> Inside:
    """Every measure of structure at each hook point: of the activations, of the part of them that the answers depend
    on (``used``: hook point -> [n, k]), and unit by unit; recomputed without each block of groups."""
    found = {}
    for point in points:
        parts = [measure(acts[point], labels), measure_units(subject, gradients, point)]
        if point in used:
            parts.append(one.functional() for one in measure(used[point], labels) if one.replicates is not None)
        for one in chain.from_iterable(parts):
            found[one.metric.name, point, one.concept] = one
    return Inside(found)


def contrasts(
    a: Inside, b: Inside, sites: Sequence[Site], active: Mapping[Site, bool], labels: Labels
) -> list[Contrast]:
    """The primary structure metrics of A against B, averaged over the hook points that the answer depends on in both
    models and, for concept metrics, over the concepts that can be read in both."""
    return [_contrast(metric, a, b, sites, active, labels) for metric in PRIMARY]


def readable(inside: Inside, hook_point: str, concept: str) -> bool:
    """Whether the concept can be read within contexts here at all."""
    found = inside.get(PROBE_ACCURACY, hook_point, concept)
    return found is not None and found.interval()[0] > READABLE


def _contrast(
    metric: Metric, a: Inside, b: Inside, sites: Sequence[Site], active: Mapping[Site, bool], labels: Labels
) -> Contrast:
    live = [site for site in sites if active[site]]
    if not live:
        return Contrast(metric, None, reason="no hook point looked at has an effect on the answers of both models")
    of_concepts = metric in (CCGP, ERASURE_RESIDUAL)
    cells = []
    for site in live:
        for concept in labels.concepts if of_concepts else [""]:
            left, right = a.get(metric, site.a, concept), b.get(metric, site.b, concept)
            if left is None or right is None:
                continue
            if of_concepts and not (readable(a, site.a, concept) and readable(b, site.b, concept)):
                continue
            cells.append((site, concept))
    if not cells:
        reasons = [a.reason(metric, s.a, c) for s in live for c in (labels.concepts if of_concepts else [""])]
        reason = next((r for r in reasons if r), "")
        if of_concepts and labels.concepts and labels.context is not None:
            reason = "no concept can be read within contexts in both models at the same depth"
        return Contrast(metric, None, reason=reason or "the task declares no concepts")
    in_a, in_b = [(s.a, c) for s, c in cells], [(s.b, c) for s, c in cells]
    n_sites, concepts = len({site for site, _ in cells}), sorted({concept for _, concept in cells if concept})
    over = f"mean over {n_sites} hook point{'s' * (n_sites > 1)}"
    if concepts:
        means = [
            [summary(inside, metric, [cell for cell in own if cell[1] == concept]).value for concept in concepts]
            for inside, own in ((a, in_a), (b, in_b))
        ]
        named = (f"{concept} {x:.3f} / {y:.3f}" for concept, x, y in zip(concepts, *means, strict=True))
        over += f" of {', '.join(named)}"
    return Contrast.between(
        metric,
        summary(a, metric, in_a),
        summary(b, metric, in_b),
        over=over,
        cells=tuple(cells),
        needs_seeds=metric in RECIPE_BOUND,
    )


def summary(inside: Inside, metric: Metric, cells: Sequence[tuple[str, str]]) -> Replicates:
    """The mean of a metric over cells (hook point, concept)."""
    found = [inside.get(metric, point, concept) for point, concept in cells]
    return Replicates.mean([one for one in found if one is not None])
