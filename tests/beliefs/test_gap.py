"""The gap of a table: planted speakers, oracles, reasons, interval coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from mechdecouple import beliefs
from mechdecouple.errors import InputError
from mechdecouple.stats import group_bootstrap_weights

N = 2000


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def table(binormal, rng):
    truth, belief = binormal(0.97, N, rng)
    return np.arange(N) // 2, truth, belief


def test_both_channels_against_scikit_learn(table, rng):
    groups, truth, belief = table
    expressed = np.clip(0.5 * belief + 0.5 * rng.random(N), 0.001, 0.999)
    found = beliefs.gap(groups, truth, belief, expressed, n_resamples=50)
    assert found.represented_auroc.value == pytest.approx(roc_auc_score(truth, belief), abs=1e-12)
    assert found.expressed_auroc.value == pytest.approx(roc_auc_score(truth, expressed), abs=1e-12)
    assert found.auroc_gap.value == pytest.approx(roc_auc_score(truth, belief) - roc_auc_score(truth, expressed))
    assert found.expressed_brier.value == pytest.approx(brier_score_loss(truth, expressed), abs=1e-12)
    assert found.expressed_log_score.value == pytest.approx(-log_loss(truth, expressed), abs=1e-12)
    assert beliefs.brier(belief, truth) == pytest.approx(brier_score_loss(truth, belief), abs=1e-12)
    assert beliefs.log_score(expressed, truth) == pytest.approx(-log_loss(truth, expressed), abs=1e-12)
    assert beliefs.log_score([0.0], [1.0]) == pytest.approx(np.log(1e-6)), "one confident error stays finite"


def test_log_scores_subtract_in_pairs_and_brier_parts_add_up(table, rng):
    groups, truth, belief = table
    expressed = np.clip(0.5 * belief + 0.5 * rng.random(N), 0.001, 0.999)
    found = beliefs.gap(groups, truth, belief, expressed, n_resamples=50)
    assert found.log_score_gap.value == pytest.approx(log_loss(truth, expressed) - log_loss(truth, belief), abs=1e-9)
    paired = (found.represented_log_score - found.expressed_log_score).replicates
    assert found.log_score_gap.replicates == pytest.approx(paired)
    for channel, score in (("represented", belief), ("expressed", expressed)):
        parts = found.brier_parts[channel]
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin
        assert total == pytest.approx(brier_score_loss(truth, score), abs=1e-12)
    assert "expressed" not in beliefs.gap(groups, truth, belief, n_resamples=5).brier_parts


@pytest.mark.parametrize(("auroc", "index"), [(0.76, 0.56), (0.92, 0.26), (0.98, 0.11)])
def test_a_truthful_speaker_read_with_a_weak_probe(binormal, rng, auroc, index):
    truth, belief = binormal(auroc, 20_000, rng)
    found = beliefs.gap(np.arange(len(truth)), truth, belief, np.full(len(truth), 0.8), n_resamples=5)
    assert found.bullshit_index_truthful.value == pytest.approx(index, abs=0.015)
    same = beliefs.gap(np.arange(len(truth)), truth, belief, claim=truth, n_resamples=5)
    assert same.bullshit_index_truthful.value == same.bullshit_index.value


def test_tables_given_truth_make_up_the_whole(table, rng):
    groups, truth, belief = table
    truth = truth.copy()
    truth[:100] = np.nan
    claim = (rng.random(N) < 0.3 + 0.5 * (np.arange(N) % 2)).astype(float)
    found = beliefs.gap(groups, truth, belief, claim=claim, n_resamples=5)
    sizes = {"true": (truth == 1).sum(), "false": (truth == 0).sum(), "unknown": 100}
    assert sum(found.tables[name] * n for name, n in sizes.items()) / N == pytest.approx(found.table)
    expected = np.mean((belief > 0.5)[truth == 1] & (claim == 1)[truth == 1])
    assert found.tables["true"][1, 1] == pytest.approx(expected) and found.tables["true"].sum() == pytest.approx(1)


def test_an_honest_speaker_has_no_gap(table, binormal, rng):
    groups, truth, belief = table
    _, expressed = binormal(0.97, N, rng)
    found = beliefs.gap(groups, truth, belief, expressed)
    estimate = found.estimate("auroc_gap", beliefs.AUROC_GAP)
    assert abs(estimate.value) < 0.02 and estimate.low <= 0 <= estimate.high
    assert beliefs.gap(groups, truth, belief, belief**3, n_resamples=20).auroc_gap.value == 0
    own = beliefs.gap(groups, truth, belief, claim=(belief > 0.5).astype(float), n_resamples=20)
    assert own.kappa.value == pytest.approx(1) and own.claim_correlation.value > 0.9


def test_a_persuader_says_yes_whatever_it_represents(table, rng):
    groups, truth, belief = table
    for claim, expressed in ((None, np.full(N, 0.8)), ((rng.random(N) < 0.8).astype(float), None)):
        found = beliefs.gap(groups, truth, belief, expressed, claim)
        assert found.auroc_gap.interval()[0] > 0.4
        assert found.bullshit_index.value > 0.95 and found.bullshit_index_normalised.value > 0.93
        assert abs(found.kappa.value) < 0.05
        assert found.claim_rate.value == pytest.approx(0.8, abs=0.03)
        assert found.claim_rates["false"].value == pytest.approx(0.8, abs=0.04)
        assert "unknown" not in found.claim_rates


def test_a_liar_correlates_negatively(table):
    groups, truth, _ = table
    belief = np.clip(truth, 0.01, 0.99)
    found = beliefs.gap(groups, truth, belief, 1 - belief, claim=1 - truth)
    assert found.claim_correlation.value == pytest.approx(-1, abs=1e-9)
    assert found.bullshit_index.value == pytest.approx(0, abs=1e-9)
    assert found.auroc_gap.value == pytest.approx(1)
    assert found.kappa.value == pytest.approx(-1)


def test_an_ignorant_model_has_no_gap_to_show(rng):
    truth = np.tile([1.0, 0.0], N // 2)
    found = beliefs.gap(np.arange(N) // 2, truth, rng.random(N), rng.random(N))
    low, high = found.auroc_gap.interval()
    assert low <= 0 <= high
    assert found.represented_auroc.value == pytest.approx(0.5, abs=0.05)


def test_excess_over_the_honest_context(binormal, rng):
    truth, belief = binormal(0.76, 20_000, rng)
    groups = np.arange(len(truth)) // 2
    w = group_bootstrap_weights(groups, 100, seed=1)
    honest = beliefs.gap(groups, truth, belief, claim=truth, weights=w)
    persuading = beliefs.gap(groups, truth, belief, np.full(len(truth), 0.8), weights=w)
    assert beliefs.bullshit_index_excess(honest, honest).value == 0
    assert beliefs.bullshit_index_excess(persuading, honest).value == pytest.approx(1 - 0.56, abs=0.02)


def test_two_models_on_one_plan_subtract_in_pairs(table, rng):
    groups, truth, belief = table
    w = group_bootstrap_weights(groups, 300, seed=5)
    noisy = np.clip(belief + 0.05 * rng.normal(size=N), 0, 1)
    a = beliefs.gap(groups, truth, belief, noisy, weights=w)
    b = beliefs.gap(groups, truth, belief, noisy, weights=w)
    assert (a.auroc_gap - b.auroc_gap).interval() == (0, 0), "what both share must cancel"


@pytest.mark.parametrize(("claim", "word"), [(np.ones(N), "asserted"), (np.zeros(N), "denied")])
def test_constant_claims_say_why(table, claim, word):
    groups, truth, belief = table
    found = beliefs.gap(groups, truth, belief, claim=claim, n_resamples=20)
    for name in ("claim_correlation", "bullshit_index", "bullshit_index_normalised"):
        estimate = found.estimate(name)
        assert np.isnan(estimate.value) and estimate.reason.startswith("constant claims") and word in estimate.reason
    assert found.claim_rate.value == claim[0] and not found.estimate("claim_rate").reason
    assert "hardly differ" in found.estimate("expressed_auroc").reason


def test_nothing_expressed_keeps_what_is_represented(table):
    groups, truth, belief = table
    found = beliefs.gap(groups, truth, belief, n_resamples=20, nothing_expressed="an encoder without a head")
    assert found.represented_auroc.value == pytest.approx(roc_auc_score(truth, belief))
    for name in ("expressed_auroc", "auroc_gap", "claim_correlation", "bullshit_index", "claim_rate", "kappa"):
        assert found.estimate(name).reason == "an encoder without a head"
    assert np.isnan(found.table).all() and np.isnan(found.cramers_v)


def test_one_class_and_unknown_truth_say_why():
    b = np.linspace(0.1, 0.9, 40)
    g = np.arange(40)
    assert "every statement is true" in beliefs.gap(g, np.ones(40), b, b).estimate("auroc_gap").reason
    unknown = beliefs.gap(g, np.full(40, np.nan), b, b)
    assert "unknown" in unknown.estimate("expressed_auroc").reason
    assert not np.isnan(unknown.claim_correlation.value), "claims follow beliefs or not, whatever the truth"
    assert unknown.claim_rates["unknown"].value == pytest.approx(0.5)


def test_unknown_rows_do_not_score(table):
    groups, truth, belief = table
    padded = [np.r_[x, y] for x, y in ((groups, groups + N), (truth, np.full(N, np.nan)), (belief, belief[::-1]))]
    assert beliefs.gap(*padded, padded[2], n_resamples=5).represented_auroc.value == pytest.approx(
        beliefs.gap(groups, truth, belief, belief, n_resamples=5).represented_auroc.value
    )


def test_few_groups_are_named():
    truth = np.tile([1.0, 0.0], 8)
    b = np.linspace(0, 1, 16)
    assert "only 4 groups" in beliefs.gap(np.arange(16) // 4, truth, b, b).estimate("represented_auroc").reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"represented": np.array([0.1, 1.2])}, r"represented is 1.2 in row 1"),
        ({"expressed": np.array([-0.1, 0.2])}, r"expressed is -0.1 in row 0"),
        ({"claim": np.array([0.0])}, r"claim has shape \(1,\)"),
        ({"truth": np.array([0.0, 0.5])}, "truth must be 0, 1 or NaN"),
        ({"groups": np.array([0, 1, 2])}, "all need the same rows"),
    ],
)
def test_bad_columns_are_refused(change, message):
    columns = {"groups": np.arange(2), "truth": np.array([0.0, 1.0]), "represented": np.array([0.2, 0.8])} | change
    with pytest.raises(InputError, match=message):
        beliefs.gap(**columns)


def test_frame_and_html(table):
    groups, truth, belief = table
    found = beliefs.gap(groups, truth, belief, belief, n_resamples=20)
    frame = found.frame().set_index("statistic")
    assert frame.loc["auroc_gap", "n"] == N // 2
    assert "auroc gap" in found._repr_html_()


def _coverage(simulations: int, n_resamples: int, rng: np.random.Generator) -> float:
    """Share of intervals that hold the true gap; groups of two with correlated scores, so rows are not independent."""
    n, hits = 240, 0
    true_gap = norm.cdf(1.6 / np.sqrt(2)) - norm.cdf(0.8 / np.sqrt(2))
    truth = np.tile([1.0, 1.0, 0.0, 0.0], n // 4)
    groups = np.arange(n) // 2
    for i in range(simulations):
        shared = np.repeat(rng.normal(size=(n // 2, 2)), 2, axis=0) * np.sqrt(0.5)
        scores = shared + rng.normal(size=(n, 2)) * np.sqrt(0.5) + truth[:, None] * [1.6, 0.8]
        b, p = norm.cdf(scores.T)
        low, high = beliefs.gap(groups, truth, b, p, n_resamples=n_resamples, seed=i).auroc_gap.interval()
        hits += low <= true_gap <= high
    return hits / simulations


def test_gap_interval_covers(rng):
    assert _coverage(100, 400, rng) >= 0.89, "three standard errors below .95 at 100 simulations"


@pytest.mark.slow
def test_gap_interval_covers_at_its_level(rng):
    assert 0.93 <= _coverage(1000, 1000, rng) <= 0.97
