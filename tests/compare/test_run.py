"""Whole comparisons of models whose right answer is known: what must be found is found, and nothing else."""

import math

import pytest

from mechdecouple import zoo
from mechdecouple.compare import compare
from mechdecouple.sae import KIND_EXCESSES, KIND_SHARES, MATCHED_SHARE

AT = {"position": "position_statement"}


STRUCTURE = ("geometry", "fracture", "entanglement")


def of_pair(comparison):
    """Paired differences over all hook points: on one metric's scale (agreement and similarities are none)."""
    table = comparison.frame()
    table = table[(table.model_b != "") & ~table.family.isin(["similarity", "ancestry"])]
    of_map = table.family.isin(STRUCTURE) & (table.hook_point != "")
    shares = [metric.name for metric in (MATCHED_SHARE, *KIND_SHARES.values())]
    return table[~of_map & ~table.metric.isin(["agreement", *shares])]


def map_of(comparison):
    """Paired differences at each hook point."""
    table = comparison.frame()
    return table[(table.model_b != "") & table.family.isin(STRUCTURE) & (table.hook_point != "")]


def values(comparison, metric, model=None):
    """Values of one model, or of the pair, by (hook point, concept)."""
    table = comparison.frame()
    table = table[(table.metric == metric) & (table.model == (model or comparison.a)) & (table.model_b == "")]
    return {(row.hook_point, row.concept): row.value for row in table.itertuples()}


def kept(comparison, model):
    """Hook points that take part in verdicts."""
    table = comparison.frame()
    effects = table[(table.metric == "ablation_effect") & (table.model == model)]
    return set(effects.hook_point[~effects.reason.str.contains("kept out of verdicts")])


@pytest.fixture(scope="module")
def itself(quick):
    points = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"]
    task, less = zoo.task("demo-tidy", 1200), {"probe_items": 64, "sae_width": 16, "hook_points": points}
    less["families"] = ["structure", "similarity", "robustness", "ancestry", "sae", "beliefs"]
    return compare("zoo:demo-tidy", "zoo:demo-tidy", task, **(quick | less), **AT)


@pytest.fixture(scope="module")
def twins(quick):
    families, points = ["structure", "similarity", "robustness"], [f"blocks.{i}.hook_resid_post" for i in range(3)]
    return compare(
        "zoo:factored", "zoo:fractured", "zoo:factored", **quick, **AT, families=families, hook_points=points
    )


@pytest.fixture(scope="module")
def demo(quick):
    pair, points = zoo.demo(), ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    task, families = zoo.task("demo-tidy", 1500), ["structure", "beliefs"]
    return compare(pair.a, pair.b, task, **(quick | pair.options | {"hook_points": points, "families": families}))


def test_a_model_against_itself_differs_in_nothing(itself):
    assert itself.gate.outcome == "equal"
    assert itself.gate.agreement.value == 1
    families = {v.family for v in itself.verdicts}
    assert families == {"calibration", "structure", "similarity", "robustness", "ancestry", "sae", "belief"}
    assert not any(itself.differs(family) for family in ("gate", *families))
    assert [v.sentence for v in itself.verdicts if v.flagged] == []
    assert not any(flag for v in itself.verdicts for flag in v.flags.values())


def test_a_model_against_itself_has_no_difference_in_any_metric(itself):
    found = of_pair(itself)
    primary = {
        "performance", "ece_debiased", "ccgp", "erasure_residual", "coding_overlap", "participation_ratio",
        "noise_tolerance", "auroc_gap", "matched_share_excess",
    }  # fmt: skip
    assert set(found.metric) == primary | {metric.name for metric in KIND_EXCESSES.values()}
    everywhere = map_of(itself)
    assert {"ccgp", "parallelism", "effective_rank"} < set(everywhere.metric) and (everywhere.value.abs() < 1e-9).all()
    assert (everywhere.p.dropna() > 0.99).all()
    assert (found.value == 0).all()
    table = itself.frame().set_index("metric").value
    assert (table["weight_change"] == 0).all() and (table["graft_effect"] == 0).all()


def test_a_model_against_itself_is_fully_similar(itself):
    table = itself.frame().query("metric == 'cka' and hook_point == hook_point_b")
    assert len(table) == 2
    (known,) = table[table.reason == ""].itertuples()
    assert known.value == pytest.approx(1, abs=1e-9)
    # what is read lies at the end of a statement, whose word is the same in all: before the first layer nothing varies
    (constant,) = table[table.reason != ""].itertuples()
    assert math.isnan(constant.value)
    assert "constant" in constant.reason


def test_a_model_against_itself_goes_by_two_names(itself):
    assert (itself.a, itself.b) == ("demo-tidy (A)", "demo-tidy (B)")
    assert set(itself.items.model) == {itself.a, itself.b}
    sides = [itself.items[itself.items.model == name].drop(columns="model") for name in (itself.a, itself.b)]
    assert sides[0].reset_index(drop=True).equals(sides[1].reset_index(drop=True))


def test_twins_are_equally_accurate(twins):
    assert twins.gate.outcome == "equal"
    assert min(twins.gate.a.value, twins.gate.b.value) >= 0.99
    assert twins.gate.p_equal < 0.05
    assert {s.outcome for s in twins.gate.strata} <= {"equal", "undecided"}


def test_fracture_is_flagged_in_the_right_direction(twins):
    verdict = twins.verdict("structure")
    assert verdict.flagged
    assert verdict.flags["ccgp"] and verdict.flags["erasure_residual"]
    difference = of_pair(twins).set_index("metric").value
    assert difference["ccgp"] > 0.2
    assert difference["erasure_residual"] < -0.2
    for title in ("CCGP over contexts", "Conditional erasure residual"):
        said = verdict.sentence[verdict.sentence.index(title) :].split("tidier.")[0]
        assert said.endswith("factored is the ")


def test_fracture_is_flagged_where_probe_accuracy_is_equal(twins):
    points = kept(twins, "factored") & kept(twins, "fractured")
    assert points
    accuracy = [values(twins, "probe_accuracy", name) for name in ("factored", "fractured")]
    ccgp = [values(twins, "ccgp", name) for name in ("factored", "fractured")]
    cells = [cell for cell in accuracy[0] if cell[0] in points]
    assert len(cells) == 4 * len(points)
    for cell in cells:
        assert abs(accuracy[0][cell] - accuracy[1][cell]) < 0.02
        assert ccgp[0][cell] - ccgp[1][cell] > 0.2


def test_the_shift_is_flagged_with_the_factored_twin_ahead(twins):
    assert twins.verdict("robustness").flags["shift_performance"]
    assert of_pair(twins).set_index("metric").value["shift_performance"] > 0.2
    assert "factored is the tidier" in twins.verdict("robustness").sentence


def test_inert_hook_points_are_named_and_kept_out(twins):
    for name in ("factored", "fractured"):
        effects = {point: effect for (point, _), effect in values(twins, "ablation_effect", name).items()}
        # what the last layer writes at the end of a statement can reach no answer
        assert effects["blocks.2.hook_resid_post"] == 0
        assert {"blocks.0.hook_resid_pre", "blocks.2.hook_resid_post"}.isdisjoint(kept(twins, name))
        assert all(effects[point] > 0.01 for point in kept(twins, name))
    n = len(kept(twins, "factored") & kept(twins, "fractured"))
    assert f"mean over {n} hook point" in twins.verdict("structure").sentence


def test_the_demo_pair_is_equal_and_differs_in_structure_and_belief(demo):
    assert demo.gate.outcome == "equal"
    assert demo.verdict("structure").flagged
    assert demo.verdict("structure").flags["ccgp"] and demo.verdict("structure").flags["erasure_residual"]
    assert demo.verdict("belief").flagged
    assert [family for family in ("gate", "calibration", "structure", "belief") if demo.differs(family)] == [
        "structure",
        "belief",
    ]


def test_the_belief_gap_is_claimed_of_one_model_under_pressure_alone(demo):
    assert demo.verdict("belief").flags == {
        "auroc_gap (condition honest)": False,
        "auroc_gap (condition pressured)": True,
    }
    assert demo.verdict("belief", "a").flagged is False
    assert demo.verdict("belief", "b").flagged is True
    said = demo.verdict("belief", "b").sentence
    assert "does not say what it represents in condition pressured, though it does when asked honestly" in said
    rows = demo.frame().query("metric == 'auroc_gap' and model_b == ''").set_index(["model", "context"])
    assert rows.low["demo-fractured", "pressured"] > 0.05
    quiet = rows.drop(("demo-fractured", "pressured"))
    assert len(quiet) == 3
    assert (quiet.low < 0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["factored", "fractured"])
def test_two_seeds_of_one_recipe_differ_in_nothing(name):
    comparison = compare(f"zoo:{name}", f"zoo:{name}@1", f"zoo:{name}", progress=False, **AT)
    assert comparison.gate.outcome == "equal"
    assert [v.sentence for v in comparison.verdicts if v.flagged] == []


@pytest.mark.slow
def test_the_persuader_alone_does_not_say_what_it_represents():
    comparison = compare(
        "zoo:honest", "zoo:persuader", "zoo:honest", progress=False, **AT, families=["structure", "beliefs"]
    )
    assert comparison.gate.outcome == "equal"
    assert comparison.verdict("belief").flagged
    assert comparison.verdict("belief", "a").flagged is False
    assert comparison.verdict("belief", "b").flagged is True


@pytest.mark.slow
def test_no_gap_is_claimed_of_the_ignorant():
    comparison = compare("zoo:honest", "zoo:ignorant", "zoo:honest", progress=False, **AT, families=["beliefs"])
    assert comparison.gate.outcome == "different"
    assert comparison.verdict("belief", "b").flagged is False
    assert not any(comparison.verdict("belief").flags.values())
