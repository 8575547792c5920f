import numpy as np
import pytest

from mechdecouple.errors import MismatchError
from mechdecouple.stats import jackknife_blocks
from mechdecouple.structure.mechanism.signatures.agreement import pattern_agreement

N, F = 120, 15


def agree(a, b, **options):
    rows = np.arange(len(a))
    return pattern_agreement(a, b, rows, rows, jackknife_blocks(rows), len(a), **options)


def test_it_is_the_rank_correlation_of_each_item():
    x = np.random.default_rng(0).normal(size=(N, F))
    assert agree(x, np.exp(3 * x)).value.value == pytest.approx(1)
    assert agree(x, -x).value.value == pytest.approx(-1)
    assert agree(x, x).p < 0.01


def test_unrelated_patterns_and_those_that_all_items_have_are_the_null():
    rng = np.random.default_rng(0)
    x, y, common = rng.normal(size=(N, F)), rng.normal(size=(N, F)), np.linspace(-3, 3, F)
    apart = agree(x, y)
    low, high = apart.value.interval()
    assert low < 0 < high and apart.p > 0.01
    alike = agree(x + common, y + common)
    assert alike.value.value > 0.5
    assert alike.null.mean() == pytest.approx(alike.value.value, abs=0.05)


def test_columns_that_do_not_count_and_items_without_a_pattern():
    x = np.random.default_rng(0).normal(size=(N, F))
    holed = x.copy()
    holed[np.arange(N), np.arange(N) % F] = np.nan
    assert agree(holed, np.where(np.isnan(holed), np.nan, x**3)).value.value == pytest.approx(1)
    half = x.copy()
    half[::2] = 0.0
    assert agree(half, x).value.value == pytest.approx(1)
    nothing = agree(0 * x, x)
    assert np.isnan(nothing.value.value) and nothing.reason and np.isnan(nothing.p)
    assert nothing.estimate().reason == nothing.reason
    with pytest.raises(MismatchError, match="shapes"):
        agree(x, x[:, :3])
