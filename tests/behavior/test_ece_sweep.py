from __future__ import annotations

import numpy as np
import pytest

from mechdecouple.behavior import ece
from mechdecouple.behavior.ece_sweep import ece_sweep, sweep
from mechdecouple.errors import InputError


def perfect(n, seed, a=0.6):
    rng = np.random.default_rng(seed)
    p = rng.beta(a, a, n)
    return p, (rng.random(n) < p).astype(np.float64)


def bins_of(n, bins):
    return np.split(np.arange(n), [n * b // bins for b in range(1, bins)])


@pytest.mark.parametrize("n", [5, 40, 333])
def test_takes_the_last_count_of_bins_whose_rates_rise(n):
    p, y = perfect(n, n)
    order = np.argsort(p)
    p, y = p[order], y[order]
    bins = 1
    while bins < n and (np.diff([y[rows].mean() for rows in bins_of(n, bins + 1)]) >= 0).all():
        bins += 1
    error = sum(abs(p[rows].sum() - y[rows].sum()) for rows in bins_of(n, bins)) / n
    assert sweep(p, y) == (pytest.approx(error), bins)


def test_one_probability_for_all_is_off_by_its_distance_from_the_rate():
    y = np.array([1.0] * 3 + [0.0] * 7)
    assert sweep(np.full(10, 0.9), y) == (pytest.approx(0.6), 1)


def test_the_order_of_the_table_does_not_matter():
    rng = np.random.default_rng(0)
    p = rng.integers(0, 6, 200) / 5
    y = (rng.random(200) < p).astype(float)
    shuffled = rng.permutation(200)
    assert ece_sweep(p[shuffled], y[shuffled]) == pytest.approx(ece_sweep(p, y), abs=1e-12)


def test_separated_outcomes_use_every_item():
    p = np.linspace(0.05, 0.95, 20)
    y = (p > 0.5).astype(float)
    assert sweep(p, y) == (pytest.approx(np.abs(p - y).mean()), 20)


def test_a_perfect_predictor_scores_less_than_by_fifteen_bins():
    draws = [perfect(100, seed) for seed in range(100)]
    assert np.mean([ece_sweep(p, y) for p, y in draws]) < 0.7 * np.mean([ece(p, y) for p, y in draws])


def test_overconfidence_is_found():
    p, y = perfect(20_000, 1)
    assert ece_sweep(np.where(p > 0.5, 1.0, 0.0), y) == pytest.approx(np.minimum(p, 1 - p).mean(), abs=0.01)


def test_refusals():
    with pytest.raises(InputError, match=r"outcome 0.5 of item 1"):
        ece_sweep(np.array([0.5]), np.array([0.5]))
