from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from mechdecouple.behavior.sensitivity import confidence_robustness, mean_sensitivity, prompt_sensitivity
from mechdecouple.errors import InputError


def test_is_the_mean_distance_of_pairs():
    y = np.random.default_rng(0).random((30, 7))
    want = np.mean([np.abs(y[:, i] - y[:, j]) for i, j in itertools.combinations(range(7), 2)], axis=0)
    np.testing.assert_allclose(prompt_sensitivity(y), want, atol=1e-12)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_closed_form_for_k_of_n_right(n):
    rng = np.random.default_rng(n)
    y = np.array([rng.permutation([1.0] * k + [0.0] * (n - k)) for k in range(n + 1)])
    k = np.arange(n + 1)
    np.testing.assert_allclose(prompt_sensitivity(y), 2 * k * (n - k) / (n * (n - 1)), atol=1e-12)


def test_a_shift_of_an_items_scores_changes_nothing():
    y = np.random.default_rng(1).random((10, 4)) / 2
    np.testing.assert_allclose(prompt_sensitivity(y + 0.3), prompt_sensitivity(y), atol=1e-12)


def test_mean_and_its_interval_over_items():
    y = (np.random.default_rng(2).random((20, 6)) < 0.6).astype(float)
    s, got = prompt_sensitivity(y), mean_sensitivity(y)
    assert got.value == pytest.approx(s.mean())
    assert (got.high - got.low) / 2 == pytest.approx(2.093 * s.std(ddof=1) / np.sqrt(20), rel=1e-3)  # t, 19 degrees
    assert got.n == 20
    assert mean_sensitivity(y, np.repeat(np.arange(5), 4)).n == 5
    assert "one group" in mean_sensitivity(y, np.zeros(20)).reason


def planted(seed, n=200, strength=2.0, wordings=12):
    """Confident items hold: the odds of a right answer are far from even where confidence is high."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    side = rng.choice([-1, 1], n)
    odds = side * strength * 2 * confidence + rng.normal(size=n) * 0.5
    return (rng.random((n, wordings)) < 1 / (1 + np.exp(-odds))[:, None]).astype(float), confidence


def test_is_scipys_spearman_and_finds_planted_robustness():
    y, confidence = planted(0)
    got = confidence_robustness(y, confidence)
    assert got.value == pytest.approx(spearmanr(prompt_sensitivity(y), confidence).statistic)
    assert got.value < -0.4
    assert got.low < got.value < got.high < 0
    assert got.p < 0.001
    assert confidence_robustness(y, confidence**3).value == pytest.approx(got.value)


def test_without_relation_the_interval_covers_zero_as_often_as_it_says():
    covered = []
    for seed in range(120):
        y, confidence = planted(seed, n=60)
        shuffled = np.random.default_rng(seed).permutation(confidence)
        got = confidence_robustness(y, shuffled)
        covered.append(got.low <= 0 <= got.high)
    assert 0.9 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize(("constant", "says"), [("scores", "prompt sensitivity is 0"), ("confidence", "confidence is")])
def test_nothing_to_correlate_is_undefined_with_its_reason(constant, says):
    y, confidence = planted(1, n=20)
    got = confidence_robustness(
        np.ones_like(y) if constant == "scores" else y, np.full(20, 0.5) if constant == "confidence" else confidence
    )
    assert np.isnan(got.value)
    assert says in got.reason


def test_refusals():
    with pytest.raises(InputError, match=r"shape \(3, 1\)"):
        prompt_sensitivity(np.ones((3, 1)))
    with pytest.raises(InputError, match=r"shape \(0, 3\)"):
        prompt_sensitivity(np.ones((0, 3)))
    with pytest.raises(InputError, match=r"score nan of item 2, column 1"):
        prompt_sensitivity(np.array([[0.0, 1.0], [np.nan, 1.0]]))
    with pytest.raises(InputError, match=r"score 2.0 of item 1"):
        mean_sensitivity(np.array([[2.0, 1.0]]))
    with pytest.raises(InputError, match=r"confidence has shape \(2,\) for 3 items"):
        confidence_robustness(np.ones((3, 2)), np.ones(2))
    with pytest.raises(InputError, match=r"groups have shape \(2,\) for 3 items"):
        mean_sensitivity(np.ones((3, 2)), np.ones(2))
