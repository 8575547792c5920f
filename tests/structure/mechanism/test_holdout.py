import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.holdout import FOLDS, hold_out


def grid(p):
    a, b = (x.astype(str) for x in np.divmod(np.arange(p * p), p))
    return {"a": a, "b": b}, np.array([str((int(x) + int(y)) % p) for x, y in zip(a, b, strict=True)])


def ids(n):
    return np.array([f"g{i}" for i in range(n)])


def values(inputs, rows):
    return set(np.concatenate([labels[rows] for labels in inputs]).tolist())


def test_no_value_of_a_test_item_is_fitted_wherever_it_stands():
    inputs, answer = grid(20)
    held = hold_out(inputs, answer, ids(400))
    everything = [*inputs.values(), answer]
    assert held.held == ("a", "b", "answer") and held.seen == ()
    for fold in held.folds:
        assert not values(everything, fold.fit) & values(everything, fold.test)
        assert fold.inner
        for fit, test in fold.inner:
            assert not values(everything, fold.fit[fit]) & values(everything, fold.fit[test])
            assert len(fit) and len(test)


def test_items_are_tested_once_and_within_what_is_asked():
    inputs, answer = grid(23)
    held = hold_out(inputs, answer, ids(529), n_test=50, n_used=300, n_fit=80)
    tested = np.concatenate([fold.test for fold in held.folds])
    assert len(tested) == len(np.unique(tested)) == len(held.test) == 50
    assert len(held.used) <= 300 and max(len(fold.fit) for fold in held.folds) <= 80
    within = held.within()
    for one, other in zip(held.folds, within.folds, strict=True):
        np.testing.assert_array_equal(held.used[other.fit], one.fit)
        np.testing.assert_array_equal(held.used[other.test], one.test)


def test_groups_stay_whole_beside_values():
    inputs, answer = grid(20)
    groups = np.array([f"g{(int(x) + 3 * int(y)) % 37}" for x, y in zip(*inputs.values(), strict=True)])
    for fold in hold_out(inputs, answer, groups).folds:
        assert not set(groups[fold.fit]) & set(groups[fold.test])


def test_with_groups_values_are_seen_and_said_to_be():
    inputs, answer = grid(20)
    held = hold_out(inputs, answer, ids(400), by="groups")
    assert held.held == () and held.seen == ("a", "b", "answer") and len(held.folds) == FOLDS
    assert "groups" in held.sentence and "a, b, answer" in held.sentence
    fold = held.folds[0]
    assert not set(fold.fit) & set(fold.test)
    assert values([answer], fold.fit) >= values([answer], fold.test)


def test_what_has_few_values_is_seen_and_what_does_not_vary_is_not_named():
    inputs, answer = grid(20)
    inputs |= {"sign": np.array(["+", "-"])[np.arange(400) % 2], "end": np.full(400, "=")}
    yes = np.where(answer.astype(int) > 9, "yes", "no")
    held = hold_out(inputs, yes, ids(400))
    assert held.held == ("a", "b") and held.seen == ("sign", "answer")


def test_inputs_are_given_up_before_the_answer_where_items_are_few():
    rng = np.random.default_rng(0)
    inputs = {f"position {i}": rng.integers(0, 10 + i, 200).astype(str) for i in range(12)}
    held = hold_out(inputs, rng.integers(0, 9, 200).astype(str), ids(200))
    assert "answer" in held.held and "position 11" in held.held
    assert "position 0" in held.seen
    assert set(held.held) | set(held.seen) == {*inputs, "answer"}


def test_with_too_few_values_groups_are_held_out():
    held = hold_out({"a": np.array(["x", "y"])[np.arange(80) % 2]}, np.full(80, "yes"), ids(80))
    assert held.held == () and held.seen == ("a",)


def test_the_seed_decides():
    inputs, answer = grid(20)
    first, again, other = (hold_out(inputs, answer, ids(400), seed=s).test for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize(("n", "groups"), [(400, 1), (400, 2), (12, 12)])
def test_too_little_to_hold_out_is_refused(n, groups):
    with pytest.raises(InputError, match=f"{n} items in {groups} groups"):
        hold_out({}, np.array(["yes", "no"])[np.arange(n) % 2], np.arange(n) % groups)
