"""Finished units with made-up numbers: comparisons along a run of checkpoints, as a job leaves them."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mechdecouple.compare import Comparison, Gate, Verdict
from mechdecouple.jobs.plan import JobPlan
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.results import Estimate, Measurement, frame


def near(value, half=0.02):
    return Estimate(value=float(value), low=float(value) - half, high=float(value) + half, n=50, unit="groups")


def made_comparison(a, b, values_a, values_b, flagged=False, outcome="equal"):
    """A comparison of two models whose metrics are given: metric -> value; ``accuracy`` is performance."""
    rows = []
    for model, values in ((a, values_a), (b, values_b)):
        for metric, value in values.items():
            facts = {"metric": metric, "family": "fracture", "model": model, "hook_point": "blocks.0.hook_resid_post"}
            if metric == "performance":
                facts |= {"family": "behavior", "hook_point": ""}
            estimate = near(value, 0.008) if math.isfinite(value) else Estimate.undefined("one class only")
            rows.append(Measurement(**facts, estimate=estimate))
    rows.append(Measurement(metric="cka", family="similarity", model=a, model_b=b, estimate=near(0.9)))
    one = near(0.99)
    gate = Gate(outcome, "accuracy", 0.02, one, one, near(0), 1e-4, 0.4, 0.01, 0.5, one, (), "Equal <within> 0.02.")
    verdicts = (
        Verdict("structure", "pair", flagged, "Differently organised. <script>alert(1)</script>"),
        Verdict("belief", "a", True, "It hides what it represents."),
        Verdict("route", "pair", False, "By the same route."),
        Verdict("sae", "pair", None, "Features are not compared."),
    )
    items = pd.DataFrame({"item": ["i0"], "model": [a]})
    return Comparison(a, b, "items", gate, verdicts, tuple(rows), items, (), {"seed": 0})


def compare_unit(a, b, task="items.csv"):
    return Unit("compare", {"a": a, "b": b, "task": task, "threads": 1}, {"a": a, "b": b, "task": task},
                label=f"{a} against {b} on {task}")  # fmt: skip


def finish(store, unit, comparison):
    with store.work(unit) as place:
        comparison.save(place)
        (place / "report.html").write_text("<p>a report</p>")
    return unit


def sae_units(store, model="runs/a/step-1", task="items.csv"):
    """An extraction and the dictionaries trained on it, whose columns go beyond the usual ones."""
    acts = Unit("extract", {"model": model, "task": task, "threads": 1}, {"model": model, "task": task}, label=model)
    unit = Unit("sae", {"sae": {}, "threads": 1}, {}, needs=(acts.key,), label=model)
    with store.work(unit) as place:
        table = frame([Measurement(metric="sae_l0", family="sae", model="step-1", estimate=near(3.0))])
        table.insert(0, "architecture", "topk")
        table.insert(0, "sae", "seed0/000")
        table.to_parquet(place / "evaluation.parquet", index=False)
    return acts, unit


@pytest.fixture(scope="session")
def made():
    return SimpleNamespace(comparison=made_comparison, compare_unit=compare_unit, finish=finish, sae_units=sae_units)


@pytest.fixture
def checkpoints(make_checkpoints, tmp_path):
    return lambda folder=tmp_path / "job", *args, **options: make_checkpoints(folder, *args, **options)


@pytest.fixture(scope="session")
def make_checkpoints():
    """A job over twelve checkpoints of a run: CCGP falls from 0.95 to 0.55 after step 600, accuracy stays."""

    def make(folder, name="sweep", n=12, change=6):
        rng = np.random.default_rng(0)
        store, units = UnitStore(folder), []
        values = [
            {
                "ccgp": (0.95 if i < change else 0.55) + rng.normal(0, 0.01),
                "parallelism": 0.8 + rng.normal(0, 0.01),
                "performance": 0.99 + rng.normal(0, 0.001),
            }
            for i in range(n)
        ]
        refs = [f"runs/a/step-{100 * (i + 1)}" for i in range(n)]
        for i in range(n - 1):
            unit = compare_unit(refs[i], refs[i + 1])
            found = made_comparison(f"step-{100 * (i + 1)}", f"step-{100 * (i + 2)}", *values[i : i + 2], i == 5)
            units.append(finish(store, unit, found))
        return JobPlan(name, tuple(refs), ("items.csv",), tuple(units)), store, folder

    return make
