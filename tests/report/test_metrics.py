"""The registry of metrics: none forgotten, whatever a comparison puts in its tables."""

import copy
import importlib
import pkgutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mechdecouple
from mechdecouple.compare import compare, structural
from mechdecouple.report.metrics import FAMILIES, FUNCTIONAL, METRICS, describe, markdown, title
from mechdecouple.results import Metric
from mechdecouple.tasks import Task


def declared():
    """Every Metric constant of the package, by name."""
    found = {}
    for module in pkgutil.walk_packages(mechdecouple.__path__, "mechdecouple."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Metric):
                assert found.setdefault(value.name, value) == value, f"two metrics are called {value.name}"
    return found


@pytest.fixture(scope="module")
def real():
    """Two small networks, one a disturbed copy of the other, with all labels that a task can have."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    n = 80
    concepts = rng.integers(0, 2, (n, 2))
    asks, context = rng.integers(0, 2, n), rng.integers(0, 2, n)
    X = np.column_stack([2.0 * concepts - 1, asks, context, 0.1 * rng.standard_normal((n, 4))])
    table = pd.DataFrame(
        {
            "answer": concepts[np.arange(n), asks],
            "asks": np.array(["first", "second"])[asks],
            "context": np.array(["here", "there"])[context],
            "concept_first": concepts[:, 0],
            "concept_second": concepts[:, 1],
            "truth": concepts[:, 0],
            "split": np.where(np.arange(n) % 4 == 0, "shift", "test"),
        }
    )
    a = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    b = copy.deepcopy(a)
    with torch.no_grad():
        b[0].weight += 0.05 * torch.randn(8, 8)
    task = Task.from_frame(table, inputs=X.astype(np.float32), name="small")
    options = {"permutations": 19, "bootstrap": 200, "blocks": 5, "probe_items": 64}
    return compare(a, b, task, progress=False, hook_points=["1"], **options)


def test_every_metric_of_the_package_is_registered():
    missing = set(declared()) - set(METRICS)
    assert not missing and len(METRICS) > 80
    for name, metric in declared().items():
        assert METRICS[name] == metric


def test_every_row_of_a_comparison_has_a_registered_metric(real):
    table = real.frame()
    assert set(table.metric) <= set(METRICS)
    families = table.groupby("metric").family.first()
    assert all(METRICS[name].family == family for name, family in families.items() if name in METRICS)
    assert {"controls", "ancestry", "similarity", "robustness"} <= set(table.family)


def test_every_functional_version_that_is_measured_is_registered(real):
    measured = {m for m in set(real.frame().metric) if m.startswith("functional_")}
    assert {"functional_cka", "functional_ccgp", "functional_participation_ratio"} <= measured <= set(FUNCTIONAL)
    own = {m.functional().name for m in (*structural.OVER_CONTEXTS, *structural.OF_CONCEPTS, *structural.OVER_CONCEPTS)}
    assert own < set(FUNCTIONAL)
    assert title("functional_ccgp") == "CCGP over contexts, functional"


def test_families_are_told_in_order():
    families = list(dict.fromkeys(METRICS[name].family for name in METRICS if name not in FUNCTIONAL))
    assert families == list(FAMILIES)


def test_the_table_has_a_row_for_each_and_a_sentence_for_functional_versions():
    lines = markdown().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 2 + len(METRICS) - len(FUNCTIONAL)
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1, "a bar in a cell is escaped"
    assert not any("`functional_" in line for line in rows)
    assert "`functional_` before its name" in lines[-1] and "`ccgp`" in lines[-1] and "`cka`" in lines[-1]


@pytest.mark.parametrize("name", METRICS)
def test_each_says_what_it_is(name):
    metric = METRICS[name]
    assert metric.measures and metric.range and describe(name).endswith(".") and title(name)[:1] != name[:1]
    assert title("unknown_metric") == "unknown metric" and describe("unknown_metric") == ""
