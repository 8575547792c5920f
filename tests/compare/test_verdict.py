import math

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple import stats
from mechdecouple.compare.verdict import Contrast, difference_verdict, flag
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates

CCGP = Metric(
    name="ccgp", family="fracture", title="CCGP", measures="", range="[0, 1]", direction="higher", margin=0.05
)
OTHER = Metric(name="other", family="fracture", title="Other", measures="", range="[0, 1]", margin=0.05)


def replicates(value, se, b=20, seed=0):
    """A jackknife whose standard error is exactly ``se``."""
    noise = np.random.default_rng(seed).normal(size=b)
    noise -= noise.mean()
    noise *= se / math.sqrt((b - 1) / b * (noise @ noise))
    return Replicates(value, value + noise, "jackknife", 100)


def contrast(metric, a, b, se=0.01, **facts):
    return Contrast(metric, replicates(a - b, se), a, b, **facts)


def test_flagged_means_that_the_interval_lies_outside_the_margin():
    t = sps.t.ppf(0.975, 19)
    just_in, just_out = 0.05 + 0.01 * t * 0.99, 0.05 + 0.01 * t * 1.01
    assert flag([contrast(CCGP, just_in, 0)]) == [False]
    assert flag([contrast(CCGP, just_out, 0)]) == [True]
    assert flag([contrast(CCGP, -just_out, 0)]) == [True]
    low, _ = contrast(CCGP, just_out, 0).difference.interval()
    assert low == pytest.approx(0.05 + 0.01 * t * 0.01)


def test_a_sure_but_small_difference_is_not_flagged():
    assert flag([contrast(CCGP, 0.042, 0, se=0.001)]) == [False]


def test_holm_asks_more_of_each_metric_when_many_are_looked_at():
    t = sps.t.ppf(1 - 0.024, 19)
    borderline = [contrast(CCGP, 0.05 + 0.01 * t, 0)]
    assert flag(borderline) == [True]
    assert flag(borderline + [contrast(OTHER, 0.0, 0.0)] * 4) == [False] * 5


def test_a_difference_within_the_spread_of_seeds_is_not_flagged():
    assert flag([contrast(CCGP, 0.3, 0, seed_spread=0.31)]) == [False]
    assert flag([contrast(CCGP, 0.3, 0, seed_spread=0.29)]) == [True]


def test_an_undefined_contrast_is_neither_flagged_nor_cleared_and_does_not_count_for_holm():
    missing = Contrast(OTHER, None, reason="the task has no context column")
    t = sps.t.ppf(1 - 0.024, 19)
    assert flag([contrast(CCGP, 0.05 + 0.01 * t, 0), missing]) == [True, None]
    verdict = difference_verdict("structure", [missing], [None], "A", "B")
    assert verdict.flagged is None
    assert "no context column" in verdict.sentence


def test_the_sentence_names_the_tidier_model():
    one = contrast(CCGP, 0.99, 0.53)
    said = difference_verdict("structure", [one], flag([one]), "left", "right").sentence
    assert said.startswith("Differently organised.")
    assert "left is the tidier" in said
    swapped = contrast(CCGP, 0.53, 0.99)
    assert (
        "right is the tidier" in difference_verdict("structure", [swapped], flag([swapped]), "left", "right").sentence
    )


def test_false_flags_at_the_margin_stay_below_the_level():
    """Two models that truly differ by exactly the margin are flagged in at most 2.5 % of 400 data sets."""
    rng = np.random.default_rng(0)
    flags = 0
    for _ in range(400):
        d = rng.normal(0.05, 0.5, 500)
        found = stats.jackknife(lambda rows, d=d: d[rows].mean(), stats.jackknife_blocks(np.arange(500), 20, 0))
        flags += bool(flag([Contrast(CCGP, found)])[0])
    assert flags <= 400 * 0.025 + 3 * math.sqrt(400 * 0.025 * 0.975)


def test_the_interval_of_a_difference_is_not_cut_at_the_range_of_the_metric():
    # CCGP lies in [0, 1]; its difference of -.4 does not
    found = contrast(CCGP, 0.5, 0.9).estimate()
    assert found.low < -0.4 < found.high < -0.35
    own = replicates(0.995, 0.01).estimate(CCGP)
    assert own.high == 1.0
    assert own.low < 0.99


def test_a_metric_that_needs_seeds_is_not_flagged_without_them():
    large = contrast(CCGP, 0.9, 0.4, needs_seeds=True)
    assert flag([large]) == [None]
    said = difference_verdict("sae", [large], [None], "A", "B").sentence
    assert "further runs" in said
    assert "+0.500" in said
    assert flag([contrast(CCGP, 0.9, 0.4, needs_seeds=True, seed_spread=0.2)]) == [True]
    assert flag([contrast(CCGP, 0.41, 0.4, needs_seeds=True)]) == [False]


def test_a_difference_without_an_interval_says_so():
    holes = np.full(20, 0.3)
    holes[3] = np.nan
    found = Contrast(CCGP, Replicates(0.3, holes, "jackknife", 100), 0.9, 0.6)
    assert flag([found]) == [None]
    said = difference_verdict("structure", [found], [None], "A", "B").sentence
    assert "no interval" in said
    assert "nan" not in said
