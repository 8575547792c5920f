"""A Comparison on disk and in a cell: nothing is lost, nothing is invented, nothing is executed."""

import dataclasses
import json
import math

import pandas as pd
import pytest

from mechdecouple.compare import Comparison, Gate, Stratum, Verdict
from mechdecouple.errors import InputError
from mechdecouple.results import COLUMNS, Estimate, Measurement

NASTY = "<script>alert('x')</script> & \"b\""


def near(value, **facts):
    facts = {"method": "jackknife", "n": 40, "unit": "groups", **facts}
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, **facts)


def make_comparison(**changed):
    nothing = Estimate.undefined("fewer than two groups in this stratum", n=1, unit="groups")
    strata = (
        Stratum("even", "equal", 0.9, 0.9, near(0.0, null=0.0)),
        Stratum("odd", "unknown", 1.0, math.nan, nothing),
    )
    gate = Gate(
        outcome="undecided", unit="accuracy", margin=0.02, a=near(0.91), b=near(0.9, direction="higher"),
        difference=near(0.01, null=0.0, p=0.4), p_equal=0.07, p_different=math.nan, supported_margin=math.inf,
        chance=math.nan, agreement=Estimate.undefined("no answers to agree on"), strata=strata,
        sentence="Neither equal within 0.02 nor different.",
    )  # fmt: skip
    rows = (
        Measurement(metric="performance", family="behavior", estimate=gate.a, model="first"),
        Measurement(
            metric="ccgp", family="fracture", model="first", hook_point="blocks.0", position="last", concept="colour",
            estimate=near(0.8, null=0.5, p=0.001, direction="higher", invariances="rotation", reason="a limit"),
        ),
        Measurement(
            metric="ccgp", family="fracture", model="first", model_b=NASTY, context="even",
            estimate=Estimate.undefined("too few groups", direction="higher"),
        ),
    )  # fmt: skip
    verdicts = (
        Verdict("structure", "pair", True, "Differently organised.", rows[1:], {"ccgp": True, "coding_overlap": None}),
        Verdict("robustness", "pair", False, "No difference shown in robustness.", (), {"noise_tolerance": False}),
        Verdict("belief", "b", None, f"{NASTY}: what it expresses cannot be read."),
    )
    items = pd.DataFrame(
        {
            "id": ["1", "2"],
            "model": ["first", NASTY],
            "answer": ["yes", ""],
            "margin": [0.5, math.nan],
            "claim": [1.0, 0.0],
        }
    )
    facts = {
        "a": "first", "b": NASTY, "task": "things & <i>items</i>", "gate": gate, "verdicts": verdicts,
        "measurements": rows, "items": items, "notes": ("They differ in depth.",),
        "provenance": {"seed": 0, "options": {"margin": 0.02, "hook_points": None}, "created": "2025-01-01"},
    }  # fmt: skip
    return Comparison(**(facts | changed))


def same(one, other):
    """Whether two records are equal, where an undefined number equals another."""
    return repr(dataclasses.asdict(one)) == repr(dataclasses.asdict(other))


@pytest.fixture
def saved(tmp_path):
    return make_comparison().save(tmp_path / "new" / "out")


def test_what_was_saved_is_read_back(saved):
    before, after = make_comparison(), Comparison.load(saved)
    pd.testing.assert_frame_equal(after.frame(), before.frame(), check_exact=True)
    pd.testing.assert_frame_equal(after.items, before.items, check_exact=True)
    for name in ("a", "b", "task", "notes", "provenance"):
        assert getattr(after, name) == getattr(before, name)
    assert after.summary() == before.summary()


def test_the_gate_is_read_back_with_its_undefined_numbers(saved):
    before, after = make_comparison().gate, Comparison.load(saved).gate
    # JSON holds neither NaN nor infinity: what is not finite comes back undefined
    assert math.isnan(after.supported_margin)
    assert same(dataclasses.replace(after, supported_margin=math.inf), before)
    assert isinstance(after.strata[1], Stratum)
    assert math.isnan(after.strata[1].b) and math.isnan(after.agreement.value)


def test_verdicts_are_read_back_with_flags_and_evidence(saved):
    before, after = make_comparison().verdicts, Comparison.load(saved).verdicts
    assert all(same(x, y) for x, y in zip(after, before, strict=True))
    assert after[0].flags == {"ccgp": True, "coding_overlap": None}
    assert [v.flagged for v in after] == [True, False, None]
    assert after[0].evidence[0].estimate.invariances == "rotation"


def test_the_json_is_valid_and_writes_undefined_numbers_as_null(saved):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads((saved / "comparison.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert set(record) >= {"gate", "verdicts", "provenance"}
    assert record["gate"]["p_different"] is None
    assert record["gate"]["agreement"]["value"] is None
    assert record["gate"]["agreement"]["reason"] == "no answers to agree on"
    assert record["verdicts"][0]["flags"] == {"ccgp": True, "coding_overlap": None}


def test_the_tables_can_be_read_by_anything_that_reads_parquet(saved):
    table = pd.read_parquet(saved / "metrics.parquet")
    assert tuple(table.columns) == COLUMNS
    assert table.value.isna().tolist() == [False, False, True]
    assert table.reason.tolist() == ["", "a limit", "too few groups"]
    assert len(pd.read_parquet(saved / "items.parquet")) == 2


def test_a_comparison_with_nothing_measured_is_read_back(tmp_path):
    bare = make_comparison(measurements=(), verdicts=(), notes=(), items=make_comparison().items.iloc[:0])
    after = Comparison.load(bare.save(tmp_path / "bare"))
    assert after.measurements == () and after.verdicts == () and len(after.items) == 0
    assert list(after.frame().columns) == list(COLUMNS)


def test_a_cell_shows_names_as_text():
    page = make_comparison()._repr_html_()
    assert "<script>" not in page and "<i>" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;b&quot;" in page
    assert "things &amp; &lt;i&gt;items&lt;/i&gt;" in page
    assert page.count("⚑") == 1
    assert NASTY in repr(make_comparison()).replace("\\'", "'")


def test_the_summary_marks_each_verdict_and_names_its_scope():
    lines = make_comparison().summary().splitlines()
    assert lines[0] == f"first against {NASTY} on things & <i>items</i>"
    assert lines[2:7] == [
        "[?] Neither equal within 0.02 nor different.",
        "[!] Differently organised.",
        "[-] No difference shown in robustness.",
        f"[?] {NASTY}: what it expresses cannot be read.",
        "(note) They differ in depth.",
    ]
    assert "a statement about this pair, not about the recipes" in lines[-1]


@pytest.mark.parametrize(
    ("outcome", "mark", "differs"), [("equal", "=", False), ("different", "!", True), ("chance", "?", False)]
)
def test_the_gate_differs_only_where_a_difference_is_shown(outcome, mark, differs):
    comparison = make_comparison(gate=dataclasses.replace(make_comparison().gate, outcome=outcome))
    assert comparison.differs("gate") is differs
    assert comparison.summary().splitlines()[2].startswith(f"[{mark}]")


def test_a_verdict_is_found_by_family_and_subject():
    comparison = make_comparison()
    assert comparison.verdict("structure").flags["ccgp"]
    assert comparison.verdict("belief") is None
    assert comparison.verdict("belief", "b").flagged is None
    assert [comparison.differs(family) for family in ("structure", "robustness", "belief")] == [True, False, False]


def drop(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def edit(change):
    def break_(folder):
        path = folder / "comparison.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    return break_


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop("comparison.json"), "give the --out of a compare job"),
        (drop("metrics.parquet"), "give the --out of a compare job"),
        (drop("items.parquet"), "give the --out of a compare job"),
        (write("comparison.json", '{"format": 1, '), "give the --out of a compare job"),
        (write("comparison.json", "[]"), "has format None, this version reads 1"),
        (write("metrics.parquet", "no parquet"), "give the --out of a compare job"),
        (edit(lambda r: r.update(format=99)), "has format 99, this version reads 1; run the comparison again"),
        (edit(lambda r: r.pop("gate")), "run the comparison again"),
        (edit(lambda r: r["gate"].pop("strata")), "run the comparison again"),
        (edit(lambda r: r["gate"].update(strange=1)), "run the comparison again"),
        (edit(lambda r: r["gate"]["a"].update(value=None)), "run the comparison again"),
        (edit(lambda r: r.update(verdicts=[{"family": "structure"}])), "run the comparison again"),
        (edit(lambda r: r.update(verdicts=None)), "run the comparison again"),
        (edit(lambda r: r.update(gate=[])), "run the comparison again"),
        (edit(lambda r: r["gate"].update(a=[1])), "run the comparison again"),
        (lambda folder: pd.DataFrame({"n": [1]}).to_parquet(folder / "metrics.parquet"), "run the comparison again"),
    ],
)  # fmt: skip
def test_a_directory_that_holds_no_whole_comparison_is_refused_in_one_line(saved, damage, said):
    damage(saved)
    with pytest.raises(InputError) as caught:
        Comparison.load(saved)
    assert said in str(caught.value)
    assert repr(str(saved)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no readable comparison"):
        Comparison.load(tmp_path / "nowhere")
