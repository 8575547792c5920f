import json

import numpy as np
import pandas as pd
import pytest

from analyses._study import Criterion, Result, arguments, seed_interval
from mechdecouple.errors import InputError
from mechdecouple.report.style import new_figure


def criterion(value, side="both", expected=1.0, tolerance=0.1):
    return Criterion(group="g", name="n", value=value, expected=expected, tolerance=tolerance, side=side)


@pytest.mark.parametrize(("side", "value", "met"), [
    ("both", 1.1, True), ("both", 1.2, False), ("both", 0.85, False), ("at least", 5.0, True),
    ("at least", 0.85, False), ("at most", -5.0, True), ("at most", 1.2, False),
    ("both", np.nan, False), ("at least", np.nan, False), ("at most", np.nan, False),
])  # fmt: skip
def test_a_criterion_is_met_within_its_tolerance_on_its_side(side, value, met):
    assert criterion(value, side).met is met


def result(*criteria):
    figure = new_figure(2, 2)
    figure.subplots().plot([1, 2])
    return Result(
        name="study", claim="c", source="s", full=False, criteria=criteria, notes=("a note",),
        tables={"t": pd.DataFrame({"x": [1.0]})}, figures={"f": figure},
    )  # fmt: skip


def test_verdict_is_that_of_the_criteria():
    yes, no = criterion(1.0), criterion(9.0)
    assert result(yes, yes).verdict == "reproduced"
    assert result(yes, no).verdict == "partly"
    assert result(yes, no, no).verdict == "not reproduced"
    assert result().verdict == "not reproduced"


def test_report_names_what_is_not_met():
    text = result(criterion(1.0), criterion(9.0)).report()
    assert "1 of 2 met" in text
    assert "not met: g: n: 9, expected 1 (±0.1)" in text
    assert "a note" in text


def test_the_same_numbers_give_the_same_bytes_but_for_the_provenance(tmp_path):
    for name in ("a", "b"):
        result(criterion(1.0), criterion(np.nan)).write(tmp_path / name)
    files = sorted(str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*.*"))
    assert files == [
        "f.pdf", "f.png", "icml/f.pdf", "neurips/f.pdf", "provenance.json", "result.json", "t.parquet",
    ]  # fmt: skip
    for name in set(files) - {"provenance.json"}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    facts = json.loads((tmp_path / "a" / "result.json").read_text())
    assert facts["criteria"][1]["value"] is None
    assert (facts["met"], facts["of"]) == (1, 2)


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="is a file: name a directory"):
        result(criterion(1.0)).write(tmp_path / "x")


def test_arguments(tmp_path):
    given = arguments("study", "what it does", ["--full", "--out", str(tmp_path)])
    assert given.full
    assert given.out == tmp_path
    assert str(arguments("study", "", []).out) == "out/study"


def test_a_share_of_seeds_has_the_exact_binomial_interval():
    every = Criterion.over_seeds("g", "n", [True, True, True], 1.0)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(0.025 ** (1 / 3))
    some = Criterion.over_seeds("g", "n", np.array([1, 0, 1]) > 0, 1.0)
    assert 0 < some.low < 2 / 3 < some.high < 1


def test_a_measure_that_is_0_in_every_seed_is_no_share_of_seeds():
    found = Criterion.over_seeds("g", "n", [0.0, 0.0, 0.0], 0.02, "at most")
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_an_interval_ends_at_what_is_possible():
    # t(.975, 2) = 4.302653, standard error .1 / sqrt(3)
    assert seed_interval([0.8, 0.9, 1.0], 0.0, 1.0) == pytest.approx((0.9, 0.9 - 4.302653 * 0.1 / 3**0.5, 1.0))
    assert seed_interval([0.8, 0.9, 1.0])[2] == pytest.approx(0.9 + 4.302653 * 0.1 / 3**0.5)


def test_a_criterion_over_seeds_has_students_interval():
    found = Criterion.over_seeds("g", "n", [1.0, 2.0, 3.0], 1.5, "at least")
    # t(.975, 2) = 4.302653, standard error 1 / sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert found.met
    assert found.row()["seeds"] == [1.0, 2.0, 3.0]
    alone = Criterion.over_seeds("g", "n", [1.0], 1.5, "at least")
    assert np.isnan(alone.low)
    assert not alone.met
