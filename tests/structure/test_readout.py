"""Accuracies under the jackknife: rows that flip are no uncertainty, and no error among n groups is no certainty."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import Ccgp, ProbeAccuracy


def noisy(n, sigma, seed=0):
    rng = np.random.default_rng(seed)
    y, context = rng.integers(0, 2, n), rng.integers(0, 3, n)
    X = sigma * rng.normal(size=(n, 10))
    X[:, 0] += 2 * y
    return X, y, context


@pytest.mark.parametrize("kind", [Ccgp, ProbeAccuracy])
def test_the_replicate_of_all_rows_is_the_value(kind):
    X, y, context = noisy(300, 1.0)
    statistic = kind(X, y, context)
    assert statistic.left_out(np.arange(300)) == pytest.approx(statistic(), abs=1e-12)


@pytest.mark.parametrize("kind", [Ccgp, pytest.param(ProbeAccuracy, marks=pytest.mark.slow)])
def test_replicates_follow_the_recomputed_ones_without_their_jumps(kind):
    """Their mean agrees with recomputation; their spread, which flips of rows inflate, is that of the estimate."""
    sd, smooth, plain = [], [], []
    for seed in range(20):
        X, y, context = noisy(200, 1.0, seed)
        statistic, blocks = kind(X, y, context), jackknife_blocks(np.arange(200))
        ours, recomputed = jackknife(statistic, blocks), jackknife(lambda rows, s=statistic: s(rows), blocks)
        assert ours.replicates.mean() == pytest.approx(recomputed.replicates.mean(), abs=0.02)
        sd.append(ours.value)
        smooth.append(ours.standard_error())
        plain.append(recomputed.standard_error())
    true = np.std(sd, ddof=1)
    assert np.sqrt(np.mean(np.square(smooth))) < np.sqrt(np.mean(np.square(plain))) * 0.9
    # the standard deviation of 20 values is known to about 16 %
    assert 0.6 * true < np.sqrt(np.mean(np.square(smooth))) < 1.6 * true


@pytest.mark.parametrize("kind", [Ccgp, ProbeAccuracy])
def test_no_errors_leave_room_for_a_few(kind):
    X, y, context = noisy(200, 0.01)
    found = jackknife(kind(X, y, context), jackknife_blocks(np.arange(200)))
    assert found.value == 1 and np.ptp(found.replicates) == 0
    low, high = found.interval()
    # as many expected errors as stay unseen with 2.5 % chance, -ln(.025) = 3.7 of 200, and not many more
    assert 1 - 6 / 200 < low < 1 - 3.7 / 200
    assert high > 1


def test_groups_that_agree_count_once_and_rare_contexts_more():
    X, y, context = noisy(400, 0.01)
    alone = Ccgp(X, y, context).resolution
    together = Ccgp(X, y, context, np.repeat(np.arange(100), 4)).resolution
    assert alone == pytest.approx(2 / 400, rel=0.1)
    assert together == pytest.approx(2 / 100, rel=0.2)
    rare = np.where(np.arange(400) < 20, 2, np.arange(400) % 2)
    assert Ccgp(X, y, rare).resolution > 2 * alone


def test_vector_and_matrix_labels_have_resolutions_of_their_shape():
    X, y, context = noisy(200, 1.0)
    blocks = jackknife_blocks(np.arange(200))
    single = jackknife(Ccgp(X, y, context), blocks)
    double = jackknife(Ccgp(X, np.column_stack([y, y]), context), blocks)
    assert np.shape(single.resolution) == () and np.shape(double.resolution) == (2,)
    assert double[1].standard_error() == pytest.approx(single.standard_error())
    difference = double[0] - double[1]
    assert difference.value == 0
    # two models without a difference in any replicate: both their resolutions are left
    assert difference.standard_error() == pytest.approx(np.sqrt(2) * single.resolution)
    assert difference.interval()[1] == pytest.approx(
        sps.t.ppf(0.975, 19) * np.sqrt(2) * float(single.resolution), rel=1e-9
    )
