"""Closed forms: on the balanced factorial without noise the metrics are these formulas, to 1e-6."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from analyses._planted.measures import MEASURES, Measure, Place
from analyses._planted.table import place
from analyses._study import Criterion
from mechdecouple.zoo.planting import Plan
from mechdecouple.zoo.superposed import directions

TOLERANCE = 1e-6
K, C, D = Plan.n_factors, Plan.n_contexts, Plan.dims


def shared(alpha: float) -> float:
    """s = (1 − α) + α/C: what contexts share of a graded fracture; the additive share."""
    return (1 - alpha) + alpha / C


def graded_cka(alpha: float) -> float:
    return shared(alpha) / float(np.sqrt((1 - alpha) ** 2 + 2 * alpha * (1 - alpha) / C + alpha**2 / C))


def oblique_cka(c: float) -> float:
    return float(np.sqrt(K / (K + K * (K - 1) * c**2)))


def oblique_procrustes(c: float) -> float:
    """The mixing has singular values √(1 + (k − 1)c) once and √(1 − c) k − 1 times."""
    return float(np.arccos(min(1.0, (np.sqrt(1 + (K - 1) * c) + (K - 1) * np.sqrt(1 - c)) / K)))


def copies_completeness(m: float) -> float:
    return 1 - float(np.log(m) / np.log(D))


_ONE_HOT = float(np.sqrt(K / (2**K - 1)))

# Plan, then the formula of each metric.
FORMS: dict[str, tuple[Plan, dict[str, float]]] = {
    "factored": (Plan(), {
        "cka_plain": 1, "functional_cka": 1, "ccgp": 1, "ccgp_concepts": 1, "parallelism": 1,
        "parallelism_concepts": 1, "additive_share": 1, "coding_overlap": 0, "dci_disentanglement": 1,
        "dci_completeness": 1, "procrustes": 0,
    }),
    "rotated": (Plan(rotation=0), {"cka_plain": 1, "functional_cka": 1, "procrustes": 0, "parallelism": 1}),
    "fractured": (Plan(fracture=1.0), {
        "cka_plain": 1 / np.sqrt(C), "functional_cka": 1, "ccgp": 0.5, "parallelism": 0, "additive_share": 1 / C,
        "dci_completeness": 1 - np.log(C) / np.log(D), "procrustes": np.arccos(C**-0.5),
    }),
    "one-hot": (Plan(conjunctive=True), {
        "cka_plain": _ONE_HOT, "functional_cka": 1, "ccgp_concepts": 0.5, "parallelism_concepts": 0,
        "additive_share": K / (2**K - 1), "dci_disentanglement": 0, "dci_completeness": 1 - np.log(2**K) / np.log(D),
        "procrustes": np.arccos(_ONE_HOT),
    }),
    **{f"oblique {c:g}": (Plan(cosine=c), {
        "cka_plain": oblique_cka(c), "coding_overlap": c, "procrustes": oblique_procrustes(c), "parallelism": 1,
        "additive_share": 1,
    }) for c in (0.3, 0.7, 0.9)},
    **{f"{m} copies": (Plan(copies=m), {
        "dci_completeness": copies_completeness(m), "dci_disentanglement": 1, "cka_plain": 1,
    }) for m in (2, 4, 8)},
    **{f"fracture {a:g}": (Plan(fracture=a), {
        "parallelism": 1 - a, "additive_share": shared(a), "cka_plain": graded_cka(a), "functional_cka": 1,
    }) for a in (0.2, 0.5, 0.8)},
}  # fmt: skip


_SUPERPOSED = (9, 16, 48)
N_PLACES = len(FORMS) + len(_SUPERPOSED)


def closed_form_criteria(
    measures: Mapping[str, Measure] = MEASURES, tick: Callable[[], object] = lambda: None
) -> list[Criterion]:
    """Every metric of `FORMS` on its plan: balanced, without noise."""
    found = []
    for name, here, forms in _places():
        for metric, expected in forms.items():
            found.append(
                Criterion(
                    group="closed forms", name=f"{name}: {MEASURES[metric].metric.title}",
                    value=float(measures[metric].of(here)), expected=float(expected), tolerance=TOLERANCE,
                    how="formula, on the balanced factorial without noise",
                )
            )  # fmt: skip
        tick()
    return found


def _places() -> Iterator[tuple[str, Place, dict[str, float]]]:
    for name, (plan, forms) in FORMS.items():
        yield name, place(dataclasses.replace(plan, noise=0.0), n=1, seed=0, balanced=2, noise=0.0), forms
    for k in _SUPERPOSED:
        W = directions(k, 8)
        yield (
            f"{k} features in 8 dimensions",
            Place(W, np.ones_like(W), directions=W),
            {"superposition_dimensionality": 8 / k},
        )
