from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from mechdecouple import stats
from mechdecouple.behavior import brier, brier_decomposition, ece, ece_debiased, reliability
from mechdecouple.errors import InputError


def perfect(n, seed, a=0.6):
    rng = np.random.default_rng(seed)
    p = rng.beta(a, a, n)
    return p, (rng.random(n) < p).astype(np.float64)


def sharpened(p, t):
    odds = np.clip(p, 1e-9, 1 - 1e-9) / (1 - np.clip(p, 1e-9, 1 - 1e-9))
    return odds**t / (1 + odds**t)


def test_brier_is_sklearns():
    p, y = perfect(500, 0)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 500])
@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_the_decomposition_is_exact(n, n_bins):
    p, y = perfect(n, n)
    parts = brier_decomposition(sharpened(p, 2.0), y, n_bins)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin
    assert total == pytest.approx(parts.brier, abs=1e-12)


def test_decomposition_of_constant_probabilities_in_closed_form():
    y = np.array([1.0] * 6 + [0.0] * 4)
    parts = brier_decomposition(np.full(10, 0.5), y)
    assert parts.reliability == pytest.approx(0.01)
    assert parts.resolution == pytest.approx(0)
    assert parts.uncertainty == pytest.approx(0.24)
    assert parts.within_bin == pytest.approx(0)


@pytest.mark.parametrize("n_bins", [5, 15])
def test_plug_in_ece_is_torchmetrics(n_bins):
    p, y = perfect(400, 1)
    p = sharpened(p, 1.7)
    oracle = binary_calibration_error(torch.tensor(p), torch.tensor(y).int(), n_bins=n_bins, norm="l1")
    assert ece(p, y, n_bins) == pytest.approx(float(oracle), abs=1e-6)


@pytest.mark.parametrize(("n", "plug_in", "slack"), [(100, 0.113, 0.015), (1000, 0.036, 0.002)])
def test_a_perfect_predictor_has_no_debiased_error(n, plug_in, slack):
    draws = [perfect(n, seed) for seed in range(400)]
    assert np.mean([ece(p, y) for p, y in draws]) == pytest.approx(plug_in, abs=0.002)
    assert abs(np.mean([ece_debiased(p, y) for p, y in draws])) < slack


def test_debiased_error_approaches_the_true_one():
    p, y = perfect(20_000, 3)
    given = sharpened(p, 2.0)
    bins = np.minimum((given * 15).astype(int), 14)
    true = np.abs(np.bincount(bins, given - p)).sum() / len(p)
    assert ece_debiased(given, y) == pytest.approx(true, abs=0.01)


def test_debiased_error_of_a_certain_and_wrong_model_is_one():
    assert ece_debiased(np.ones(50), np.zeros(50)) == pytest.approx(1)
    assert ece_debiased(np.ones(50), np.ones(50)) == pytest.approx(0)


def test_closed_form_is_the_mean_over_halvings():
    rng = np.random.default_rng(0)
    p, y = np.full(400, 0.7), (rng.random(400) < 0.68).astype(float)
    gaps, halves = p - y, []
    for _ in range(4000):
        order = rng.permutation(400)
        a, b = gaps[order[:200]].sum(), gaps[order[200:]].sum()
        halves.append(np.sign(a) * b + np.sign(b) * a)
    assert ece_debiased(p, y) == pytest.approx(
        np.mean(halves) / 400, abs=4 * np.std(halves) / 400 / np.sqrt(4000) + 5e-4
    )


def test_reliability_curve_counts_all_items_and_has_wilson_bands():
    p, y = perfect(300, 2)
    curve = reliability(p, y, n_bins=10)
    assert curve["n"].sum() == 300
    assert (curve["n"] * curve["rate"]).sum() == pytest.approx(y.sum())
    row = curve.iloc[0]
    assert (row["low"], row["high"]) == pytest.approx(stats.wilson(row["n"] * row["rate"], row["n"]))


@pytest.mark.parametrize(
    ("prob", "outcome", "says"),
    [
        ([], [], "at least 1"),
        ([0.5, 0.5], [1.0], "one length"),
        ([0.5, 1.5], [1.0, 0.0], "probability 1.5 of item 2"),
        ([0.5, np.nan], [1.0, 0.0], "probability nan of item 2"),
        ([0.5, 0.5], [1.0, 0.3], "outcome 0.3 of item 2"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(prob, outcome, says):
    with pytest.raises(InputError, match=says) as e:
        brier(np.array(prob, dtype=float), np.array(outcome, dtype=float))
    assert "\n" not in str(e.value)
