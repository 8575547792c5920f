"""The protocol on planted worlds: what it finds, what it denies, what it says was not checked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.beliefs.protocol import protocol
from mechdecouple.errors import InputError

QUICK = {"n_permutations": 19, "n_resamples": 200}


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def holds(found, question: str):
    return {claim.question: claim.holds for claim in found.claims}[question]


def test_a_planted_truth_passes_every_control(world, rng):
    w = world()
    found = protocol(
        {("early", "last"): w.layer(rng, 0.2), ("late", "last"): w.layer(rng)},
        w.truth,
        w.groups,
        context=w.context,
        strata={"polarity": w.polarity},
        conditions=np.full(480, "honest"),
        loglik=rng.normal(size=480),
        length=rng.integers(5, 15, 480),
        layer_0=w.layer(rng, 0.0),
        untrained={"late": w.layer(rng, 0.0)},
        model="m",
        **QUICK,
    )
    assert found.represented.hook_point == "late @ last"
    assert found.auroc.value == pytest.approx(sps.norm.cdf(1.5 * np.sqrt(2)), abs=0.02)
    assert found.passed, found.statement
    assert {claim.holds for claim in found.claims} == {True, None}
    assert found.generalisation().shape == (4, 3) and (found.generalisation().to_numpy() > 0.9).all()
    assert set(found.strata) >= {("polarity", "affirmed"), ("polarity", "negated"), ("context", "birds")}
    assert found.beyond["untrained"].low > 0.3 and abs(found.baselines["layer 0"].value - 0.5) < 0.12
    assert found.identity["context"].low < 0.5
    assert abs(found.correlations["length"].value) < 0.15 and abs(found.correlations["polarity"].value) < 0.15
    frame = found.frame()
    assert (frame.model == "m").all() and frame.value.notna().sum() > 20
    assert (frame.reason[frame.value.isna()] != "").all()
    assert "late @ last" in set(frame.hook_point) and "not checked" in found._repr_html_()


def test_a_model_that_knows_nothing_claims_nothing(world, rng):
    w = world(240)
    found = protocol({"h": w.layer(rng, 0.0)}, w.truth, w.groups, context=w.context, **QUICK)
    assert not found.passed and found.claims[0].holds is False and len(found.claims) == 2
    assert "No gap is claimed" in found.statement


def test_a_truth_that_turns_over_with_polarity_is_named(world, rng):
    w = world()
    X = w.layer(rng, np.where(w.polarity == "affirmed", 1.5, -0.3))
    found = protocol({"h": X}, w.truth, w.groups, strata={"polarity": w.polarity}, **QUICK)
    assert holds(found, "Does it hold in every stratum?") is False and not found.passed
    assert found.strata["polarity", "negated"].high < 0.5 < found.strata["polarity", "affirmed"].low
    assert "polarity negated" in found.statement


def test_a_likely_statement_is_not_a_true_one(world, rng):
    """What is read is how likely the text is, which goes with the truth: nothing is left among equally likely ones."""
    w = world()
    loglik = w.sign + rng.normal(size=480)
    X = 0.02 * rng.normal(size=(480, 6)) + np.outer(loglik, np.eye(6)[1])
    found = protocol({"h": X}, w.truth, w.groups, loglik=loglik, **QUICK)
    assert found.represented.p <= 0.05 and found.auroc.low > 0.8
    assert found.correlations["log-likelihood"].value > 0.9
    assert found.surface["log-likelihood"].value == pytest.approx(found.auroc.value, abs=0.03)
    assert found.deciles["log-likelihood"].value < found.auroc.value - 0.2
    both = w.layer(rng) + np.outer(loglik, np.eye(10)[1])
    assert protocol({"h": both}, w.truth, w.groups, loglik=loglik, **QUICK).deciles["log-likelihood"].low > 0.75


def test_the_input_gives_it_away(world, rng):
    w = world(240)
    X = w.layer(rng)
    found = protocol({"h": X}, w.truth, w.groups, layer_0=X + 0.01 * rng.normal(size=X.shape), **QUICK)
    assert holds(found, "Is it more than the input gives away?") is False
    assert "layer 0" in found.statement and "Not checked: untrained" in found.statement


def test_conditions_are_read_by_honest_probes_only(world, rng):
    w = world(240)
    honest = np.r_[np.ones(240, bool), np.zeros(240, bool)]
    truth, groups = np.r_[w.truth, w.truth], np.r_[w.groups, w.groups]
    condition = np.where(honest, "honest", "liar")

    def read(second: np.ndarray):
        X = np.concatenate([X_honest, second])
        half = {"half": np.r_[np.arange(240) % 4 < 2, np.zeros(240, bool)]}
        return protocol({"h": X}, truth, groups, honest_mask=honest, conditions=condition, strata=half, **QUICK)

    X_honest = w.layer(rng)
    kept, lost, same = read(w.layer(rng) + 3), read(w.layer(rng, -1.5)), read(X_honest)
    assert kept.auroc == lost.auroc == same.auroc and kept.strata == lost.strata
    assert kept.conditions["liar"].low > 0.9 and kept.identity["condition"].low > 0.95
    assert lost.conditions["liar"].high < 0.1
    assert holds(lost, "Is it there under every condition?") is False
    assert same.conditions["liar"].value == same.conditions["honest"].value
    assert same.identity["condition"].value == pytest.approx(0.5, abs=0.05)


def test_what_was_not_given_is_said_to_be_unchecked(world, rng):
    w = world(240)
    found = protocol({"h": w.layer(rng)}, w.truth, w.groups, **QUICK)
    unchecked = [claim.question for claim in found.claims if claim.holds is None]
    assert len(unchecked) == 6 and found.generalisation().empty
    assert found.passed


def test_too_little_truth_is_told(rng):
    found = protocol({"h": rng.normal(size=(30, 2))}, np.ones(30), np.arange(30))
    assert found.claims[0].holds is None and "Nothing can be claimed" in found.statement and not found.passed
    assert found.frame().value.isna().all()


def test_a_stratum_of_one_class_is_undefined_with_its_reason(world, rng):
    w = world(240)
    kind = np.where((w.truth == 1) & (np.arange(240) < 40), "only true", "rest")
    found = protocol({"h": w.layer(rng)}, w.truth, w.groups, strata={"kind": kind}, **QUICK)
    assert "20 true and 0 false statements" in found.strata["kind", "only true"].reason
    assert holds(found, "Does it hold in every stratum?") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": ["a"] * 3}, "context has 3 rows, truth has 40"),
        ({"strata": {"id": np.arange(120)}, "n": 120}, "id has 120 levels, at most 50"),
        ({"loglik": np.zeros(2)}, "log-likelihood has 2 rows"),
        ({"types": np.zeros(2)}, "types has 2 rows"),
        ({"layer_0": np.zeros((7, 2))}, "layer 0 has 7 rows"),
        ({"untrained": {"h": np.full((40, 2), np.nan)}}, "activations of untrained are not finite in row 0"),
        ({"truth": np.full(40, 0.5)}, "truth must be 0, 1 or NaN"),
    ],
)
def test_bad_input_is_refused(change, message, rng):
    n = change.pop("n", 40)
    given = {"truth": np.arange(n) % 2, "groups": np.arange(n) // 2} | change
    with pytest.raises(InputError, match=message):
        protocol({"h": rng.normal(size=(n, 2))}, given.pop("truth"), given.pop("groups"), **QUICK, **given)


def test_names_of_places_must_differ(rng):
    X = rng.normal(size=(40, 2))
    with pytest.raises(InputError, match="same hook point and position"):
        protocol({"h @ last": X, ("h", "last"): X}, np.arange(40) % 2, np.arange(40) // 2)
