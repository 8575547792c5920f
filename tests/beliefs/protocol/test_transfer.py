"""Generalisation: directions that are shared or not, groups that contexts share, contexts too small."""

from __future__ import annotations

import numpy as np
import pytest

from mechdecouple.beliefs import _nested
from mechdecouple.beliefs.protocol.transfer import Reader, Table, transfer
from mechdecouple.stats import group_bootstrap_weights


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def table(truth, groups) -> Table:
    code = np.unique(groups, return_inverse=True)[1]
    usable = np.ones(len(truth), bool)
    fold = _nested.folds(truth, code, usable, 0)
    weights = group_bootstrap_weights(code, 100, 0)
    return Table(truth=truth, group=code, usable=usable, fold=fold, weights=weights)


def reader(acts) -> Reader:
    return Reader(acts, dict.fromkeys(_nested.PROBES), (1.0, 0.1), 0, "cpu")


def test_a_direction_of_its_own_does_not_carry_over(world, rng):
    w = world(600)
    axis = np.where(w.context == "sums", 1, 0)
    X = rng.normal(size=(600, 8))
    X[np.arange(600), axis] += 1.5 * w.sign
    matrix, left_out = transfer(reader({"h": X}), table(w.truth, w.groups), w.context)
    assert matrix["birds", "cities"].low > 0.9 and matrix["sums", "sums"].low > 0.9
    for pair in (("birds", "sums"), ("sums", "cities")):
        assert matrix[pair].value == pytest.approx(0.5, abs=0.15)
    assert left_out["sums"].value < 0.65 and left_out["birds"].low > 0.85


def test_contexts_that_share_groups_do_not_leak(rng):
    """Each group has a code and a truth of its own in both contexts: whoever saw it in one knows it in the other."""
    group = np.repeat(np.arange(80), 4)
    truth = (group % 2).astype(float)
    X = np.repeat(rng.normal(size=(80, 100)), 4, axis=0) + 0.05 * rng.normal(size=(320, 100))
    context = np.array(["plain", "negated"])[np.arange(320) % 2]
    matrix, left_out = transfer(reader({"h": X}), table(truth, group), context)
    for estimate in (*matrix.values(), *left_out.values()):
        assert estimate.value == pytest.approx(0.5, abs=0.2)


def test_two_contexts_left_out_are_the_other_alone(world, rng):
    w = world(400, ("a", "b"))
    matrix, left_out = transfer(reader({"h": w.layer(rng)}), table(w.truth, w.groups), w.context)
    assert left_out["a"].value == matrix["b", "a"].value and left_out["b"].value == matrix["a", "b"].value


def test_each_context_chooses_its_own_hook_point(world, rng):
    w = world(480, ("a", "b"))
    first = np.where(w.context == "a", 1.5, 0.0)
    acts = {"early": w.layer(rng, first), "late": w.layer(rng, 1.5 - first)}
    matrix, _ = transfer(reader(acts), table(w.truth, w.groups), w.context)
    assert min(matrix[pair].value for pair in (("a", "a"), ("b", "b"))) > 0.93
    assert max(abs(matrix[pair].value - 0.5) for pair in (("a", "b"), ("b", "a"))) < 0.15


def test_rows_of_the_context_left_out_are_never_fitted_on(world, rng):
    w = world(360)
    X = w.layer(rng)
    t = table(w.truth, w.groups)
    pool = t.usable & (w.context != "sums")
    before = reader({"h": X})(t, [pool])[0]
    after = reader({"h": np.where(pool[:, None], X, 50.0)})(t, [pool])[0]
    np.testing.assert_array_equal(before[pool], after[pool])


def test_a_context_too_small_to_train_on_is_still_tested_on(world, rng):
    w = world(400, ("a", "b"))
    context = np.where(np.arange(400) < 24, "few", w.context)
    matrix, left_out = transfer(reader({"h": w.layer(rng)}), table(w.truth, w.groups), context)
    assert "only 6 groups hold an honest true statement" in matrix["few", "a"].reason
    assert matrix["a", "few"].value > 0.8 and left_out["few"].value > 0.8


@pytest.mark.slow
def test_noise_carries_over_at_most_at_the_declared_rate(world, rng):
    """Lower ends of 95 % intervals lie above chance in about one of forty; AUROCs sit at chance."""
    above, value = [], []
    for _ in range(150):
        w = world(240, ("a", "b"))
        matrix, _ = transfer(
            reader({"h": w.layer(rng, 0.0), "k": w.layer(rng, 0.0)}), table(w.truth, w.groups), w.context
        )
        above += [estimate.low > 0.5 for estimate in matrix.values()]
        value += [estimate.value for estimate in matrix.values()]
    assert np.mean(above) <= 0.06
    assert np.mean(value) == pytest.approx(0.5, abs=0.01)
