import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.probes import grouped_folds, leave_one_context_out


def test_groups_stay_whole_and_classes_are_spread():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 90, 600).astype(str)
    y = rng.random(600) < 0.2
    fold = grouped_folds(y, groups, 5)
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups))
    share = [y[fold == f].mean() for f in range(5)]
    assert max(share) - min(share) < 0.05
    assert np.ptp(np.bincount(fold)) < 40


def test_classes_are_even_when_groups_are_rows():
    y = np.arange(100) < 10
    fold = grouped_folds(y, None, 5)
    assert [int(y[fold == f].sum()) for f in range(5)] == [2] * 5
    assert np.bincount(fold).tolist() == [20] * 5


def test_deterministic_by_seed_and_by_group_not_by_row_order():
    groups = np.array([f"g{i // 3}" for i in range(60)])
    y = (np.arange(60) // 3) % 2
    shuffled = np.random.default_rng(1).permutation(60)
    np.testing.assert_array_equal(
        grouped_folds(y, groups, 4, 7)[shuffled], grouped_folds(y[shuffled], groups[shuffled], 4, 7)
    )
    assert (grouped_folds(y, groups, 4, 7) != grouped_folds(y, groups, 4, 8)).any()


def test_fewer_groups_than_folds():
    groups = np.array(["a", "b", "c"] * 4)
    assert grouped_folds(np.arange(12) % 2, groups, 5).max() == 2


def test_one_group_is_refused():
    with pytest.raises(InputError, match="two groups"):
        grouped_folds(np.arange(4) % 2, np.array(["a"] * 4))


def test_each_context_is_left_out_once():
    context = np.array(["b", "a", "b", "c"])
    splits = list(leave_one_context_out(context))
    assert [name for name, _, _ in splits] == ["a", "b", "c"]
    for name, train, test in splits:
        np.testing.assert_array_equal(test, context == name)
        np.testing.assert_array_equal(train, ~test)
    with pytest.raises(InputError, match="at least two"):
        list(leave_one_context_out(np.array(["a", "a"])))
