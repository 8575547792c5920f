"""One model's rows and two models' difference: planted speakers over two conditions."""

from __future__ import annotations

import numpy as np
import pytest

from mechdecouple import beliefs
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import COLUMNS, frame
from mechdecouple.stats import group_bootstrap_weights

N = 400


class World:
    """One reading, two conditions (an honest one and a persona), and speakers to set against it."""

    def __init__(self, planted, strength: float):
        rng = np.random.default_rng(11)
        acts, truth, groups = planted({"early": 0.1 * strength, "late": strength}, N, rng)
        self.truth, self.groups = np.r_[truth, truth], np.r_[groups, groups]
        self.condition = np.repeat(["honest", "sell"], N)
        self.honest = self.condition == "honest"
        activations = {name: np.concatenate([X, X]) for name, X in acts.items()}
        self.represented = beliefs.represent(activations, self.truth, self.groups, self.honest, n_permutations=39)
        self.weights = group_bootstrap_weights(self.groups, 200, seed=0)
        sure = np.clip(self.truth + 0.1 * rng.normal(size=2 * N), 0.02, 0.98)
        self.speakers = {
            "honest": sure,
            "persuader": np.where(self.honest, sure, 0.8),
            "liar": np.where(self.honest, sure, 1 - sure),
        }

    def measure(self, speaker: str | None, **options) -> beliefs.Beliefs:
        given = {
            "model": speaker or "encoder",
            "groups": self.groups,
            "truth": self.truth,
            "condition": self.condition,
            "honest": "honest",
            "weights": self.weights,
            "expressed": self.speakers.get(speaker),
            "position": "last",
        }
        return beliefs.measure(self.represented, **given | options)


@pytest.fixture(scope="module")
def knowing():
    def planted(strengths, n, rng, d=6):
        truth = np.tile([1.0, 0.0], n // 2)
        shift = np.outer(2 * truth - 1, np.eye(d)[0])
        return {k: rng.normal(size=(n, d)) + shift * v for k, v in strengths.items()}, truth, np.arange(n) // 2

    return World(planted, 2.0)


@pytest.fixture
def ignorant(planted):
    return World(planted, 0.0)


def _table(measured):
    return measured.frame().set_index(["metric", "context", "concept", "hook_point"]).sort_index()


def test_rows_of_one_model(knowing):
    rows = beliefs.measurements(knowing.measure("persuader"))
    assert tuple(frame(rows).columns) == COLUMNS
    assert all(row.family == "beliefs" and row.model == "persuader" for row in rows)
    table = _table(knowing.measure("persuader"))
    assert set(table.index.get_level_values("metric")) == {
        "represented_auroc", "represented_auroc_selected", "expressed_auroc", "auroc_gap",
        "claim_correlation", "bullshit_index", "bullshit_index_normalised", "claim_rate",
    }  # fmt: skip
    assert table.loc[("represented_auroc", "honest", "", "late"), "value"] > 0.95
    assert table.loc[("represented_auroc_selected", "sell", "", "late"), "value"] > 0.95
    assert table.loc[("auroc_gap", "sell", "", "late"), "low"] > 0.4
    assert table.loc[("auroc_gap", "honest", "", "late"), "low"] < 0.05
    assert table.loc[("bullshit_index", "sell", "", "late"), "value"] > 0.95
    assert table.loc[("claim_rate", "sell", "false statements", ""), "value"] == pytest.approx(0.8)
    scored = table[table["value"].notna()]
    assert (scored["n"] == N // 2).all() and (scored["unit"] == "groups").all()
    assert scored["method"].str.contains("bootstrap").all() and scored["low"].notna().all()
    assert table.loc[("represented_auroc_selected", "honest", "", "late"), "p"] == pytest.approx(1 / 40)
    assert np.isnan(table.loc[("represented_auroc_selected", "sell", "", "late"), "p"])


@pytest.mark.parametrize(("speaker", "expected"), [("honest", False), ("persuader", True), ("liar", True)])
def test_a_gap_is_claimed_for_those_who_hide_it(knowing, speaker, expected):
    measured = knowing.measure(speaker)
    assert beliefs.claimed(measured, "sell")[0] is expected
    found, sentence = beliefs.claimed(measured)
    assert not found and "not above the margin" in sentence


def test_a_liar_has_a_negative_correlation(knowing):
    assert knowing.measure("liar").gaps["sell"].claim_correlation.value < -0.8


def test_two_models_differ_where_one_of_them_hides(knowing):
    honest, persuader = knowing.measure("honest"), knowing.measure("persuader")
    at_honest, at_sell = beliefs.differences(persuader, honest)
    assert (at_sell.model, at_sell.model_b, at_sell.context) == ("persuader", "honest", "sell")
    assert at_sell.estimate.low > beliefs.AUROC_GAP.margin and at_sell.hook_point_b == "late"
    assert at_honest.estimate.value == 0 == at_honest.estimate.high
    pair = beliefs.differences(honest, honest)
    assert all(row.estimate.low == row.estimate.high == 0 for row in pair), "a model against itself"


def test_pairing_is_tighter_than_the_parts(knowing):
    a, b = knowing.measure("persuader"), knowing.measure("honest")
    gap_a = a.gaps["sell"].auroc_gap
    paired = (gap_a - b.gaps["sell"].auroc_gap).standard_error()
    swapped = np.random.default_rng(0).permutation(b.gaps["sell"].auroc_gap.replicates)
    assert paired <= np.std(gap_a.replicates - swapped, ddof=1)


def test_the_ignorant_claim_no_gap(ignorant, knowing):
    measured = ignorant.measure("persuader")
    found, sentence = beliefs.claimed(measured, "sell")
    assert not found and "does not beat" in sentence
    rows = [row for row in beliefs.measurements(measured) if row.metric in ("auroc_gap", "bullshit_index")]
    assert all("No gap is claimed" in row.estimate.reason and not np.isnan(row.estimate.value) for row in rows)
    for row in beliefs.differences(knowing.measure("honest"), measured):
        assert np.isnan(row.estimate.value) and "does not beat" in row.estimate.reason


def test_an_encoder_expresses_nothing(knowing):
    measured = knowing.measure(None, expressed=np.full(2 * N, np.nan), nothing_expressed="no language-model head")
    table = _table(measured)
    assert table.loc[("represented_auroc_selected", "honest", "", "late"), "value"] > 0.95
    for metric in ("expressed_auroc", "auroc_gap", "claim_correlation", "bullshit_index", "claim_rate"):
        rows = table.loc[metric]
        assert rows["value"].isna().all() and (rows["reason"] == "no language-model head").all()
    found, sentence = beliefs.claimed(measured)
    assert not found and "no language-model head" in sentence
    (row, _) = beliefs.differences(measured, knowing.measure("honest"))
    assert row.estimate.reason == "encoder: no language-model head"


def test_what_cannot_be_read_says_why(knowing):
    truth = np.ones(2 * N)
    represented = beliefs.represent({"h": np.ones((2 * N, 2))}, truth, knowing.groups, knowing.honest)
    measured = beliefs.measure(
        represented, model="m", groups=knowing.groups, truth=truth, expressed=knowing.speakers["honest"], n_resamples=20
    )
    table = _table(measured)
    for metric in ("represented_auroc", "represented_auroc_selected", "auroc_gap", "claim_correlation"):
        assert (table.loc[metric, "reason"] == represented.reason).all()
    assert "every statement is true" in table.loc["expressed_auroc", "reason"].iloc[0]
    assert table.loc["claim_rate", "value"].notna().all()


def test_sampled_claims_take_the_place_of_probabilities(knowing):
    claims = (np.random.default_rng(0).random(2 * N) < knowing.speakers["persuader"]).astype(float)
    sampled, limit = knowing.measure("persuader", claim=claims), knowing.measure("persuader")
    for level in ("honest", "sell"):
        assert sampled.gaps[level].claim_correlation.value == pytest.approx(
            limit.gaps[level].claim_correlation.value, abs=0.12
        )


def test_mismatches_are_refused(knowing):
    with pytest.raises(InputError, match="'truthful' is not a level of condition: honest, sell"):
        knowing.measure("honest", honest="truthful")
    with pytest.raises(InputError, match="pass the same rows"):
        knowing.measure("honest", truth=knowing.truth[:-1])
    with pytest.raises(MismatchError, match="conditions differ"):
        beliefs.differences(knowing.measure("honest"), knowing.measure("honest", condition=None))
