"""Which measures of structure are made at a hook point, on activations as they are or projected on what is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from mechdecouple import stats, structure
from mechdecouple.compare.labels import Labels
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure import (
    ADDITIVE_SHARE,
    CCGP,
    CCGP_CONCEPTS,
    CODING_ENERGY_LEFT,
    CODING_OVERLAP,
    EFFECTIVE_RANK,
    ERASURE_COLLATERAL,
    ERASURE_RESIDUAL,
    INTRINSIC_DIMENSION,
    NEURAL_COLLAPSE,
    PARALLELISM,
    PARALLELISM_CONCEPTS,
    PARTICIPATION_RATIO,
    PROBE_ACCURACY,
)

OVER_CONTEXTS = (CCGP, ERASURE_RESIDUAL, CODING_ENERGY_LEFT, PARALLELISM)
OF_CONCEPTS = (CODING_OVERLAP, ADDITIVE_SHARE)
OVER_CONCEPTS = (CCGP_CONCEPTS, PARALLELISM_CONCEPTS, ERASURE_COLLATERAL)
NO_CONCEPTS = "the task declares no concept with two classes (add concept_* columns or truth)"
ONE_CONCEPT = "it takes two concepts or more"
NO_CONTEXTS = "the task has no context column with two or more levels"


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """One metric at one hook point: its replicates, or the reason why there are none.

    Attributes:
        null: the level without any effect, where there is one.
    """

    metric: Metric
    concept: str = ""
    replicates: Replicates | None = None
    reason: str = ""
    null: float = np.nan

    def functional(self) -> Measured:
        return dataclasses.replace(self, metric=self.metric.functional())


def measure(X: np.ndarray, labels: Labels) -> Iterator[Measured]:
    """Every measure of the activations [n, d] at one hook point that the labels allow."""
    yield from _geometry(X, labels)
    yield from _concepts(X, labels)


def _geometry(X: np.ndarray, labels: Labels) -> Iterator[Measured]:
    constant = "the activations are constant here, or there are too few groups to tell their variance from noise"
    ratio = structure.participation_ratio_jackknife(X, labels.blocks, labels.n_groups, labels.groups)
    yield Measured(PARTICIPATION_RATIO, "", ratio, constant)
    rank = structure.effective_rank_jackknife(X, labels.blocks, labels.n_groups)
    yield Measured(EFFECTIVE_RANK, "", rank, constant)
    dimension = structure.intrinsic_dimension_subsampled(X, labels.groups, seed=labels.seed)
    yield Measured(INTRINSIC_DIMENSION, "", dimension, structure.IntrinsicDimension.reason)
    if labels.answers is None:
        yield Measured(NEURAL_COLLAPSE, reason="there are no answers that several groups of items share")
    else:
        collapse = structure.NeuralCollapse(X, labels.answers, labels.groups)
        yield Measured(NEURAL_COLLAPSE, "", _jackknife(collapse, labels), collapse.reason)


def _concepts(X: np.ndarray, labels: Labels) -> Iterator[Measured]:
    names = list(labels.concepts)
    if not names:
        yield from (Measured(m, reason=NO_CONCEPTS) for m in (PROBE_ACCURACY, *OVER_CONTEXTS, *OF_CONCEPTS))
        return
    Y = np.stack([labels.concepts[name] for name in names], axis=1)

    def each(statistic, *metrics: tuple[Metric, float]) -> Iterator[Measured]:
        found = _jackknife(statistic, labels)
        for m, (metric, null) in enumerate(metrics):
            values = found[m] if len(metrics) > 1 else found
            yield from (Measured(metric, name, values[i], statistic.reason, null) for i, name in enumerate(names))

    yield from each(structure.ProbeAccuracy(X, Y, labels.context, labels.groups), (PROBE_ACCURACY, 0.5))
    if labels.context is None or len(np.unique(labels.context)) < 2:
        yield from (Measured(metric, name, reason=NO_CONTEXTS) for metric in OVER_CONTEXTS for name in names)
    else:
        where = X, Y, labels.context, labels.groups
        yield from each(structure.Ccgp(*where), (CCGP, 0.5))
        yield from each(structure.ErasureResidual(*where), (ERASURE_RESIDUAL, 0.5), (CODING_ENERGY_LEFT, 0.0))
        yield from each(structure.Parallelism(*where), (PARALLELISM, 0.0))
    if len(names) < 2:
        yield from (Measured(metric, reason=ONE_CONCEPT) for metric in (*OF_CONCEPTS, *OVER_CONCEPTS))
        return
    yield from each(structure.CcgpOverConcepts(X, Y, labels.groups), (CCGP_CONCEPTS, 0.5))
    yield from each(structure.ParallelismOverConcepts(X, Y, labels.groups), (PARALLELISM_CONCEPTS, 0.0))
    collateral = structure.ErasureCollateral(X, Y, labels.context, labels.groups)
    yield from each(collateral, (ERASURE_COLLATERAL, 0.0))
    additive = structure.AdditiveShare(X, Y, labels.context, labels.groups)
    yield Measured(ADDITIVE_SHARE, "", _jackknife(additive, labels), additive.reason, additive.null())
    overlap = _jackknife(lambda rows: structure.coding_overlap(X[rows], Y[rows]), labels)
    yield Measured(CODING_OVERLAP, "", overlap, structure.OVERLAP_REASON, structure.random_overlap(X.shape[1]))


def _jackknife(statistic: Callable, labels: Labels) -> Replicates:
    return stats.jackknife(statistic, labels.blocks, labels.n_groups)
