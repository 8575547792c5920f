"""Tables of the README on speed say what the benchmarks wrote."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "analyses" / "benchmarks"


@pytest.fixture(scope="module")
def load():
    sys.path.insert(0, str(BENCHMARKS))

    def module(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = found
        spec.loader.exec_module(found)
        return found

    yield module
    sys.path.remove(str(BENCHMARKS))


def test_rows_of_a_benchmark_that_was_run_and_none_of_one_that_was_not(load, tmp_path):
    rows = [{"way": "loop", "workers": 1, "ratio": 1.0, "peak": 0}]
    rows += [{"way": "processes", "workers": 2, "ratio": 1.84, "peak": 512 * 2**20}]
    (tmp_path / "jobs.json").write_text(json.dumps({"results": rows}))
    lines = load("table").markdown(tmp_path).splitlines()
    assert lines[2:] == ["| a job, processes, 2 workers | a loop of `compare` | 1.8 | 512 MiB | `jobs.py` |"]


def test_several_sizes_give_the_least_and_the_greatest_ratio(load, tmp_path):
    rows = [{"what": what, "ratio": r} for what, r in (("path", 3.71), ("path", 11.5), ("nested", 0.304))]
    (tmp_path / "probes.json").write_text(json.dumps({"results": rows}))
    path, nested = load("table").markdown(tmp_path).splitlines()[2:]
    assert "| 3.7 – 12 |" in path and "| .30 |" in nested


def test_an_exact_power_law_has_its_exponent_and_no_interval(load):
    growth = load("growth")
    sizes = np.array([10.0, 20.0, 40.0, 80.0])
    found = growth.exponent(sizes, 3e-4 * sizes**1.7)
    assert [found[key] for key in ("exponent", "low", "high", "at_the_end")] == pytest.approx([1.7] * 4)


def test_a_curve_that_bends_has_a_wide_interval_and_ends_steeper(load):
    sizes = np.array([10.0, 20.0, 40.0, 80.0])
    found = load("growth").exponent(sizes, 1 + 1e-3 * sizes**2)
    assert found["high"] - found["low"] > 0.5
    assert found["low"] < found["exponent"] < found["at_the_end"] < 2


def test_the_interval_holds_the_true_exponent_as_often_as_it_says(load):
    growth, rng, sizes = load("growth"), np.random.default_rng(0), np.array([10.0, 20.0, 40.0, 80.0])
    held = 0
    for _ in range(400):
        found = growth.exponent(sizes, sizes**1.3 * np.exp(rng.normal(scale=0.1, size=4)))
        held += found["low"] <= 1.3 <= found["high"]
    assert 0.92 <= held / 400 <= 0.98


def test_exponents_stand_beside_what_was_taken_in_the_middle(load, tmp_path):
    fit = {"exponent": 1.02, "low": 0.9, "high": 1.14, "sizes": [1, 2, 4], "seconds": [0.5, 1.0, 2.0]}
    rows = [{"stage": "sae", "axis": axis, **fit, "bytes": [0, 3 * 2**20, 0]} for axis in ("items", "width")]
    about = {"middle": {"items": 2, "width": 4}}
    (tmp_path / "scaling.json").write_text(json.dumps({"about": about, "results": rows}))
    table = load("table")
    assert table.exponents(tmp_path).splitlines()[2] == "| sae | 1.0 [.90, 1.1] | 1.0 [.90, 1.1] | 1.0 | 3 MiB |"
    assert table.exponents(tmp_path / "nowhere") == ""


@pytest.mark.parametrize(
    "number, text", [(108.4, "108"), (9.96, "10"), (2.34, "2.3"), (0.304, ".30"), (-0.5, "-.50"), (0.997, "1.0")]
)
def test_numbers_have_two_figures(load, number, text):
    assert load("table")._short(number) == text
