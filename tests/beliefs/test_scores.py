"""The report from scores alone: planted speakers, the gate, pairs, reasons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from mechdecouple import beliefs
from mechdecouple.beliefs.gap_metrics import GAP_METRICS, KNOWLEDGE_METRICS
from mechdecouple.beliefs.gate import score_gate
from mechdecouple.beliefs.score_verdicts import verdicts
from mechdecouple.beliefs.scores import gap_from_scores
from mechdecouple.beliefs.table import ScoreTable
from mechdecouple.errors import InputError
from mechdecouple.stats import group_bootstrap_weights

N = 480
FEW = {"n_resamples": 200, "n_permutations": 99}


def one(name="", seed=0, knows=4.0, persuades=False):
    """Two true and two false answers a question; under ``persuade`` a persuader says yes whatever it knows."""
    rng = np.random.default_rng(seed)
    truth, stratum = np.tile([1.0, 0.0], N // 2), np.where(np.arange(N) // 4 % 2, "persuade", "honest")
    belief, said = (expit(knows * (truth - 0.5) + rng.normal(size=N)) for _ in range(2))
    if persuades:
        said = np.where(stratum == "persuade", 0.8 + 0.1 * rng.random(N), said)
    return pd.DataFrame(
        {
            "id": [f"i{i}" for i in range(N)], "group": np.arange(N) // 4, "truth": truth, "represented": belief,
            "expressed": said, "stratum": stratum, "model": name,
        }
    )  # fmt: skip


def of(table, **options):
    table = table.drop(columns="model") if (table.model == "").all() else table
    return gap_from_scores(table, **FEW | options)


@pytest.fixture(scope="module")
def pair():
    return of(pd.concat([one("tidy", 0), one("persuader", 1, persuades=True)[::-1]]))


def test_the_persuader_is_flagged_where_it_persuades_and_the_honest_one_is_not(pair):
    tidy, persuader, both = verdicts(pair)
    assert tidy.flagged is False and persuader.flagged is True and both.flagged is True
    assert "does not say what it represents in persuade, though it does in honest" in persuader.sentence
    assert "differ in persuade by more than" in both.sentence
    level = pair.levels["persuader"]["persuade"]
    assert level.gap.auroc_gap.interval()[0] > 0.3 and level.knowledge.hidden_knowledge.interval()[0] > 0.3
    assert level.gap.bullshit_index.value > 0.95 and level.excess.interval()[0] > 0.3
    assert pair.honest == "honest" and pair.strata == ("honest", "persuade")
    assert all(gate.passed and gate.stratum == "honest" for gate in pair.gates.values())
    assert len(pair.summary().splitlines()) == 3 and pair.summary().startswith("NOT FLAGGED: tidy")


def test_each_level_is_the_gap_of_its_rows_on_one_plan(pair):
    rows = one("persuader", 1, persuades=True)
    use = np.flatnonzero(rows.stratum == "persuade")
    w = group_bootstrap_weights(rows.group.astype(str).to_numpy(), 200, 0)
    part = rows.iloc[use]
    expected = beliefs.gap(part.group, part.truth, part.represented, part.expressed, weights=w[:, use])
    found = pair.levels["persuader"]["persuade"]
    assert np.array_equal(found.gap.auroc_gap.replicates, expected.auroc_gap.replicates) and found.n == N // 2
    everything = pair.levels["persuader"][""].gap
    assert everything.represented_auroc.value == pytest.approx(roc_auc_score(rows.truth, rows.represented))


def test_differences_are_paired(pair):
    rows = pair.frame()
    rows = rows[(rows.model_b == "persuader") & (rows.context == "persuade")].set_index("metric")
    a, b = (pair.levels[m]["persuade"].gap.auroc_gap for m in ("tidy", "persuader"))
    assert rows.value["auroc_gap"] == pytest.approx(a.value - b.value)
    assert (rows.low["auroc_gap"], rows.high["auroc_gap"]) == pytest.approx((a - b).interval())
    assert rows.value["hidden_knowledge"] < -0.3 and rows.p["hidden_knowledge"] < 0.05
    twin = of(pd.concat([one("a"), one("b")]))
    same = twin.frame()
    same = same[same.model_b != ""]
    assert (same.value == 0).all() and (same.low == 0).all(), "what both share must cancel"
    assert verdicts(twin)[2].flagged is False


def test_rows_without_a_score_in_one_model_are_left_out_of_both():
    a, b = one("a"), one("b", 1)
    b.loc[:99, "expressed"] = np.nan
    found = of(pd.concat([a, b]))
    kept = [table.iloc[100:] for table in (a, b)]
    gaps = [roc_auc_score(t.truth, t.represented) - roc_auc_score(t.truth, t.expressed) for t in kept]
    row = found.frame().query("metric == 'auroc_gap' and model_b == 'b' and context == ''").iloc[0]
    assert row.value == pytest.approx(gaps[0] - gaps[1], abs=1e-12)
    assert found.levels["a"][""].gap.expressed_auroc.value == pytest.approx(roc_auc_score(a.truth, a.expressed))


def test_an_ignorant_model_claims_no_gap_and_closes_the_pair():
    ignorant = one("ignorant", 5, knows=0.0)
    found = of(pd.concat([ignorant, one("tidy")]))
    said = verdicts(found)
    assert said[0].flagged is False and "does not beat its null" in said[0].sentence
    assert said[2].flagged is None and "not compared" in said[2].sentence
    rows = found.frame().query("model == 'ignorant' and context == 'honest'").set_index(["metric", "model_b"])
    assert "No gap is claimed" in rows.reason["auroc_gap", ""] and np.isfinite(rows.value["auroc_gap", ""])
    assert np.isnan(rows.value["auroc_gap", "tidy"]) and "No gap is claimed" in rows.reason["auroc_gap", "tidy"]
    assert np.isfinite(rows.value["expressed_auroc", "tidy"]), "what is expressed can be compared all the same"


def test_the_gate_keeps_its_level_where_groups_share_truth_and_noise():
    passed, draws = 0, 100
    group = np.arange(80) // 4
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        truth = np.repeat(rng.permutation(np.tile([1.0, 0.0], 10)), 4)
        score = expit(2 * np.repeat(rng.normal(size=20), 4) + 0.3 * rng.normal(size=80))
        passed += score_gate(group, truth, score, n_permutations=39, seed=seed).passed
    assert passed / draws <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    strong = score_gate(group, truth, 0.1 + 0.8 * truth, n_permutations=99)
    assert strong.passed and strong.p == 0.01 and strong.auroc == 1


def test_the_gate_agrees_with_scikit_learn_and_says_why_not():
    table = one().iloc[:100]
    gate = score_gate(table.group, table.truth, table.represented, n_permutations=19)
    assert gate.auroc == pytest.approx(roc_auc_score(table.truth, table.represented), abs=1e-12) and gate.n_groups == 25
    assert gate.null.mean() == pytest.approx(0.5, abs=0.1) and len(gate.null) == 19
    few = score_gate(table.group[:8], table.truth[:8], table.represented[:8])
    assert "only 2 groups" in few.reason and not few.passed
    assert "every statement is true" in score_gate(table.group, np.ones(100), table.represented).sentence


def test_the_gate_is_asked_in_the_honest_stratum_alone():
    table = one()
    elsewhere = table.stratum == "persuade"
    table.loc[elsewhere, "represented"] = 0.5
    gate = of(table).gates[""]
    honest = table[~elsewhere]
    assert (
        gate.auroc == pytest.approx(roc_auc_score(honest.truth, honest.represented), abs=1e-12) and gate.n_groups == 60
    )
    table["represented"] = np.where(elsewhere, one().represented, 0.5)
    assert not of(table).gates[""].passed, "what can be read elsewhere opens no gate"


def test_a_gap_that_reaches_across_the_margin_is_not_flagged():
    table = one().drop(columns="stratum")
    table["expressed"] = expit(2.2 * (table.truth - 0.5) + np.random.default_rng(4).normal(size=N))
    found = of(table)
    low, high = found.levels[""][""].gap.auroc_gap.interval()
    assert low < 0.05 < high and low > 0, "the case is as meant"
    assert verdicts(found)[0].flagged is False


def test_without_strata_the_gate_is_asked_on_all_rows():
    found = of(one().drop(columns="stratum"))
    assert found.strata == ("",) and found.honest == "" and list(found.levels[""]) == [""]
    (said,) = verdicts(found)
    assert said.flagged is False and said.sentence.startswith("The model: no gap")
    assert found.levels[""][""].excess is None and not found.differences()


def test_claims_alone_are_enough_and_constant_ones_say_why():
    claims = one().drop(columns="expressed")
    found = of(claims.assign(claim=claims.truth))
    assert found.levels[""][""].gap.bullshit_index.value == found.levels[""][""].gap.bullshit_index_truthful.value
    assert found.levels[""][""].knowledge.knowledge_external.value == 1
    rows = of(claims.assign(claim=1)).frame().set_index(["metric", "context", "concept"])
    assert rows.reason["bullshit_index", "", ""].startswith("constant claims")
    assert np.isnan(rows.value["bullshit_index_excess", "persuade", ""])
    assert "constant claims" in rows.reason["bullshit_index_excess", "persuade", ""]


def test_one_class_in_a_stratum_is_undefined_there_alone():
    table = one()
    table.loc[table.stratum == "persuade", "truth"] = 1
    rows = of(table).frame().set_index(["metric", "context", "concept"])
    assert "every statement is true" in rows.reason["auroc_gap", "persuade", ""]
    assert "no question has both" in rows.reason["hidden_knowledge", "persuade", ""]
    assert np.isfinite(rows.value["auroc_gap", "honest", ""])
    nan = rows[rows.value.isna()]
    assert len(nan) and (nan.reason != "").all()


def test_questions_are_asked_apart_in_each_stratum():
    # the same question under two conditions: outside, one condition lies above the other, each is ranked right
    table = one()
    table["question"] = table.group = np.arange(N) // 8
    table["expressed"] = np.where(table.stratum == "honest", 0.2, 0.7) + 0.1 * table.truth
    assert of(table).levels[""][""].knowledge.knowledge_external.value == 1


def test_the_order_of_the_second_models_rows_changes_nothing(pair):
    shuffled = pd.concat([one("tidy", 0), one("persuader", 1, persuades=True).sample(frac=1, random_state=3)])
    pd.testing.assert_frame_equal(of(shuffled).frame(), pair.frame())


def test_every_row_has_a_declared_metric_and_parts_add_up(pair):
    rows = pair.frame()
    known = {
        *GAP_METRICS, *KNOWLEDGE_METRICS, "ece_debiased", "represented_auroc_selected", "expressed_auroc", "auroc_gap",
        "claim_correlation", "bullshit_index", "bullshit_index_normalised", "claim_rate",
    }  # fmt: skip
    assert set(rows.metric) == known
    at = rows.query("model == 'tidy' and model_b == '' and context == ''").set_index(["metric", "concept"]).value
    part = {name: at[f"brier_{name}", "expressed"] for name in ("reliability", "resolution", "uncertainty")}
    total = part["reliability"] - part["resolution"] + part["uncertainty"] + at["brier_within_bin", "expressed"]
    assert total == pytest.approx(at["expressed_brier", ""])
    assert "persuader" in pair._repr_html_()


def test_the_parts_of_the_brier_score_have_intervals_over_groups(pair):
    level = pair.levels["tidy"][""]
    for channel in ("represented", "expressed"):
        for name, part in level.brier[channel].items():
            assert part.unit == "groups" and part.low <= part.value <= part.high, name
    # a base rate that is one half in every group does not change when a group is left out
    assert level.brier["expressed"]["uncertainty"].high == pytest.approx(0.25)
    assert level.brier["expressed"]["reliability"].high > level.brier["expressed"]["reliability"].low


def test_options_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="honest stratum 'candid' is not in"):
        of(one(), honest="candid")
    with pytest.raises(InputError, match="n_resamples is 3"):
        of(one(), n_resamples=3)
    assert of(ScoreTable.read(one().drop(columns="model")).frame, honest="persuade").gates[""].stratum == "persuade"


def _false_positives(simulations: int) -> dict[str, float]:
    """Share of p-values and verdicts that find something where two models speak as they believe, alike."""
    found = {"auroc_gap": 0, "hidden_knowledge": 0, "model": 0, "pair": 0}
    for seed in range(simulations):
        table = pd.concat([one("a", 2 * seed), one("b", 2 * seed + 1)]).drop(columns="stratum")
        report = of(table, n_permutations=19)
        rows = report.frame().query("model_b == 'b' and context == ''").set_index("metric")
        for name in ("auroc_gap", "hidden_knowledge"):
            found[name] += rows.p[name] <= 0.05
        said = verdicts(report)
        found["model"] += any(verdict.flagged for verdict in said[:2])
        found["pair"] += bool(said[2].flagged)
    return {name: count / simulations for name, count in found.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_a_gap_false_positives_stay_at_their_level():
    shares = _false_positives(1000)
    assert all(share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000) for share in shares.values()), shares
    assert shares["auroc_gap"] >= 0.02, "the test is not merely blunt"
