"""Doses: each is raised step by step; some metrics must follow it, the others must stay where they are.

Which is which is declared here, before anything is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from analyses._planted.measures import MEASURES, Measure, Place
from analyses._planted.population import population
from analyses._planted.table import place
from analyses._study import Criterion, column, where
from mechdecouple.zoo.planting import Plan
from mechdecouple.zoo.superposed import superpose

LEAST_CORRELATION = 0.95
_DEVIATIONS = 4.0

# How far a metric that does not follow a dose may stray from its value at the lowest one; primary metrics have their
# declared margins, the others these.
_MARGINS = {
    "participation_ratio": 0.5, "functional_participation_ratio": 0.25, "probe_accuracy": 0.02, "ccgp": 0.05,
    "ccgp_concepts": 0.05, "parallelism": 0.05, "parallelism_concepts": 0.05, "additive_share": 0.05,
    "erasure_residual": 0.05, "coding_energy_left": 0.05, "coding_overlap": 0.05, "erasure_collateral": 0.02,
    "dci_disentanglement": 0.05,
    "dci_completeness": 0.05, "cka": 0.02, "functional_cka": 0.02, "procrustes": 0.05, "noise_tolerance": 0.1,
    "noise_tolerance_total": 0.1, "effective_rank": 2.0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dose:
    """One dose, its levels and what it must do.

    Attributes:
        name, title: identifier, and words for an axis.
        levels: from the lowest on, which is the reference.
        place: of a level, sample size and seed.
        up, down: metrics that must rise or fall with it; stays: those that must not move.
        right: population values of a level, by metric.
        note: why something is not declared, or is measured in another way.
    """

    name: str
    title: str
    levels: tuple[float, ...]
    place: Callable[[float, int, int], Place]
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    right: Callable[[float], dict[str, float]] = lambda level: {}
    note: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*self.up, *self.down, *self.stays)


def _planned(name: str, title: str, levels: Iterable[float], plan: Callable[[float], Plan], **declared) -> Dose:
    return Dose(
        name=name, title=title, levels=tuple(levels), place=lambda level, n, seed: place(plan(level), n, seed),
        right=lambda level: population(plan(level)), **declared,
    )  # fmt: skip


def _superposed(k: float, n: int, seed: int, arrangement: Literal["even", "random"]) -> Place:
    sample = superpose(int(k), _DIMS, n, seed, arrangement=arrangement, active=0.1)
    return Place(sample.X, sample.features.astype(int), directions=sample.directions, seed=seed)


_DIMS = 8
_CODES = ("probe_accuracy", "ccgp", "ccgp_concepts", "parallelism", "parallelism_concepts", "additive_share",
          "erasure_residual", "coding_energy_left")  # fmt: skip
_USED = ("functional_participation_ratio", "functional_cka", "noise_tolerance")
_APART = ("coding_overlap", "erasure_collateral")
_UNITS = ("dci_disentanglement", "dci_completeness")

DOSES: tuple[Dose, ...] = (
    _planned(
        "obliqueness", "cosine between factors", (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9),
        lambda c: Plan(cosine=c),
        up=("coding_overlap", "erasure_collateral", "procrustes"),
        down=("participation_ratio", "functional_participation_ratio", "cka", "functional_cka", "noise_tolerance",
              "noise_tolerance_total"),
        stays=_CODES,
    ),
    _planned(
        "copies", "copies of each direction", (1, 2, 4, 8, 12, 16),
        lambda m: Plan(copies=int(m)),
        down=("dci_completeness",),
        stays=(*_CODES, *_USED, *_APART, "participation_ratio", "effective_rank", "dci_disentanglement", "cka",
               "noise_tolerance_total"),
    ),
    _planned(
        "fracture", "fracture α", (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0),
        lambda a: Plan(fracture=a),
        up=("participation_ratio", "erasure_residual", "coding_energy_left", "procrustes"),
        down=("parallelism", "additive_share", "cka", "dci_completeness", "noise_tolerance_total"),
        stays=(*_USED, *_APART, "probe_accuracy", "ccgp_concepts", "parallelism_concepts", "dci_disentanglement"),
    ),
    _planned(
        "noisy fracture", "fracture α, noise in the signal's span", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        lambda a: Plan(fracture=a, noise=0.7, noise_inside=0.7),
        up=("erasure_residual", "coding_energy_left"),
        down=("ccgp", "parallelism", "additive_share"),
        stays=("probe_accuracy", "coding_overlap"),
        note="without noise in the span CCGP is a step: 1 for any fracture below 1; with it any readout that all "
             "contexts share reads less well, so that CCGP over other concepts falls too and is not declared",
    ),
    _planned(
        "noise", "noise outside the signal's span", (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
        lambda sd: Plan(noise=sd),
        up=("participation_ratio", "effective_rank", "procrustes"),
        down=("cka", "noise_tolerance_total"),
        stays=(*_CODES, *_USED, *_UNITS, *_APART),
    ),
    _planned(
        "inert dimensions", "inert dimensions", (0, 10, 20, 30, 45, 60, 80),
        lambda r: Plan(inert=int(r), inert_scale=1.0),
        up=("participation_ratio", "procrustes"),
        down=("cka", "noise_tolerance_total"),
        stays=(*_CODES, *_USED, *_UNITS, *_APART),
    ),
    _planned(
        "inert variance", "scale of 40 inert dimensions", (0.1, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5),
        lambda scale: Plan(inert=40, inert_scale=scale),
        up=("procrustes",),
        down=("cka", "noise_tolerance_total"),
        stays=(*_CODES, *_USED, *_UNITS, *_APART),
        note="the participation ratio rises and falls again: largest where inert and used dimensions vary alike. "
             "Beyond these levels coding vectors of single conditions drown in the noise of 4,096 items",
    ),
    Dose(
        name="superposition", title="features in 8 dimensions, evenly arranged", levels=(10, 12, 16, 24, 32, 48),
        place=lambda k, n, seed: _superposed(k, n, seed, "even"),
        up=("superposition_interference",),
        down=("superposition_dimensionality", "probe_accuracy"),
        stays=("participation_ratio",),
        right=lambda k: {
            "superposition_dimensionality": _DIMS / k, "superposition_interference": k / _DIMS - 1,
            "participation_ratio": _DIMS,
        },
    ),
    Dose(
        name="random superposition", title="features in 8 dimensions, at random", levels=(10, 12, 16, 24, 32, 48),
        place=lambda k, n, seed: _superposed(k, n, seed, "random"),
        up=("superposition_interference",),
        down=("superposition_dimensionality", "probe_accuracy"),
        right=lambda k: {
            "superposition_dimensionality": 1 / (1 + (k - 1) / _DIMS), "superposition_interference": (k - 1) / _DIMS
        },
        note="the population value is that of the mean interference; single draws of directions scatter around it",
    ),
)  # fmt: skip


def sweep(
    dose: Dose,
    seeds: Iterable[int],
    n: int,
    measures: Mapping[str, Measure] = MEASURES,
    tick: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """One row a level, seed and metric, with the population's value where it is known."""
    rows = []
    for level in dose.levels:
        right = dose.right(level)
        for seed in seeds:
            here = dose.place(level, n, seed)
            for metric in dose.metrics:
                value = float(measures[metric].of(here))
                rows.append((dose.name, level, seed, metric, value, right.get(metric, np.nan)))
            tick()
    return pd.DataFrame(rows, columns=["dose", "level", "seed", "metric", "value", "population"])


def dose_criteria(dose: Dose, table: pd.DataFrame) -> list[Criterion]:
    """Rank correlation with the dose for what must follow it, largest shift for what must not."""
    found = []
    for metric in dose.metrics:
        own = where(table, dose=dose.name, metric=metric)
        title = MEASURES[metric].metric.title
        if metric in dose.stays:
            found.append(_still(dose, metric, title, own))
            continue
        sign = 1 if metric in dose.up else -1
        value = sign * rank_correlation(column(own, "level"), column(own, "value"))
        word = "rises" if sign > 0 else "falls"
        found.append(
            Criterion(
                group="doses", name=f"{dose.name}: {title} {word}", value=value, expected=LEAST_CORRELATION,
                side="at least", how="Spearman correlation with the dose over levels and seeds, signed as declared",
            )
        )  # fmt: skip
    return found


def rank_correlation(level: np.ndarray, value: np.ndarray) -> float:
    """Spearman's; 0 for values that do not vary, NaN for undefined ones."""
    if np.isnan(value).any():
        return float("nan")
    return float(np.corrcoef(rankdata(level), rankdata(value))[0, 1]) if np.ptp(value) > 0 else 0.0


def by_level(dose: Dose, own: pd.DataFrame, name: str = "value") -> np.ndarray:
    """``[levels, seeds]`` of one metric."""
    return np.stack([column(where(own, level=level), name) for level in dose.levels])


def band(metric: str, at_lowest: np.ndarray) -> float:
    """How far a still metric may stray: its margin, or the spread over seeds at the lowest level where that is more."""
    return max(_MARGINS[metric], _DEVIATIONS * float(np.std(at_lowest, ddof=1)))


def _still(dose: Dose, metric: str, title: str, own: pd.DataFrame) -> Criterion:
    values = by_level(dose, own)
    means = values.mean(axis=1)
    return Criterion(
        group="doses", name=f"{dose.name}: {title} stays", value=float(np.abs(means - means[0]).max()), expected=0.0,
        tolerance=band(metric, values[0]), side="at most",
        how="largest shift of the mean over seeds from the lowest dose; its margin",
    )  # fmt: skip
