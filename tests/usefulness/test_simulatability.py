"""Simulatability: planted rules, answers without a rule, groups that leak, shift, and pairs."""

import numpy as np
import pandas as pd
import pytest

from mechdecouple.errors import InputError
from mechdecouple.tasks import Task
from mechdecouple.usefulness import (
    SIMULATABILITY,
    SIMULATED_AGREEMENT,
    TreeFitter,
    differences,
    named_answers,
    seen,
    simulatability,
)

TREE, LOGISTIC = "tree of depth 3", "logistic of 5 features"


def features(n=300, d=6, seed=0):
    X = np.random.default_rng(seed).integers(0, 2, (n, d)).astype(float)
    return {f"c{i}": X[:, i] for i in range(d)}


def test_a_rule_of_few_questions_is_found_and_one_of_many_is_not():
    f = features()
    short = np.where((f["c0"] == 1) & (f["c1"] == 1), "stop", "go")
    parity = (sum(f.values()) % 2).astype(int)
    found, other = simulatability(f, short), simulatability(f, parity)
    for surrogate in (TREE, LOGISTIC):
        assert found.estimate(SIMULATABILITY, surrogate).value == pytest.approx(1.0)
        assert (
            found.estimate(SIMULATABILITY, surrogate).high == 1.0
            and found.estimate(SIMULATABILITY, surrogate).low > 0.9
        )
        assert abs(other.estimate(SIMULATABILITY, surrogate).value) < 0.2
    assert found.estimate(SIMULATED_AGREEMENT, TREE).null == pytest.approx((short == "go").mean())
    assert (found.named[TREE] == short).all()
    assert any("c0 > 0.5 and c1 > 0.5: stop" in rule for rule in found.rules[TREE])


def test_a_weighted_sum_is_one_for_the_logistic_alone():
    f = features(n=600, d=5)
    majority = (sum(f.values()) > 2).astype(int)
    found = simulatability(f, majority)
    assert found.estimate(SIMULATABILITY, LOGISTIC).value > 0.95 > found.estimate(SIMULATABILITY, TREE).high


def test_answers_without_a_rule_are_at_the_null_even_in_small_groups():
    # every group has its own answer and its own number: only who has seen the group can name it
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 5)
    answer = rng.integers(0, 2, 60)[group]
    f = {"group": group.astype(float)}
    deep = (TreeFitter(depth=8, min_leaf=1),)
    found = simulatability(f, answer, group, surrogates=deep).estimate(SIMULATABILITY, "tree of depth 8")
    leaking = simulatability(f, answer, surrogates=deep).estimate(SIMULATABILITY, "tree of depth 8")
    assert abs(found.value) < 0.35 and leaking.value > 0.9 and found.n == 60


def test_a_model_that_always_says_one_thing_is_named_but_not_beyond_chance():
    found = simulatability(features(100), np.full(100, "yes"))
    kappa = found.estimate(SIMULATABILITY, TREE)
    assert np.isnan(kappa.value) and "one answer" in kappa.reason
    agreed = found.estimate(SIMULATED_AGREEMENT, TREE)
    assert agreed.value == agreed.null == 1.0 and agreed.low < 0.99


def test_a_rule_that_breaks_on_the_shift_split_is_seen_there():
    f = features(400)
    shift = np.arange(400) % 4 == 0
    answers = np.where(shift, f["c1"], f["c0"]).astype(int)
    found = simulatability(f, answers, shift=shift)
    assert found.estimate(SIMULATABILITY, TREE).value == pytest.approx(1.0)
    assert abs(found.estimate(SIMULATABILITY, TREE, "shift").value) < 0.25
    assert found.estimate(SIMULATABILITY, TREE, "shift").n == 100


def test_fit_and_score_are_kept_apart():
    f = features(400)
    fit = np.arange(400) < 200
    answers = np.where(fit, f["c0"], 1 - f["c0"]).astype(int)
    found = simulatability(f, answers, fit=fit, score=~fit)
    assert found.estimate(SIMULATABILITY, TREE).value < -0.99
    assert found.estimate(SIMULATED_AGREEMENT, TREE).value == 0.0
    X = np.column_stack(list(f.values()))
    said = named_answers(X, answers, 2, TreeFitter(), np.arange(400), fit)
    assert (said[fit] == answers[fit]).all() and (said[~fit] != answers[~fit]).all()


def test_two_models_pair():
    f = features(400)
    rng = np.random.default_rng(1)
    plain = f["c0"].astype(int)
    noisy = np.where(rng.random(400) < 0.2, 1 - plain, plain)
    a, b = simulatability(f, plain, name="plain"), simulatability(f, noisy, name="noisy")
    rows = {(r.metric, r.concept): r.estimate for r in differences(a, b, ("plain", "noisy"))}
    found = rows["simulatability", TREE]
    assert found.value == pytest.approx(1 - b.estimate(SIMULATABILITY, TREE).value) and found.low > 0.2
    assert found.p < 1e-3 and len(rows) == 4


@pytest.fixture
def task():
    n = 24
    table = pd.DataFrame(
        {
            "prompt": [f"p{i}" for i in range(n)],
            "answer": ["yes", "no"] * (n // 2),
            "choices": [["yes", "no"]] * n,
            "truth": [1.0, 0.0] * (n // 2),
            "concept_size": np.arange(n, dtype=float),
            "concept_fixed": np.ones(n),
            "concept_hue": ["red", "green", "blue"] * (n // 3),
            "asks": ["size", "hue"] * (n // 2),
            "context": ["here"] * n,
        }
    )
    return Task.from_frame(table, name="seen")


def test_what_is_seen_of_a_task(task):
    columns = seen(task)
    assert set(columns) == {"size", "hue=red", "hue=green", "hue=blue", "asks=size"}
    assert columns["size"][5] == 5.0 and columns["asks=size"][:2].tolist() == [1.0, 0.0]


def test_inputs_are_seen_where_nothing_is_declared():
    table = pd.DataFrame({"answer": np.arange(20) % 2})
    X = np.random.default_rng(0).random((20, 2, 3)).astype(np.float32)
    columns = seen(Task.from_frame(table, inputs=X, name="numbers"))
    assert list(columns) == [f"input {j}" for j in range(6)] and columns["input 4"] == pytest.approx(X[:, 1, 1])
    wide = np.random.default_rng(0).random((20, 65)).astype(np.float32)
    assert seen(Task.from_frame(table, inputs=wide, name="wide")) == {}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: simulatability({}, np.arange(4)), "no features"),
        (lambda: simulatability({"x": np.array([1.0, np.nan])}, np.arange(2)), "feature 'x' must be 2 finite"),
        (lambda: simulatability({"x": np.arange(60.0)}, np.arange(60)), "60 different answers"),
        (lambda: simulatability({"x": np.arange(6.0)}, np.arange(6), fit=np.arange(6) < 1), "at least two groups"),
        (lambda: simulatability({"x": np.arange(6.0)}, np.arange(6), shift=np.ones(6, bool)), "no item is left"),
        (lambda: simulatability({"x": np.arange(6.0)}, np.arange(6), score=np.ones(5, bool)), "score must be a mask"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call()
