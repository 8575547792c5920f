from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mechdecouple.behavior.bands import calibration_curve
from mechdecouple.behavior.smooth_ece import smooth_ece
from mechdecouple.errors import InputError


def draw(n, seed, power=1.0):
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p**power, (rng.random(n) < p).astype(float)


def test_the_curve_finds_the_true_rate():
    p, y = draw(20_000, 0, power=2.0)
    got = calibration_curve(p, y, n_resamples=40)
    inside = got.table[(got.table["prob"] > 0.1) & (got.table["prob"] < 0.9)]
    # the true gap √t - t of the items, averaged near each point
    t = inside["prob"].to_numpy()[:, None]
    kernel = sum(norm.pdf(t, sign * p + 2 * image, got.width) for image in (-1, 0, 1) for sign in (1, -1))
    true = t[:, 0] + kernel @ (np.sqrt(p) - p) / kernel.sum(axis=1)
    np.testing.assert_allclose(inside["rate"], true, atol=0.02)
    assert got.smooth_ece.value == smooth_ece(p, y) == got.width
    assert got.smooth_ece.p == pytest.approx(1 / 41)
    assert (inside["rate"] > inside["calibrated_high"]).all()
    assert got.table["density"].mean() == pytest.approx(1, abs=0.05)


def test_area_between_curve_and_diagonal_is_the_error():
    p, y = draw(3000, 1, power=0.6)
    got = calibration_curve(p, y, n_resamples=20, n_points=401)
    area = (np.abs(got.table["rate"] - got.table["prob"]) * got.table["density"]).mean()
    assert area == pytest.approx(got.smooth_ece.value, rel=0.03)


def test_of_a_calibrated_model_bands_and_p_hold_what_they_promise():
    covered, calibrated, p_values = [], [], []
    for seed in range(16):
        got = calibration_curve(*draw(300, seed), n_resamples=40, n_points=9, seed=seed)
        table = got.table.iloc[1:-1]
        covered.append((table["low"] <= table["prob"]) & (table["prob"] <= table["high"]))
        calibrated.append((table["calibrated_low"] <= table["rate"]) & (table["rate"] <= table["calibrated_high"]))
        p_values.append(got.smooth_ece.p)
    assert 0.85 < np.mean(covered) <= 1
    assert 0.88 < np.mean(calibrated) <= 1
    assert 0.3 < np.mean(p_values) < 0.7


def test_answers_given_in_groups_widen_the_band():
    p, y = draw(100, 2)
    p, y, groups = np.repeat(p, 5), np.repeat(y, 5), np.repeat(np.arange(100), 5)
    width = [
        (t["high"] - t["low"]).iloc[20:80].mean()
        for t in (calibration_curve(p, y, g, n_resamples=60).table for g in (None, groups))
    ]
    assert width[1] > 1.5 * width[0]


def test_nothing_is_drawn_where_there_are_no_items():
    p = np.full(50, 0.3)
    got = calibration_curve(p, np.arange(50) < 15, n_resamples=20)
    assert np.isnan(got.table.loc[got.table["prob"] > 0.6, "rate"]).all()
    assert got.table.loc[got.table["prob"] == 0.3, "rate"].item() == pytest.approx(0.3, abs=1e-6)


def test_one_group_has_no_interval():
    got = calibration_curve(*draw(30, 3), np.zeros(30), n_resamples=20)
    assert "one group" in got.smooth_ece.reason


def test_refusals():
    p, y = draw(10, 0)
    with pytest.raises(InputError, match="groups have shape"):
        calibration_curve(p, y, np.zeros(3))
    with pytest.raises(InputError, match="5 resamples"):
        calibration_curve(p, y, n_resamples=5)
    with pytest.raises(InputError, match="probability nan of item 1"):
        calibration_curve(np.r_[np.nan, p[1:]], y)
