"""Weighted AUROC against scikit-learn, ties and bootstrap weights included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mechdecouple.errors import InputError
from mechdecouple.stats import Replicates, group_bootstrap_weights, weighted_auroc


@pytest.mark.parametrize("n_levels", [2, 5, 1000])
def test_matches_sklearn_with_ties_and_weights(n_levels):
    rng = np.random.default_rng(n_levels)
    truth = rng.integers(0, 2, 300)
    score = rng.integers(0, n_levels, 300) + truth * 0.5 * rng.integers(0, 2, 300)
    weights = rng.random((40, 300))
    weights[:, ::7] = 0
    expected = [roc_auc_score(truth, score, sample_weight=w) for w in weights]
    np.testing.assert_allclose(weighted_auroc(score, truth, weights), expected, rtol=1e-12)
    assert weighted_auroc(score, truth) == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
    assert weighted_auroc(score, truth, weights[0]) == pytest.approx(expected[0], rel=1e-12)


def test_weights_mean_repetition():
    rng = np.random.default_rng(0)
    score, truth, times = rng.normal(size=50), rng.integers(0, 2, 50), rng.integers(0, 4, 50)
    repeated = weighted_auroc(np.repeat(score, times), np.repeat(truth, times))
    assert weighted_auroc(score, truth, times.astype(float)) == pytest.approx(repeated)


def test_reversal_monotone_maps_and_constants():
    rng = np.random.default_rng(1)
    score, truth = rng.normal(size=80), rng.integers(0, 2, 80)
    value = weighted_auroc(score, truth)
    assert weighted_auroc(-score, truth) == pytest.approx(1 - value)
    assert weighted_auroc(np.exp(score), truth) == pytest.approx(value)
    assert weighted_auroc(np.zeros(80), truth) == 0.5
    assert weighted_auroc(np.where(truth, np.inf, -np.inf), truth) == 1.0


def test_one_class_is_nan():
    assert math.isnan(weighted_auroc(np.arange(4.0), np.ones(4)))
    values = weighted_auroc(np.arange(4.0), np.array([0, 1, 1, 0]), np.array([[1.0, 0, 0, 1], [1, 1, 1, 1]]))
    assert math.isnan(values[0]) and values[1] == 0.5
    assert math.isnan(weighted_auroc(np.zeros(0), np.zeros(0)))


def test_rows_are_taken_in_chunks_without_a_seam(monkeypatch):
    import mechdecouple.stats.auroc as module

    rng = np.random.default_rng(2)
    score, truth, weights = rng.normal(size=30), rng.integers(0, 2, 30), rng.random((17, 30))
    whole = weighted_auroc(score, truth, weights)
    monkeypatch.setattr(module, "_CHUNK", 90)
    np.testing.assert_array_equal(weighted_auroc(score, truth, weights), whole)


@pytest.mark.parametrize(
    "score, truth, weights, message",
    [
        (np.array([1.0, np.nan]), np.array([0, 1]), None, "score 1 is NaN"),
        (np.array([1.0, 2.0]), np.array([0.0, np.nan]), None, "truth 1 is nan"),
        (np.array([1.0, 2.0]), np.array([0, 2]), None, "truth 1 is 2"),
        (np.array([1.0, 2.0]), np.array([0, 1]), np.ones(3), "weights are for 3 rows"),
        (np.array([1.0, 2.0]), np.array([0, 1]), np.array([1.0, -1.0]), "not negative"),
        (np.array([1.0, 2.0]), np.array([0, 1, 1]), None, "2 scores for 3"),
    ],
)
def test_errors_name_the_place(score, truth, weights, message):
    with pytest.raises(InputError, match=message):
        weighted_auroc(score, truth, weights)


@pytest.mark.slow
def test_bootstrap_interval_of_an_auroc_difference_covers():
    """Two scores of the same items, two rows a group; the true difference is that of the normal model."""
    from scipy import stats as sps

    truth_value = float(sps.norm.cdf(1.5 / np.sqrt(2 * 2)) - sps.norm.cdf(0.75 / np.sqrt(2 * 2)))
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(150), 2)
    hits, n_sim = 0, 1000
    for s in range(n_sim):
        truth = np.tile([0, 1], 150)
        shared = rng.normal(size=150)[groups]
        scores = [shift * truth + shared + rng.normal(size=300) for shift in (1.5, 0.75)]
        weights = group_bootstrap_weights(groups, 400, seed=s)
        a, b = (
            Replicates(weighted_auroc(x, truth), weighted_auroc(x, truth, weights), "bootstrap", 150) for x in scores
        )
        low, high = (a - b).interval()
        hits += low <= truth_value <= high
    assert 0.93 <= hits / n_sim <= 0.97
