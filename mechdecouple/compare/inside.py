"""Structure of one model at its hook points, as replicates that pair with those of another model on the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mechdecouple import stats, structure
from mechdecouple.activations import Activations
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.verdict import Contrast
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure import (
    CCGP,
    CODING_ENERGY_LEFT,
    CODING_OVERLAP,
    EFFECTIVE_RANK,
    ERASURE_RESIDUAL,
    PARALLELISM,
    PARTICIPATION_RATIO,
    PROBE_ACCURACY,
)
from mechdecouple.tasks import Task

PRIMARY = (CCGP, ERASURE_RESIDUAL, CODING_OVERLAP, PARTICIPATION_RATIO)
RECIPE_BOUND = (CODING_OVERLAP, PARTICIPATION_RATIO)
"""Metrics in which two runs of one recipe were seen to differ by more than the margin."""
OVER_CONTEXTS = (CCGP, ERASURE_RESIDUAL, CODING_ENERGY_LEFT, PARALLELISM)
READABLE = 0.6
"""Within-context probe accuracy from which a concept counts as present; else failing to generalise is no fracture."""


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """What is known of the rows: concepts (name -> [n] 0/1, NaN unknown), context [n] or None, groups, blocks [n]."""

    concepts: dict[str, np.ndarray]
    context: np.ndarray | None
    groups: np.ndarray
    blocks: np.ndarray

    @classmethod
    def of(cls, task: Task, items: np.ndarray, n_blocks: int, seed: int) -> Labels:
        """The labels of the rows that belong to the task's ``items`` [n]; truth is a concept like any other."""
        named = dict(task.concepts)
        if task.truth is not None:
            named = {"truth": task.truth, **{k: v for k, v in named.items() if k != "truth"}}
        binary = {
            name: y[items] for name, y in named.items() if np.isin(y, (0.0, 1.0)).sum() + np.isnan(y).sum() == len(y)
        }
        usable = {name: y for name, y in binary.items() if len(np.unique(y[~np.isnan(y)])) == 2}
        groups = task.groups[items]
        context = None if task.context is None else task.context[items]
        return cls(usable, context, groups, stats.jackknife_blocks(groups, n_blocks, seed))

    @property
    def n_groups(self) -> int:
        return len(np.unique(self.groups))


def unmeasured(task: Task, labels: Labels) -> list[str]:
    """A sentence for each concept of the task that ``labels`` leave out."""
    named = dict(task.concepts) if task.truth is None else {**task.concepts, "truth": task.truth}
    found = []
    for name, y in named.items():
        if name not in labels.concepts:
            n_values = len(np.unique(y[~np.isnan(y)]))
            values = f"has {n_values} value{'s' * (n_values != 1)}" if n_values != 2 else "has two values"
            found.append(
                f"Concept {name!r} is not measured: it {values}, and the measures of structure take concepts that are "
                "0 in some of the items compared and 1 in others."
            )
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Inside:
    """Structure of one model: (metric, hook point, concept) -> replicates, and why others are undefined."""

    values: Mapping[tuple[str, str, str], Replicates]
    reasons: Mapping[tuple[str, str, str], str]

    def get(self, metric: Metric, hook_point: str, concept: str = "") -> Replicates | None:
        found = self.values.get((metric.name, hook_point, concept))
        return found if found is not None and np.isfinite(found.value) else None

    def measurements(self, model: str, position: str) -> list[Measurement]:
        metrics = {m.name: m for m in (*PRIMARY, *OVER_CONTEXTS, PROBE_ACCURACY, EFFECTIVE_RANK)}
        rows = []
        for (name, hook_point, concept), reason in self.reasons.items():
            found, metric = self.values.get((name, hook_point, concept)), metrics[name]
            if found is None or not np.isfinite(found.value):
                estimate = Estimate.undefined(reason or "undefined on these rows", direction=metric.direction)
            else:
                estimate = found.estimate(metric, null=NULLS.get(name, np.nan))
            rows.append(
                Measurement(
                    metric=name,
                    family=metric.family,
                    estimate=estimate,
                    model=model,
                    hook_point=hook_point,
                    position=position,
                    concept=concept,
                )
            )
        return rows


NULLS = {
    CCGP.name: 0.5,
    PROBE_ACCURACY.name: 0.5,
    ERASURE_RESIDUAL.name: 0.5,
    CODING_ENERGY_LEFT.name: 0.0,
    PARALLELISM.name: 0.0,
}


def measure_inside(acts: Activations, points: Sequence[str], labels: Labels) -> Inside:
    """Geometry, fracture and entanglement at each hook point, recomputed without each block of groups."""
    values: dict[tuple[str, str, str], Replicates] = {}
    reasons: dict[tuple[str, str, str], str] = {}
    for point in points:
        X = acts[point]
        for metric, of in (
            (PARTICIPATION_RATIO, structure.participation_ratio_jackknife),
            (EFFECTIVE_RANK, structure.effective_rank_jackknife),
        ):
            values[metric.name, point, ""] = of(X, labels.blocks, labels.n_groups)
            reasons[metric.name, point, ""] = "the activations are constant here, or there are too few rows"
        for metric, concept, replicates, reason in _by_concept(X, labels):
            reasons[metric.name, point, concept] = reason
            if replicates is not None:
                values[metric.name, point, concept] = replicates
    return Inside(values, reasons)


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
        reasons = [
            a.reasons.get((metric.name, s.a, c), "") for s in live for c in (labels.concepts if of_concepts else [""])
        ]
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
    return Replicates.mean([inside.values[metric.name, point, concept] for point, concept in cells])


def _by_concept(X: np.ndarray, labels: Labels):
    """(metric, concept, replicates or None, reason when undefined) for every metric that needs concepts."""
    names = list(labels.concepts)
    if not names:
        reason = "the task declares no concept with two classes (add concept_* columns or truth)"
        yield from ((metric, "", None, reason) for metric in (PROBE_ACCURACY, *OVER_CONTEXTS, CODING_OVERLAP))
        return
    Y = np.stack([labels.concepts[name] for name in names], axis=1)

    def run(statistic) -> Replicates:
        return stats.jackknife(statistic, labels.blocks, labels.n_groups)

    probe = structure.ProbeAccuracy(X, Y, labels.context, labels.groups)
    found = run(probe)
    yield from ((PROBE_ACCURACY, name, found[i], probe.reason) for i, name in enumerate(names))
    if labels.context is None or len(np.unique(labels.context)) < 2:
        reason = "the task has no context column with two or more levels"
        yield from ((metric, name, None, reason) for metric in OVER_CONTEXTS for name in names)
    else:
        ccgp = structure.Ccgp(X, Y, labels.context, labels.groups)
        found = run(ccgp)
        yield from ((CCGP, name, found[i], ccgp.reason) for i, name in enumerate(names))
        residual = structure.ErasureResidual(X, Y, labels.context, labels.groups)
        found = run(residual)
        for m, metric in enumerate((ERASURE_RESIDUAL, CODING_ENERGY_LEFT)):
            yield from ((metric, name, found[m, i], residual.reason) for i, name in enumerate(names))
        parallelism = structure.Parallelism(X, Y, labels.context, labels.groups)
        found = run(parallelism)
        yield from ((PARALLELISM, name, found[i], parallelism.reason) for i, name in enumerate(names))
    if len(names) < 2:
        yield CODING_OVERLAP, "", None, "coding overlap needs two concepts or more"
        return
    yield CODING_OVERLAP, "", run(lambda rows: structure.coding_overlap(X[rows], Y[rows])), structure.OVERLAP_REASON
