"""Trained networks of equal accuracy, one factored and one fractured, beside the same architecture without training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from analyses._planted.measures import MEASURES, Measure, Place
from analyses._study import Criterion, column, where
from mechdecouple import zoo
from mechdecouple.behavior import read
from mechdecouple.extract import extract
from mechdecouple.models import HookedModel, wrap
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import READ
from mechdecouple.zoo.recipes import find

ARMS = ("factored", "fractured", "untrained")
METRICS = (
    "probe_accuracy", "participation_ratio", "effective_rank", "intrinsic_dimension", "ccgp", "ccgp_concepts",
    "parallelism", "parallelism_concepts", "additive_share", "erasure_residual", "coding_energy_left", "coding_overlap",
    "cka",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Expected:
    """What an arm must say of a metric: a value and how far from it, and why."""

    value: float
    tolerance: float
    why: str = ""


_C = 4
_CHANCE = 0.06
EXPECTED: dict[str, dict[str, _Expected]] = {
    "factored": {
        "accuracy": _Expected(1, 0.005), "shift accuracy": _Expected(1, 0.01), "probe_accuracy": _Expected(1, 0.01),
        "ccgp": _Expected(1, 0.01), "parallelism": _Expected(1, 0.02), "erasure_residual": _Expected(0.5, 0.03),
        "coding_energy_left": _Expected(0, 0.02),
    },
    "fractured": {
        "accuracy": _Expected(1, 0.005), "shift accuracy": _Expected(0.5, _CHANCE),
        "probe_accuracy": _Expected(1, 0.01), "ccgp": _Expected(0.565, 0.055), "parallelism": _Expected(0, 0.02),
        "erasure_residual": _Expected(0.98, 0.02),
        "coding_energy_left": _Expected(1 - 1 / _C, 0.04, "(C − 1)/C of unrelated codes of equal strength"),
        "additive_share": _Expected(1 / _C, 0.05, "1/C of unrelated codes of equal strength"),
    },
    "untrained": {
        "accuracy": _Expected(0.5, _CHANCE, "chance"), "shift accuracy": _Expected(0.5, _CHANCE, "chance"),
        "ccgp": _Expected(0.5, _CHANCE, "chance"), "parallelism": _Expected(0, 0.15, "unrelated coding vectors"),
        "coding_energy_left": _Expected(1 - 1 / _C, 0.1, "(C − 1)/C of unrelated codes of equal strength"),
        "additive_share": _Expected(1 / _C, 0.1, "at most about 1/C of unrelated codes"),
    },
}  # fmt: skip


def model_of(arm: str, seed: int, progress: bool = True) -> HookedModel:
    """A trained twin, or the blank that it would have been trained from."""
    if arm == "untrained":
        return wrap(find("factored").blank(seed), name=f"untrained@{seed}")
    return zoo.load(arm, seed, progress)


def place_of(model: HookedModel, task: Task, reference: HookedModel) -> Place:
    """The residual stream at the bar, one row a wording: the questions come after it."""
    found = [
        extract(m, task, hook_points=[READ], position="position_statement", progress=False)[READ]
        for m in (model, reference)
    ]
    first = np.unique(task.groups, return_index=True)[1]
    x, other = (np.asarray(a, dtype=np.float64)[first] for a in found)
    labels = np.column_stack([task.concepts[name] for name in task.concepts]).astype(np.int64)[first]
    assert task.context is not None
    return Place(x, labels, np.unique(task.context, return_inverse=True)[1][first], reference=other)


def measure_trained(
    seeds: Iterable[int],
    measures: Mapping[str, Measure] = MEASURES,
    progress: bool = True,
    tick: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """One row an arm, seed and metric; CKA is to the factored twin of the same seed."""
    rows, task = [], zoo.task("factored")
    for seed in seeds:
        reference = model_of("factored", seed, progress)
        for arm in ARMS:
            model = model_of(arm, seed, progress)
            correct = np.asarray(read(model, task).correct, dtype=float)
            here = place_of(model, task, reference)
            values = {"accuracy": correct[~task.shift_mask].mean(), "shift accuracy": correct[task.shift_mask].mean()}
            values |= {metric: measures[metric].of(here) for metric in METRICS}
            rows += [(arm, seed, metric, float(value)) for metric, value in values.items()]
            tick()
    return pd.DataFrame(rows, columns=["arm", "seed", "metric", "value"])


def trained_criteria(trained: pd.DataFrame) -> list[Criterion]:
    """Every seed's value must meet the expectation; the one furthest from it is shown."""
    found = []
    for arm, forms in EXPECTED.items():
        for metric, expected in forms.items():
            own = column(where(trained, arm=arm, metric=metric), "value")
            furthest = own[np.argmax(np.abs(own - expected.value))] if np.isfinite(own).all() else np.nan
            title = MEASURES[metric].metric.title if metric in MEASURES else metric.capitalize()
            found.append(
                Criterion(
                    group="trained networks", name=f"{arm}: {title}", value=float(furthest),
                    expected=expected.value, tolerance=expected.tolerance,
                    how="; ".join(filter(None, ["of all seeds, the one furthest off", expected.why])),
                )
            )  # fmt: skip
    return found
