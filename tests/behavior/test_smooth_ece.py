from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mechdecouple.behavior import ece
from mechdecouple.behavior.smooth_ece import smooth_ece, smooth_ece_at
from mechdecouple.errors import InputError


def perfect(n, seed, a=0.6):
    rng = np.random.default_rng(seed)
    p = rng.beta(a, a, n)
    return p, (rng.random(n) < p).astype(np.float64)


def by_definition(p, y, width):
    """∫ |1/n Σ (p - y) K(t, p)| dt, the reflected kernel as a sum over mirror images."""
    t = np.linspace(0, 1, 4001)
    kernel = sum(norm.pdf(t[:, None], sign * p + 2 * image, width) for image in range(-4, 5) for sign in (1, -1))
    return np.trapezoid(np.abs(kernel @ (p - y)) / len(p), t)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.5, 1.0])
def test_is_its_definition_at_a_given_width(width):
    p, y = perfect(100, 0)
    p[:3] = 0.0, 1.0, 0.5
    assert smooth_ece_at(p**2, y, width) == pytest.approx(by_definition(p**2, y, width), abs=2e-5)


@pytest.mark.parametrize("power", [0.3, 1.0, 4.0])
def test_the_error_sets_its_own_width(power):
    p, y = perfect(300, 1)
    error = smooth_ece(p**power, y)
    assert smooth_ece_at(p**power, y, error) == pytest.approx(error, abs=1e-5)
    assert smooth_ece_at(p**power, y, error / 2) > error - 1e-5 > smooth_ece_at(p**power, y, 1.0) - 2e-5


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_one_probability_for_all_is_off_by_its_distance_from_the_rate(n):
    y = np.arange(n) < 0.4 * n
    assert smooth_ece(np.full(n, 0.73), y) == pytest.approx(abs(0.73 - y.mean()), abs=2e-6)


def test_certain_models():
    y = np.array([0.0, 1.0] * 10)
    assert smooth_ece(y, y) == 0
    assert smooth_ece(np.ones(20), np.zeros(20)) == 1
    # the mirrored residuals cancel where the kernels overlap, so wrong both ways is just short of 1
    assert 0.2 < smooth_ece(1 - y, y) < 1


def test_naming_the_other_outcome_changes_nothing():
    p, y = perfect(200, 2)
    assert smooth_ece(1 - p**2, 1 - y) == pytest.approx(smooth_ece(p**2, y), abs=1e-6)


def test_is_continuous_where_binned_error_jumps():
    y = np.array([1.0, 0.0] * 50)
    near = 0.5 + np.where(y == 1, -1e-6, 1e-6)
    assert ece(near, y, 2) > 0.49
    assert smooth_ece(near, y) < 0.01


def test_a_perfect_predictor_scores_less_than_by_bins():
    for n, level, plug_in in ((100, 0.063, 0.113), (1000, 0.029, 0.036)):
        mean = np.mean([smooth_ece(*perfect(n, seed)) for seed in range(60)])
        assert mean == pytest.approx(level, rel=0.1)
        assert mean < plug_in


def test_refusals():
    with pytest.raises(InputError, match="width is 0"):
        smooth_ece_at(np.ones(2), np.ones(2), 0.0)
    with pytest.raises(InputError, match=r"probability 1.5 of item 1"):
        smooth_ece(np.array([1.5]), np.array([1.0]))
