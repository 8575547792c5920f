"""Resampling plans keep groups whole; permutation p-values add one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechdecouple.errors import InputError
from mechdecouple.stats import (
    group_bootstrap_weights,
    jackknife,
    jackknife_blocks,
    permutation_p,
    second_order_jackknife,
)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=60), n_blocks=st.integers(2, 25), seed=st.integers(0, 9))
def test_blocks_hold_whole_groups_and_are_balanced(sizes, n_blocks, seed):
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    blocks = jackknife_blocks(groups[shuffled], n_blocks, seed)
    assert set(blocks) == set(range(min(n_blocks, len(sizes))))
    for g in set(groups):
        assert len(set(blocks[groups[shuffled] == g])) == 1
    filled = np.bincount(blocks)
    assert filled.max() - filled.min() <= max(sizes)


def test_equal_groups_fill_blocks_evenly_and_the_seed_decides():
    blocks = jackknife_blocks(np.arange(105), 20)
    assert sorted(np.bincount(blocks)) == [5] * 15 + [6] * 5
    assert (blocks == jackknife_blocks(np.arange(105), 20)).all()
    assert (blocks != jackknife_blocks(np.arange(105), 20, seed=1)).any()


def test_jackknife_leaves_each_block_out_once():
    seen = []
    blocks = np.array([0, 1, 2, 1])
    r = jackknife(lambda rows: seen.append(rows.tolist()) or float(len(rows)), blocks)
    assert seen == [[0, 1, 2, 3], [1, 2, 3], [0, 2], [0, 1, 3]]
    assert r.value == 4 and r.replicates.tolist() == [3, 2, 3] and r.n == 4


def test_bootstrap_weights_are_multinomial_over_groups():
    groups = np.array(["a", "b", "b", "c", "c", "c"])
    weights = group_bootstrap_weights(groups, 3000, seed=2)
    assert (weights[:, 1] == weights[:, 2]).all() and (weights[:, 3] == weights[:, 5]).all()
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)
    assert weights.mean() == pytest.approx(1, abs=0.05)
    assert weights[:, 0].var() == pytest.approx(3 * (1 / 3) * (2 / 3), rel=0.1)


@pytest.mark.parametrize("tail, expected", [("upper", 3 / 101), ("lower", 99 / 101), ("two-sided", 6 / 101)])
def test_permutation_p_adds_one(tail, expected):
    assert permutation_p(97.5, np.arange(100.0), tail) == pytest.approx(expected)


def test_permutation_p_of_arrays_ties_and_nan():
    draws = np.stack([np.zeros(9), np.arange(9.0), np.arange(9.0)], axis=1)
    p = permutation_p(np.array([0.0, 100.0, np.nan]), draws)
    np.testing.assert_array_equal(p, [1.0, 0.1, np.nan])
    assert permutation_p(0.3, np.array([0.1 + 0.2] * 3)) == 1.0, "rounding does not break a tie"
    assert permutation_p(0.5, np.zeros(0)) == 1.0


def test_empty_and_impossible_plans_are_refused():
    with pytest.raises(InputError, match="no rows"):
        jackknife_blocks(np.zeros(0))
    with pytest.raises(InputError, match="no rows"):
        group_bootstrap_weights(np.zeros(0))
    with pytest.raises(InputError, match="n_blocks is 1"):
        jackknife_blocks(np.arange(5), 1)
    with pytest.raises(InputError, match="n_resamples is 0"):
        group_bootstrap_weights(np.arange(5), 0)


def test_stats_never_imports_torch():
    import subprocess
    import sys

    code = "import sys, mechdecouple.stats; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def chaos(rng, n, d, linear=0.0):
    """A U-statistic of pairs of rows of d directions, without some of 20 blocks; ``linear`` adds a mean of rows."""
    X, own = rng.normal(size=(20, n // 20, d)) / np.sqrt(d), rng.normal(size=(20, n // 20)).mean(axis=1)
    sums, squares = X.sum(axis=1), (X**2).sum(axis=(1, 2))

    def without(*left):
        kept = np.setdiff1d(np.arange(20), left)
        total, m = sums[kept].sum(axis=0), n // 20 * len(kept)
        return (total @ total - squares[kept].sum()) / (m * (m - 1)) + linear * own[kept].mean()

    return without


def test_products_of_two_blocks_are_counted_once():
    """The jackknife's variance of a sum over pairs of rows is twice the true one, of a mean of rows it is right."""
    rng = np.random.default_rng(0)
    for linear, ratio in ((0.0, 2.05), (1.0, 1.0)):
        values, first, second = [], [], []
        for _ in range(150):
            without = chaos(rng, 200, 100, linear)
            found = second_order_jackknife(without, 20, 200)
            one = np.array([without(b) for b in range(20)])
            values.append(found.value)
            first.append(19 / 20 * ((one - one.mean()) ** 2).sum())
            second.append(found.standard_error() ** 2)
        # the variance of 150 values is known to 12 %
        assert np.mean(first) / np.var(values) == pytest.approx(ratio, rel=0.35)
        assert np.mean(second) / np.var(values) == pytest.approx(1.0, rel=0.35)
    assert np.mean(second) == pytest.approx(np.mean(first), rel=0.05)


def test_few_blocks_are_the_plain_jackknife_and_none_leave_the_value():
    without = chaos(np.random.default_rng(1), 60, 5)
    found = second_order_jackknife(without, 3, 60)
    np.testing.assert_array_equal(found.replicates, [without(b) for b in range(3)])
    assert len(second_order_jackknife(without, 0, 60).replicates) == 0
    matrix = second_order_jackknife(lambda *left: np.full((2, 3), without(*left)), 6, 60)
    single = second_order_jackknife(without, 6, 60)
    np.testing.assert_allclose(matrix.replicates[:, 1, 2], single.replicates)
