"""The package's metrics as functions of one place: a planted sample, or the activations of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from mechdecouple.results import Metric
from mechdecouple.structure import (
    ADDITIVE_SHARE,
    CCGP,
    CCGP_CONCEPTS,
    CKA,
    CODING_ENERGY_LEFT,
    CODING_OVERLAP,
    DCI_COMPLETENESS,
    DCI_DISENTANGLEMENT,
    EFFECTIVE_RANK,
    ERASURE_COLLATERAL,
    ERASURE_RESIDUAL,
    INTRINSIC_DIMENSION,
    MUTUAL_KNN,
    NOISE_TOLERANCE,
    NOISE_TOLERANCE_TOTAL,
    PARALLELISM,
    PARALLELISM_CONCEPTS,
    PARTICIPATION_RATIO,
    PROBE_ACCURACY,
    PROCRUSTES,
    R2_CCA,
    SUPERPOSITION_DIMENSIONALITY,
    SUPERPOSITION_INTERFERENCE,
    CcgpOverConcepts,
    ErasureCollateral,
    NoiseTolerance,
    ParallelismOverConcepts,
    Superposition,
    additive_share,
    ccgp,
    cka,
    coding_overlap,
    completeness,
    disentanglement,
    effective_rank,
    erasure_residual,
    functional_basis,
    functional_rms,
    intrinsic_dimension,
    mean_r2_cca,
    mutual_knn,
    noise_std,
    parallelism,
    participation_ratio,
    probe_accuracy,
    procrustes,
    project,
    readout_effects,
    superposition,
    total_rms,
)

_SCALES = np.geomspace(0.1, 10, 24)
_NEIGHBOURS = 2048
"""Rows for what compares every row with every other."""


_LACKING: Any = None

CKA_PLAIN = dataclasses.replace(CKA, name="cka_plain", title="linear CKA (plain)")


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Activations and what is known about them. What a place lacks (None), no metric that needs it is asked of it.

    Attributes:
        X: ``[n, d]``; labels: ``[n, k]`` of 0 and 1; context: ``[n]``; readout: ``[d, k]`` linear readout of the
        factors; reference, reference_readout: the factored code's activations of the same items, and its readout;
        directions: ``[k, d]`` of features in superposition; seed: of what is drawn (noise).
    """

    X: np.ndarray
    labels: np.ndarray
    context: np.ndarray = _LACKING
    readout: np.ndarray = _LACKING
    reference: np.ndarray = _LACKING
    reference_readout: np.ndarray = _LACKING
    directions: np.ndarray = _LACKING
    seed: int = 0

    @cached_property
    def used(self) -> np.ndarray:
        """Activations projected on what the readout uses."""
        return project(self.X, functional_basis(self.readout.T, share=1.0))

    @cached_property
    def reference_used(self) -> np.ndarray:
        return project(self.reference, functional_basis(self.reference_readout.T, share=1.0))

    @cached_property
    def erased(self) -> tuple[Any, Any]:
        return erasure_residual(self.X, self.labels, self.context)

    @cached_property
    def effects(self) -> np.ndarray:
        return readout_effects(self.X, self.readout)

    @cached_property
    def superposed(self) -> Superposition:
        return superposition(self.directions)

    def tolerance(self, rms: float) -> float:
        """ε90 in units of ``rms``: noise added to the activations reaches the logits through the readout."""
        noise = np.random.default_rng((self.seed, 2)).normal(size=self.labels.shape)
        reach = noise @ np.linalg.cholesky(self.readout.T @ self.readout).T
        clean, on = self.X @ self.readout, self.labels > 0
        right = [
            (((clean + noise_std(s, rms, self.X.shape[1]) * reach) > 0) == on).mean(axis=1) for s in _SCALES.tolist()
        ]
        return NoiseTolerance(_SCALES, np.stack(right), ((clean > 0) == on).mean(axis=1))()


@dataclasses.dataclass(frozen=True)
class Measure:
    """A metric and how it is taken at a place."""

    metric: Metric
    of: Callable[[Place], Any]


_ALL = (
    Measure(PROBE_ACCURACY, lambda p: np.mean(probe_accuracy(p.X, p.labels, p.context))),
    Measure(PARTICIPATION_RATIO, lambda p: participation_ratio(p.X)),
    Measure(PARTICIPATION_RATIO.functional(), lambda p: participation_ratio(p.used)),
    Measure(EFFECTIVE_RANK, lambda p: effective_rank(p.X)),
    Measure(INTRINSIC_DIMENSION, lambda p: intrinsic_dimension(p.X[:_NEIGHBOURS])),
    Measure(CCGP, lambda p: np.mean(ccgp(p.X, p.labels, p.context))),
    Measure(CCGP_CONCEPTS, lambda p: np.mean(CcgpOverConcepts(p.X, p.labels)())),
    Measure(PARALLELISM, lambda p: np.mean(parallelism(p.X, p.labels, p.context))),
    Measure(PARALLELISM_CONCEPTS, lambda p: np.mean(ParallelismOverConcepts(p.X, p.labels)())),
    Measure(ADDITIVE_SHARE, lambda p: additive_share(p.X, p.labels, p.context)),
    Measure(ERASURE_RESIDUAL, lambda p: np.mean(p.erased[0])),
    Measure(CODING_ENERGY_LEFT, lambda p: np.mean(p.erased[1])),
    Measure(CODING_OVERLAP, lambda p: coding_overlap(p.X, p.labels)),
    Measure(ERASURE_COLLATERAL, lambda p: np.mean(ErasureCollateral(p.X, p.labels, p.context)())),
    Measure(DCI_DISENTANGLEMENT, lambda p: disentanglement(p.effects)),
    Measure(DCI_COMPLETENESS, lambda p: completeness(p.effects)),
    Measure(CKA, lambda p: cka(p.X, p.reference)),
    Measure(CKA_PLAIN, lambda p: cka(p.X, p.reference, debiased=False)),
    Measure(CKA.functional(), lambda p: cka(p.used, p.reference_used)),
    Measure(PROCRUSTES, lambda p: procrustes(p.X, p.reference)),
    Measure(MUTUAL_KNN, lambda p: mutual_knn(p.X[:_NEIGHBOURS], p.reference[:_NEIGHBOURS])),
    Measure(R2_CCA, lambda p: mean_r2_cca(p.X, p.reference)),
    Measure(NOISE_TOLERANCE, lambda p: p.tolerance(functional_rms(p.X, p.readout.T, share=1.0))),
    Measure(NOISE_TOLERANCE_TOTAL, lambda p: p.tolerance(total_rms(p.X))),
    Measure(SUPERPOSITION_DIMENSIONALITY, lambda p: p.superposed.mean_dimensionality),
    Measure(SUPERPOSITION_INTERFERENCE, lambda p: p.superposed.mean_interference),
)

MEASURES: dict[str, Measure] = {m.metric.name: m for m in _ALL}
