"""Tango's interval against published examples and brute-force inversion; the size of the test at the margin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as sps

from mechdecouple.errors import InputError
from mechdecouple.stats import paired_tost, supported_margin, tango_interval


def items(only_a: int, only_b: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    cells = [(1, 0, only_a), (0, 1, only_b), (1, 1, both), (0, 0, neither)]
    return tuple(np.concatenate([np.full(k, cell[i]) for *cell, k in cells]) for i in (0, 1))


def brute_force_z(only_a: float, only_b: float, n: float, difference: float) -> float:
    """The score statistic with the nuisance share found by maximising the multinomial likelihood numerically."""
    least = max(0.0, -difference)

    def loss(q: float) -> float:
        p = q + difference
        rest = 1 - q - p
        return -(sps.multinomial.logpmf([0, 0, 0], 0, [1, 0, 0]) + sum(
            k * math.log(max(x, 1e-300)) for k, x in ((only_a, p), (only_b, q), (n - only_a - only_b, rest))
        ))  # fmt: skip

    q = optimize.minimize_scalar(
        loss, bounds=(least, (1 - difference) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    return (only_a - only_b - n * difference) / math.sqrt(n * (2 * q + difference - difference**2))


@pytest.mark.parametrize(
    "only_a, only_b, n, low, high",
    [
        (1, 7, 21, -0.5172, -0.0260),  # Fagerland, Lydersen & Laake (2014): airway hyper-responsiveness
        (6, 16, 161, -0.1240, -0.0054),  # the same: complete response before and after consolidation
    ],
)
def test_tango_hits_published_examples(only_a, only_b, n, low, high):
    assert tango_interval(only_a, only_b, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("only_a, only_b, n", [(5, 3, 60), (1, 0, 25), (0, 4, 40), (30, 20, 80), (7.5, 2.25, 91.5)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_tango_is_where_the_score_test_stops_rejecting(only_a, only_b, n, level):
    z = sps.norm.ppf((1 + level) / 2)
    low, high = tango_interval(only_a, only_b, n, level)
    assert brute_force_z(only_a, only_b, n, low) == pytest.approx(z, abs=1e-4)
    assert brute_force_z(only_a, only_b, n, high) == pytest.approx(-z, abs=1e-4)


@pytest.mark.parametrize("n", [10, 100, 5000])
def test_tango_keeps_its_width_without_any_discordance(n):
    z2 = sps.norm.ppf(0.975) ** 2
    assert tango_interval(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), rel=1e-9)


@pytest.mark.parametrize("only_a, only_b, n", [(10, 0, 10), (9, 1, 10), (0, 10, 10), (5, 5, 10), (1, 0, 1)])
def test_tango_stays_in_range_and_mirrors(only_a, only_b, n):
    low, high = tango_interval(only_a, only_b, n)
    assert -1 <= low <= (only_a - only_b) / n <= high <= 1
    assert tango_interval(only_b, only_a, n) == pytest.approx((-high, -low), abs=1e-9)


def test_p_and_interval_agree():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(50, 800))
        a = rng.random(n) < 0.8
        b = np.where(rng.random(n) < 0.1, rng.random(n) < 0.8, a)
        for groups in (np.arange(n), np.arange(n) // 3):
            result = paired_tost(a, b, groups, 0.04)
            assert result.equal == (max(-result.low, result.high) <= 0.04)
            assert result.low95 < result.low <= result.difference <= result.high < result.high95


def test_one_row_a_group_is_plain_tango():
    a, b = items(9, 4, 100, 20)
    result = paired_tost(a, b, np.array([f"item {i}" for i in range(133)]), 0.1)
    assert (result.low, result.high) == tango_interval(9, 4, 133, 0.9)
    assert (result.low95, result.high95) == tango_interval(9, 4, 133, 0.95)
    assert (result.only_a, result.only_b, result.discordance, result.design_effect) == (9, 4, 13 / 133, 1.0)
    assert result.method == "Tango score interval"


def test_a_model_against_itself_needs_enough_items():
    right = np.ones(400, bool)
    assert paired_tost(right, right, np.arange(400), 0.01).equal
    assert not paired_tost(right[:200], right[:200], np.arange(200), 0.01).equal, (
        "200 items cannot show a 1-point margin"
    )


def test_items_of_a_group_that_all_agree_count_once():
    a, b = items(12, 8, 100, 40)
    rows = np.repeat(np.arange(len(a)), 5)
    five_fold = paired_tost(a[rows], b[rows], rows, 0.1)
    once = paired_tost(a, b, np.arange(len(a)), 0.1)
    assert five_fold.design_effect == pytest.approx(5, rel=0.01)
    assert five_fold.high - five_fold.low == pytest.approx(once.high - once.low, rel=0.02)


def test_continuous_scores_are_a_paired_t_test():
    rng = np.random.default_rng(1)
    a, d = rng.normal(3, 1, 80), rng.normal(0.02, 0.2, 80)
    result = paired_tost(a, a - d, np.arange(80), 0.1)
    low, high = sps.ttest_rel(a, a - d).confidence_interval(0.9)
    assert (result.low, result.high) == pytest.approx((low, high))
    p = max(sps.ttest_1samp(d, -0.1, alternative="greater").pvalue, sps.ttest_1samp(d, 0.1, alternative="less").pvalue)
    assert result.p == pytest.approx(p)
    assert math.isnan(result.discordance)


def test_continuous_scores_with_groups_match_cluster_robust_regression():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), rng.integers(1, 6, 30))
    d = rng.normal(0, 0.3, 30)[groups] + rng.normal(0, 0.1, len(groups))
    fit = sm.OLS(d, np.ones(len(d))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}, use_t=True
    )
    result = paired_tost(d, np.zeros(len(d)), groups, 0.2)
    assert (result.low95, result.high95) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-9)


def test_identical_continuous_scores_are_equal():
    loss = np.linspace(1, 2, 50)
    result = paired_tost(loss, loss, np.arange(50), 1e-6)
    assert result.equal and result.p == 0 and not result.differs


def test_supported_margin_pin_and_floor():
    assert supported_margin(0.10, 10_820) == pytest.approx(0.01, rel=1e-3)
    z2 = sps.norm.ppf(0.95) ** 2
    assert supported_margin(0.0, 500) == pytest.approx(z2 / (500 + z2)), (
        "no discordance seen still supports no margin of zero"
    )
    assert supported_margin(0.0, 500, binary=False) == 0.0
    assert supported_margin(4.0, 400, binary=False) == pytest.approx(0.1 * (sps.norm.ppf(0.95) * 2), rel=1e-3)
    assert supported_margin(0.1, 2000) > supported_margin(0.1, 4000)


def test_supported_margin_is_shown_nine_times_in_ten():
    n, discordance = 1000, 0.1
    margin = supported_margin(discordance, n)
    counts = np.random.default_rng(5).multinomial(n, [discordance / 2, discordance / 2, 1 - discordance], size=400)
    shown = np.mean([max(map(abs, tango_interval(a, b, n, 0.9))) <= margin for a, b, _ in counts])
    assert shown == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"margin": 0.0}, "margin is 0"), ({"margin": math.nan}, "margin is nan"), ({"alpha": 0.6}, "alpha is 0.6"),
        ({"a": np.array([1.0, math.nan, 0.0])}, "score 1 of model A is nan"),
        ({"b": np.ones(2)}, "all three need one a row"),
        ({"groups": np.zeros(3)}, "one group"), ({"a": np.ones(0), "b": np.ones(0), "groups": np.ones(0)}, "empty"),
    ],
)  # fmt: skip
def test_errors_name_the_value(change, message):
    good = {"a": np.array([1.0, 0.0, 1.0]), "b": np.array([1.0, 1.0, 0.0]), "groups": np.arange(3), "margin": 0.1}
    with pytest.raises(InputError, match=message):
        paired_tost(**(good | change))


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="together at most n"):
        tango_interval(6, 5, 10)
    with pytest.raises(InputError, match="discordance"):
        supported_margin(-0.1, 10)


def _size(n: int, m: int, psi: float, delta: float, alike: float, n_sim: int) -> float:
    """How often 'equal' is said with a true difference of exactly the margin; ``alike`` of the groups move as one."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(n // m), m)
    chances = [(psi + delta) / 2, (psi - delta) / 2, 1 - psi]
    said = 0
    for _ in range(n_sim):
        each = rng.choice([1, -1, 0], p=chances, size=(n // m, m))
        whole = rng.choice([1, -1, 0], p=chances, size=(n // m, 1))
        d = np.where(rng.random((n // m, 1)) < alike, whole, each).ravel()
        said += paired_tost(d >= 0, d <= 0, groups, delta).equal
    return said / n_sim


def _most(n_sim: int, alpha: float = 0.05) -> float:
    return sps.binom.ppf(0.999, n_sim, alpha) / n_sim


@pytest.mark.parametrize("case", [(150, 1, 0.02, 0.02, 0.0), (400, 1, 0.02, 0.02, 0.0), (400, 4, 0.05, 0.05, 0.5)])
def test_size_at_the_margin(case):
    assert _size(*case, n_sim=300) <= _most(300)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        (150, 1, 0.02, 0.02, 0.0), (200, 1, 0.05, 0.05, 0.0), (300, 1, 0.01, 0.01, 0.0), (400, 1, 0.05, 0.02, 0.0),
        (1000, 1, 0.1, 0.02, 0.0), (2000, 4, 0.05, 0.02, 0.5), (2000, 10, 0.03, 0.02, 0.3), (2000, 20, 0.03, 0.03, 0.5),
        (1000, 20, 0.05, 0.04, 0.3), (5000, 50, 0.05, 0.03, 0.2), (60, 2, 0.1, 0.1, 1.0),
    ],
)  # fmt: skip
def test_size_at_the_margin_in_full(case):
    assert _size(*case, n_sim=2000) <= _most(2000)
