import numpy as np
import pytest

from mechdecouple.errors import MismatchError
from mechdecouple.stats import jackknife_blocks
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.signatures.wrong_options import (
    WRONG_OPTIONS,
    WRONG_OPTIONS_CLASS,
    consistency,
    wrong_options,
)

N, M = 300, 10
RIGHT = np.arange(N) % M


def profiles(seed, noise=0.0, table=None, right_bonus=8.0):
    """Logits whose wrong options follow a table by the right option, with noise an item."""
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(99).normal(size=(M, M)) if table is None else table
    values = table[RIGHT] + noise * rng.normal(size=(N, M))
    values[np.arange(N), RIGHT] = values.max(axis=1) + right_bonus
    return OptionLogits(values - values.mean(axis=1, keepdims=True), RIGHT)


def test_equal_profiles_agree_whatever_the_right_option_and_the_scale_do():
    a, b = profiles(0), profiles(0, right_bonus=20.0)
    both = wrong_options(a, OptionLogits(3 * b.values, RIGHT))
    assert both.agreement.value == pytest.approx(1)
    assert both.by_class.value == pytest.approx(1)
    assert both.p < 0.01


def test_noise_of_the_items_is_taken_off_the_agreement_by_class():
    """Item by item the correlation is the share of the table in the profiles; that of the means stays one."""
    table = np.nanvar(profiles(0).wrong, axis=1).mean() * (M - 1) / (M - 2)
    found = [wrong_options(profiles(s, 1.0), profiles(s + 50, 1.0)) for s in range(4)]
    assert np.mean([f.agreement.value for f in found]) == pytest.approx(table / (1 + table), abs=0.03)
    assert np.mean([f.by_class.value for f in found]) == pytest.approx(1, abs=0.02)
    assert np.mean([f.within_a.value for f in found]) == pytest.approx(table / (1 + table), abs=0.03)


def test_few_items_a_class_and_what_a_group_has_of_its_own_are_not_consistent():
    """Three groups of two alike items for each right option, without any table: nothing but the groups repeats."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        group, right = np.repeat(np.arange(30), 2), np.repeat(np.arange(30) % M, 2)
        values = rng.normal(size=(30, M))[group]
        values -= values.mean(axis=1, keepdims=True)
        logits, blocks = OptionLogits(values, right), jackknife_blocks(group, 2)
        found.append([consistency(logits, g, blocks, shared=True)[0].value for g in (np.arange(60), group)])
    alone, grouped = np.mean(found, axis=0)
    assert alone > 0.15 and abs(grouped) < 0.04


def test_three_alike_items_a_class_are_wholly_consistent():
    right = np.repeat(np.arange(M), 3)
    values = np.random.default_rng(0).normal(size=(M, M))[right]
    logits = OptionLogits(values - values.mean(axis=1, keepdims=True), right)
    value, _ = consistency(logits, np.arange(30), jackknife_blocks(np.arange(30)), shared=True)
    assert value.value == pytest.approx(1)


def test_unrelated_profiles_do_not_agree():
    tables = np.random.default_rng(1).normal(size=(2, M, M))
    both = wrong_options(profiles(0, 0.5, tables[0]), profiles(1, 0.5, tables[1]))
    assert abs(both.agreement.value) < 0.3
    assert wrong_options(profiles(0, 1.0, 0 * tables[0]), profiles(1, 1.0, 0 * tables[0])).p > 0.01


def test_a_liking_for_some_options_is_the_null():
    liking = np.tile(np.linspace(-2, 2, M), (M, 1))
    both = wrong_options(profiles(0, 1.0, liking), profiles(1, 1.0, liking))
    assert both.agreement.value > 0.4
    assert both.null.mean() == pytest.approx(both.agreement.value, abs=0.05)


def test_profiles_of_different_tasks_or_of_two_options_are_refused_or_explained():
    a = profiles(0)
    with pytest.raises(MismatchError, match="'x' and 'y'"):
        wrong_options(a, OptionLogits(a.values, (RIGHT + 1) % M), names=("x", "y"))
    two = OptionLogits(np.tile([1.0, -1.0], (20, 1)), np.zeros(20, int))
    both = wrong_options(two, two)
    assert np.isnan(both.agreement.value) and "two options" in both.reasons[WRONG_OPTIONS.name]
    assert both.frame()["reason"].str.contains("two options").all()
    flat = np.full((20, 4), -1.0)
    flat[:, 0] = 3.0
    assert "do not differ" in wrong_options(*[OptionLogits(flat, np.zeros(20, int))] * 2).reasons[WRONG_OPTIONS.name]
    other = wrong_options(a, a, shared=False)
    assert other.agreement.value == pytest.approx(1)
    assert "different options" in other.reasons[WRONG_OPTIONS_CLASS.name]
    noise = profiles(0, 1.0, np.zeros((M, M)))
    assert "beyond noise" in wrong_options(noise, profiles(3, 1.0, np.zeros((M, M)))).reasons.get(
        WRONG_OPTIONS_CLASS.name, "beyond noise"
    )


def test_consistency_is_that_of_the_pair():
    a, groups = profiles(0, 1.0), np.arange(N)
    value, reason = consistency(a, groups, jackknife_blocks(groups), shared=True)
    assert value.value == pytest.approx(wrong_options(a, a).within_a.value) and not reason


def test_seeds_of_one_recipe_with_other_frequencies_err_otherwise(pizza_and_clock, seeds):
    """Two seeds with one key frequency in common of four and six, and two algorithms."""
    for a, b in (seeds, pizza_and_clock):
        assert abs(wrong_options(a.clean, b.clean).agreement.value) < 0.25
        assert wrong_options(a.clean, a.clean).by_class.value == pytest.approx(1)
