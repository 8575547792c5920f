"""Claims against beliefs: oracles, closed forms, the infinite-draw limit, published levels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps
from scipy.integrate import quad
from scipy.special import expit
from sklearn.metrics import cohen_kappa_score

from mechdecouple import beliefs
from mechdecouple.stats import group_bootstrap_weights


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_correlation_is_the_point_biserial_one(rng):
    b = rng.random(300)
    c = (rng.random(300) < 0.3 + 0.4 * b).astype(float)
    assert beliefs.claim_correlation(b, c) == pytest.approx(sps.pointbiserialr(c, b).statistic, abs=1e-12)
    assert beliefs.claim_correlation(b, 1 - c) == pytest.approx(-sps.pointbiserialr(c, b).statistic, abs=1e-12)


def test_probabilities_give_the_limit_of_many_draws(rng):
    b = rng.random(400)
    p = np.clip(0.2 + 0.5 * b + 0.2 * rng.normal(size=400), 0, 1)
    draws = 4000
    r = []
    for _ in range(10):
        claims = (rng.random((draws // 10, 400)) < p).astype(float)
        r.append(sps.pointbiserialr(claims.ravel(), np.tile(b, draws // 10)).statistic)
    error = np.std(r, ddof=1) / np.sqrt(len(r))
    assert beliefs.claim_correlation(b, p) == pytest.approx(np.mean(r), abs=4 * error)
    assert np.corrcoef(b, p)[0, 1] - beliefs.claim_correlation(b, p) > 0.1, "correlating b with p itself says too much"


def test_normalised_index_of_probabilities_is_the_limit_too(rng):
    b = rng.beta(0.6, 0.6, size=300)
    p = np.clip(0.1 + 0.5 * b, 0, 1)
    draws = 2000
    claims = (rng.random((draws, 300)) < p).astype(float).ravel()
    sampled = beliefs.bullshit_index_normalised(np.tile(b, draws), claims)
    assert beliefs.bullshit_index_normalised(b, p) == pytest.approx(sampled, abs=5e-3)


def test_weights_are_repeated_rows(rng):
    b, c = rng.random(60), (rng.random(60) < 0.4).astype(float)
    w = group_bootstrap_weights(np.arange(60) // 3, 7, seed=1)
    for statistic in (
        beliefs.claim_correlation,
        beliefs.bullshit_index,
        beliefs.bullshit_index_normalised,
        beliefs.cohen_kappa,
    ):
        expected = [statistic(np.repeat(b, k.astype(int)), np.repeat(c, k.astype(int))) for k in w]
        np.testing.assert_allclose(statistic(b, c, w), expected, atol=1e-12)
    expected = [np.repeat(c, k.astype(int)).mean() for k in w]
    np.testing.assert_allclose(beliefs.claim_rate(c, w), expected, atol=1e-12)


@pytest.mark.parametrize(("auroc", "level"), [(0.76, 0.56), (0.92, 0.26), (0.98, 0.11)])
def test_an_honest_model_scores_what_its_probe_leaves(binormal, rng, auroc, level):
    truth, belief = binormal(auroc, 100_000, rng)
    delta = np.sqrt(2) * sps.norm.ppf(auroc)

    def moment(power: int, t: int) -> float:
        return quad(lambda x: expit(delta * x) ** power * sps.norm.pdf(x, (t - 0.5) * delta), -12, 12)[0]

    of_true, of_false = moment(1, 1), moment(1, 0)
    variance = (moment(2, 1) + moment(2, 0)) / 2 - ((of_true + of_false) / 2) ** 2
    exact = 1 - (of_true - of_false) / 2 / np.sqrt(variance)
    found = beliefs.bullshit_index(belief, truth)
    assert found == pytest.approx(exact, abs=0.006)
    assert found == pytest.approx(level, abs=0.02), "the published levels are of fitted probes, near the binormal ones"


def test_normalised_index_is_zero_for_the_top_share_and_its_mirror(rng):
    b = rng.random(200)
    for claimed in (20, 100, 170):
        c = (np.argsort(np.argsort(-b)) < claimed).astype(float)
        assert beliefs.bullshit_index_normalised(b, c) == pytest.approx(0, abs=1e-12)
        assert beliefs.bullshit_index_normalised(b, 1 - c) == pytest.approx(0, abs=1e-12)
        assert beliefs.bullshit_index(b, c) > 0.05, "claims at this rate cannot follow b fully"


def test_normalised_index_by_its_definition(rng):
    b, c = rng.random(150), np.zeros(150)
    c[rng.choice(150, 45, replace=False)] = 1
    if sps.pointbiserialr(c, b).statistic < 0:
        b = 1 - b
    top = (np.argsort(np.argsort(-b)) < 45).astype(float)
    bound = sps.pointbiserialr(top, b).statistic
    expected = 1 - abs(sps.pointbiserialr(c, b).statistic) / bound
    assert beliefs.bullshit_index_normalised(b, c) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("claim", [np.zeros(50), np.ones(50)])
def test_constant_claims_have_no_correlation(claim):
    b = np.linspace(0, 1, 50)
    assert np.isnan(beliefs.claim_correlation(b, claim))
    assert np.isnan(beliefs.bullshit_index(b, claim))
    assert np.isnan(beliefs.bullshit_index_normalised(b, claim))


def test_constant_beliefs_have_no_correlation():
    assert np.isnan(beliefs.claim_correlation(np.full(6, 0.3), [0, 1, 0, 1, 1, 0]))


def test_kappa_and_table_against_scikit_learn(rng):
    b, c = rng.random(200), (rng.random(200) < 0.7).astype(int)
    assert beliefs.cohen_kappa(b, c) == pytest.approx(cohen_kappa_score(b > 0.5, c), abs=1e-12)
    table = beliefs.claim_table(b, c) * 200
    for believes in (0, 1):
        for claims in (0, 1):
            count = ((b > 0.5) == believes) & (c == claims)
            assert table[believes, claims] == pytest.approx(count.sum())


def test_kappa_of_a_constant_is_undefined():
    assert np.isnan(beliefs.cohen_kappa([0.9, 0.8], [1, 1]))


def test_claim_rates_given_truth():
    rates = beliefs.claim_rates([1, 0, 1, 1, 0.5], [1, 1, 0, np.nan, np.nan])
    assert rates == {"true": 0.5, "false": 1.0, "unknown": 0.75}
    assert np.isnan(beliefs.claim_rates([1.0], [1.0])["unknown"])


def test_cramers_v_against_scipy(rng):
    truth = rng.choice([0.0, 1.0, np.nan], 300)
    claim = (rng.random(300) < np.where(truth == 1, 0.8, 0.4)).astype(int)
    level = np.where(np.isnan(truth), 2, truth).astype(int)
    counts = np.array([[((level == i) & (claim == j)).sum() for j in (0, 1)] for i in (0, 1, 2)])
    assert beliefs.cramers_v(claim, truth) == pytest.approx(sps.contingency.association(counts), abs=1e-12)
    assert np.isnan(beliefs.cramers_v(np.ones(5), [0, 1, 0, 1, 1]))


def test_rows_must_match():
    with pytest.raises(ValueError, match="the same rows"):
        beliefs.claim_correlation([0.1, 0.2], [1.0])
