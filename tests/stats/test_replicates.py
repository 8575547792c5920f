"""Replicates: intervals against closed forms, pairing, and what becomes of undefined values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, group_bootstrap_weights, jackknife, jackknife_blocks

METRIC = Metric(name="m", family="f", title="t", measures="x", range="R", direction="higher", invariances="shifts")


@pytest.fixture
def sample() -> np.ndarray:
    return np.random.default_rng(0).normal(2.0, 1.5, 40)


def test_jackknife_of_a_mean_is_the_t_interval(sample):
    mean = jackknife(lambda rows: sample[rows].mean(), np.arange(40))
    expected = sps.ttest_1samp(sample, 0).confidence_interval(0.9)
    assert mean.interval(0.9) == pytest.approx((expected.low, expected.high))
    assert mean.p_differs(2.3) == pytest.approx(sps.ttest_1samp(sample, 2.3).pvalue)
    assert mean.p_above(1.8) == pytest.approx(sps.ttest_1samp(sample, 1.8, alternative="greater").pvalue)


def test_bootstrap_of_a_mean_has_its_standard_error(sample):
    weights = group_bootstrap_weights(np.arange(40), 4000, seed=1)
    mean = Replicates(sample.mean(), weights @ sample / 40, "bootstrap", 40)
    assert mean.standard_error() == pytest.approx(sample.std() / math.sqrt(40), rel=0.05)
    low, high = mean.interval()
    assert (low, high) == pytest.approx(tuple(np.quantile(mean.replicates, [0.025, 0.975])))
    assert mean.p_above(0.0) == 1 / 4001


def test_differences_of_aligned_statistics_are_paired(sample):
    blocks = jackknife_blocks(np.arange(40), 10)
    a, b = (jackknife(lambda rows, x=x: x[rows].mean(), blocks) for x in (sample, sample + 0.25))
    assert (b - a).interval() == pytest.approx((0.25, 0.25))
    assert (a - 1.0).value == pytest.approx(a.value - 1) and (2 * a).value == (a + a).value
    assert Replicates.mean([a, b]).value == pytest.approx(a.value + 0.125)
    relative = a.contrast(b, "relative")
    assert relative.value == pytest.approx(-0.25 / ((a.value + b.value) / 2))
    # the order of the models turns the sign and nothing else
    assert b.contrast(a, "relative").value == pytest.approx(-relative.value)
    assert a.contrast(b, "log-ratio").value == pytest.approx(math.log(a.value / b.value))
    assert a.contrast(b, "difference").value == pytest.approx(-0.25)


def test_arrays_behave_like_many_single_values(sample):
    blocks = jackknife_blocks(np.arange(40), 8)
    both = jackknife(lambda rows: np.array([[sample[rows].mean(), sample[rows].max(), 1.0]]), blocks)
    alone = jackknife(lambda rows: sample[rows].max(), blocks)
    assert both.shape == (1, 3) and len(both) == 1
    assert both[0, 1].interval() == alone.interval() and both[0][1].value == alone.value
    low, high = both.interval()
    assert low.shape == (1, 3) and low[0, 2] == high[0, 2] == 1.0
    assert [r.value for r in both[0]] == list(both.value[0])
    assert both[0, 1:].shape == (2,)
    stacked = Replicates.stack([alone, both[0, 1]])
    assert stacked.shape == (2,) and stacked[1].interval() == alone.interval()


def test_an_estimate_says_how_it_was_made(sample):
    r = jackknife(lambda rows: sample[rows].mean(), jackknife_blocks(np.arange(40)), n_groups=40)
    estimate = r.estimate(METRIC, null=0.0, p=0.01)
    assert (estimate.n, estimate.unit, estimate.direction, estimate.invariances) == (40, "groups", "higher", "shifts")
    assert estimate.method == "delete-a-block jackknife, 20 blocks of groups, t interval"
    assert (estimate.low, estimate.high) == r.interval() and estimate.p == 0.01


def test_undefined_blocks_leave_no_interval_and_say_so():
    r = Replicates(0.4, np.array([0.4, np.nan, 0.5]), "jackknife", 3)
    assert all(math.isnan(x) for x in r.interval()) and math.isnan(r.p_above(0.0))
    assert "no interval" in r.estimate(METRIC).reason
    assert math.isnan(Replicates(0.4, np.array([0.4]), "jackknife", 1).interval()[0])
    with pytest.raises(ValueError, match="reason"):
        Replicates(np.nan, np.full(3, np.nan), "jackknife", 3).estimate(METRIC)


def test_a_few_undefined_resamples_are_skipped_and_many_are_not():
    draws = np.linspace(0, 1, 101)
    few, many = draws.copy(), draws.copy()
    few[:3], many[:20] = np.nan, np.nan
    r = Replicates(np.array([0.5, 0.5, np.nan]), np.stack([few, many, draws], axis=1), "bootstrap", 50)
    low, _ = r.interval()
    assert low[0] == pytest.approx(np.nanquantile(few, 0.025)) and np.isnan(low[1:]).all()
    assert np.isnan(r.p_above(0.1)[1:]).all() and np.isnan(r.standard_error()[1:]).all()


def test_values_outside_a_maps_domain_are_nan():
    r = Replicates(-1.0, np.array([1.0, 2.0]), "jackknife", 2).map(np.log)
    assert math.isnan(r.value) and r.replicates[0] == 0.0


def test_no_spread_does_not_make_a_certainty():
    same = Replicates(0.0, np.zeros(20), "jackknife", 20)
    assert same.p_differs(0.0) == 1.0
    assert Replicates(0.3, np.full(20, 0.3), "jackknife", 20).p_differs(0.0) == 2 * 0.5**20


def test_unaligned_replicates_are_refused():
    a = Replicates(0.0, np.zeros(20), "jackknife", 20)
    with pytest.raises(MismatchError, match="one plan"):
        a - Replicates(0.0, np.zeros(19), "jackknife", 20)
    with pytest.raises(MismatchError, match="one plan"):
        a + Replicates(0.0, np.zeros(20), "bootstrap", 20)
    with pytest.raises(InputError, match="resamples come first"):
        Replicates(np.zeros(3), np.zeros((3, 20)), "jackknife", 20)
    with pytest.raises(InputError, match="level 95"):
        a.interval(95)
    with pytest.raises(InputError, match="at least one"):
        Replicates.mean([])
    with pytest.raises(InputError, match="index it"):
        Replicates(np.zeros(2), np.zeros((20, 2)), "jackknife", 20).estimate(METRIC)


def test_resolution_is_the_least_standard_error_and_is_carried_along():
    still = Replicates(1.0, np.ones(20), "jackknife", 100, 0.02)
    assert still.standard_error() == pytest.approx(0.02)
    assert (0.5 * still).standard_error() == pytest.approx(0.01)
    assert (still - still).standard_error() == pytest.approx(0.02 * np.sqrt(2))
    assert Replicates.mean([still, still]).standard_error() == pytest.approx(0.01 * np.sqrt(2))
    assert still.map(np.log).standard_error() == pytest.approx(0.02, rel=0.02)
    moving = Replicates(1.0, 1 + 0.1 * np.random.default_rng(0).normal(size=20), "jackknife", 100, 0.02)
    assert moving.standard_error() > 0.1
    assert moving.standard_error() == Replicates(1.0, moving.replicates, "jackknife", 100).standard_error()
    pair = Replicates.stack([still, moving])
    assert pair.shape == (2,) and pair[0].standard_error() == pytest.approx(0.02)
