import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.compare.many.relabel import relabellings
from mechdecouple.compare.many.spread import between_share, contrast_arms, rank_among_seeds, welch
from mechdecouple.results import Metric
from mechdecouple.structure import CCGP, NOISE_TOLERANCE, PARTICIPATION_RATIO

PLAIN = Metric(name="x", family="arms", title="x", measures="x", range="")


def test_three_against_three_gives_one_in_ten_at_best():
    contrast = contrast_arms(CCGP, {"a": [0.9, 0.91, 0.92], "b": [0.5, 0.52, 0.51]})
    assert contrast.p == pytest.approx(0.1) and contrast.smallest_p == pytest.approx(0.1)
    found = contrast.difference("a", "b")
    assert found.value == pytest.approx(0.4) and found.p == pytest.approx(0.1) and found.unit == "models"


def test_p_is_that_of_an_exact_permutation_test():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal(5), rng.standard_normal(4) + 1
    oracle = sps.permutation_test((x, y), lambda a, b: abs(a.mean() - b.mean()), alternative="greater")
    assert contrast_arms(PLAIN, {"a": x, "b": y}).p == pytest.approx(oracle.pvalue)


def test_three_arms_share_orders_as_f():
    rng = np.random.default_rng(4)
    arms = [rng.standard_normal(3) + k for k in (0.0, 0.5, 1.0)]
    oracle = sps.permutation_test(arms, lambda *x: sps.f_oneway(*x).statistic, alternative="greater", n_resamples=2000)
    contrast = contrast_arms(PLAIN, dict(zip("abc", arms, strict=True)))
    f, n, k = sps.f_oneway(*arms).statistic, 9, 3
    assert contrast.share == pytest.approx(f * (k - 1) / (f * (k - 1) + n - k))
    assert contrast.p == pytest.approx(oracle.pvalue, abs=0.03)


def test_mean_share_over_all_dealings_is_its_null():
    x = np.random.default_rng(5).standard_normal(7)
    contrast = contrast_arms(PLAIN, {"a": x[:3], "b": x[3:]})
    shares = between_share(x, relabellings([3, 4]))
    assert shares.mean() == pytest.approx(contrast.share_estimate().null) == pytest.approx(1 / 6)


def test_welch_interval_is_scipys():
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal(4), 3 * rng.standard_normal(6)
    oracle = sps.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert welch(x, y) == pytest.approx((oracle.low, oracle.high))
    low, high = welch(x[:1], y)
    assert np.isnan(low) and np.isnan(high)
    assert welch(np.ones(3), np.zeros(3)) == (1.0, 1.0)


def test_scales_of_comparison():
    ratio = contrast_arms(PARTICIPATION_RATIO, {"a": [2.0, 2.0], "b": [1.0, 1.0]}).difference("a", "b")
    assert ratio.value == pytest.approx(np.log(2))
    relative = contrast_arms(NOISE_TOLERANCE, {"a": [3.0, 3.0], "b": [1.0, 1.0]}).difference("a", "b")
    assert relative.value == pytest.approx(2 * (3 - 1) / (3 + 1))


def test_scale_and_order_do_not_change_p():
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal(4), rng.standard_normal(4) + 1
    p = contrast_arms(PLAIN, {"a": x, "b": y}).p
    assert contrast_arms(PLAIN, {"b": y[::-1], "a": x}).p == pytest.approx(p)
    assert contrast_arms(PLAIN, {"a": 1e6 * x - 5, "b": 1e6 * y - 5}).p == pytest.approx(p)


def test_undefined_runs_and_runs_alike():
    contrast = contrast_arms(CCGP, {"a": [0.9, np.nan], "b": [0.5, 0.5]}, reason="no concept can be read in r2")
    assert not contrast.defined and contrast.difference("a", "b").reason == "no concept can be read in r2"
    assert np.isnan(contrast.p) and "no concept" in contrast.share_estimate().reason
    below = contrast_arms(PARTICIPATION_RATIO, {"a": [1.0, -1.0], "b": [1.0, 2.0]})
    assert "not above 0" in below.reason
    alike = contrast_arms(CCGP, {"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]})
    assert alike.p == 1.0 and alike.difference("a", "b").value == 0


def test_one_run_in_an_arm_has_no_interval_but_a_p():
    contrast = contrast_arms(CCGP, {"a": [0.9], "b": [0.5, 0.51, 0.49, 0.5]})
    found = contrast.difference("a", "b")
    assert found.p == pytest.approx(0.2) and np.isnan(found.low) and "one run" in found.reason
    assert np.isnan(contrast.seed_sd("a")) and "one run" in contrast.arm_mean("a").reason


def test_false_positives_at_equal_recipes_stay_at_the_level():
    """Labels only: runs of both arms from one skewed distribution. Exact tests hold their level for every one."""
    rng = np.random.default_rng(8)
    for sizes, level in (((4, 4), 0.05), ((5, 5), 0.05), ((3, 3), 0.1), ((2, 5), 0.1)):
        deals = relabellings(sizes)
        hits = sum(deals.p(between_share(rng.gamma(1.0, size=sum(sizes)), deals)) <= level for _ in range(1000))
        assert hits <= 1000 * level + 3 * np.sqrt(1000 * level), (sizes, hits)
        # and are not empty: the level is reached as nearly as the dealings allow
        reach = np.floor(level / deals.smallest_p) * deals.smallest_p
        assert hits >= 1000 * reach - 4 * np.sqrt(1000 * reach), (sizes, hits)


def test_a_pair_ranks_among_the_pairs_of_one_arm():
    x, arm = np.array([0.0, 0.1, 0.3, 5.0, 5.2, 5.3]), np.array([0, 0, 0, 1, 1, 1])
    gap = np.abs(np.subtract.outer(x, x))
    far = rank_among_seeds(gap, arm, 0, 3)
    assert far.rank == 1 and far.n_pairs == 6 and far.p == pytest.approx(1 / 7) and far.larger
    within = rank_among_seeds(gap, arm, 0, 2)  # ties with nothing: 0.3 against .1 .2 and .2 .3 .1
    assert within.n_pairs == 5 and within.rank == 2 and not within.larger
    alone = rank_among_seeds(gap[:2, :2], np.array([0, 1]), 0, 1)
    assert alone.n_pairs == 0 and alone.p == 1.0 and not alone.larger and np.isnan(alone.largest)


def test_ranks_of_pairs_are_conservative_at_equal_recipes():
    rng = np.random.default_rng(9)
    for n in (3, 5):
        arm = np.repeat([0, 1], n)
        p = []
        for _ in range(1000):
            x = rng.standard_normal(2 * n)
            p.append(rank_among_seeds(np.abs(np.subtract.outer(x, x)), arm, 0, n).p)
        for level in (0.05, 0.15, 0.25):
            assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 1000)
