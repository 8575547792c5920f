import numpy as np
import pytest

from mechdecouple.structure import Parallelism, parallelism

EXPECTED = {"factored": (1, 1), "oblique": (1, 1), "duplicated": (1, 1), "fractured": (0, 1), "one-hot": (1, 0)}


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_truth(planted, name):
    p = planted(name)
    over_contexts, over_factors = EXPECTED[name]
    assert parallelism(p.X, p.y, p.context).mean() == pytest.approx(over_contexts, abs=0.02)
    assert parallelism(p.X, p.y[:, 0], p.others[:, 0]) == pytest.approx(over_factors, abs=0.04)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_graded_fracture_scores_one_minus_its_dose_whatever_the_noise(alpha):
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 20_000), rng.integers(0, 4, 20_000)
    X = rng.normal(size=(20_000, 8))
    X[:, 7] += np.sqrt(1 - alpha) * y
    X[np.arange(20_000), context] += np.sqrt(alpha) * y
    assert parallelism(X, y, context) == pytest.approx(1 - alpha, abs=0.06)


def test_opposite_codes_score_minus_one():
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 2000), rng.integers(0, 2, 2000)
    X = 0.1 * rng.normal(size=(2000, 3))
    X[:, 0] += np.where(context == 0, y, -y)
    assert parallelism(X, y, context) == pytest.approx(-1, abs=0.01)


def test_absent_concept_is_undefined_with_a_reason():
    statistic = Parallelism(np.ones((40, 3)), np.arange(40) % 2, np.arange(40) % 4 // 2)
    assert np.isnan(statistic())
    assert "beyond noise" in statistic.reason


def test_lengths_that_drown_in_noise_leave_the_score_undefined_and_no_cosine_beyond_one():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(200):
        y, context = rng.integers(0, 2, 120), rng.integers(0, 12, 120)
        X = rng.normal(size=(120, 6))
        X[:, 0] += 0.3 * y
        scores.append(parallelism(X, y, context))
    scores = np.array(scores)
    assert np.isnan(scores).any() and np.nanmax(np.abs(scores)) <= 1.5
