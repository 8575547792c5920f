"""Recoverable accuracy: planted heads that misread, heads that read all, features that hold nothing, options."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mechdecouple.errors import InputError
from mechdecouple.usefulness import (
    RECOVERABLE_ACCURACY,
    REFITTED_ACCURACY,
    differences,
    recoverable_accuracy,
    refitted_answers,
)


def planted(n=300, d=10, kinds=2, gap=3.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, kinds, n)
    X = rng.standard_normal((n, d)).astype(np.float32)
    X[:, :kinds] += gap * np.eye(kinds)[y]
    return X, np.array([f"k{i}" for i in range(kinds)])[y]


@pytest.mark.parametrize("kinds", [2, 4])
def test_what_a_biased_head_leaves_unsaid_is_recovered(kinds):
    X, y = planted(kinds=kinds)
    logits = X[:, :kinds].copy()
    logits[:, 0] += 2.5  # the head leans towards one answer
    correct = logits.argmax(axis=1) == np.char.replace(y, "k", "").astype(int)
    found = recoverable_accuracy(X, y, correct)
    gain = found.estimate(RECOVERABLE_ACCURACY)
    assert gain.low > 0.05 and gain.value == pytest.approx(found.estimate(REFITTED_ACCURACY).value - correct.mean())
    assert found.estimate(REFITTED_ACCURACY).null == pytest.approx(correct.mean())


def test_a_head_that_reads_all_leaves_nothing():
    X, y = planted(gap=4.0)
    found = recoverable_accuracy(X, y, np.where(X[:, 1] > X[:, 0], "k1", "k0") == y)
    gain = found.estimate(RECOVERABLE_ACCURACY)
    assert abs(gain.value) < 0.03 and gain.low < 0 < gain.high


def test_features_that_hold_nothing_recover_nothing_though_groups_repeat():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 5)
    X = rng.standard_normal((60, 200))[group].astype(np.float32)
    y = rng.integers(0, 2, 60)[group]
    held, leaking = (refitted_answers(X, y, g) for g in (group, None))
    assert (leaking == y).mean() > 0.95 and abs((held == y).mean() - 0.5) < 0.2


def test_it_is_near_a_softmax_head():
    X, y = planted(n=600, kinds=4, gap=1.5)
    fold = np.arange(600) % 5
    theirs = np.empty(600, dtype=y.dtype)
    for f in range(5):
        head = LogisticRegression(C=1 / (480 * 1e-2)).fit(X[fold != f], y[fold != f])
        theirs[fold == f] = head.predict(X[fold == f])
    mine = refitted_answers(X, y)
    assert abs((mine == y).mean() - (theirs == y).mean()) < 0.03 and (mine == theirs).mean() > 0.9


def test_only_what_an_item_offers_is_answered():
    X, y = planted(kinds=4, gap=0.5)
    kinds, codes = np.unique(y, return_inverse=True)
    allowed = np.zeros((len(y), 4), bool)
    allowed[np.arange(len(y)), codes] = allowed[np.arange(len(y)), (codes + 1) % 4] = True
    free, bound = refitted_answers(X, y), refitted_answers(X, y, allowed=allowed)
    assert allowed[np.arange(len(y)), np.searchsorted(kinds, bound)].all()
    assert (bound == y).mean() > (free == y).mean() + 0.1


def test_heads_are_fitted_on_more_than_is_scored_and_models_pair():
    X, y = planted()
    score = np.arange(300) < 100
    a = recoverable_accuracy(X, y, np.ones(300), score=score, name="a")
    b = recoverable_accuracy(X[:, ::-1] * 2, y, np.zeros(300), score=score, name="b")
    assert a.estimate(REFITTED_ACCURACY).n == 100 and len(a.answers) == 300
    rows = {row.metric: row.estimate for row in differences(a, b, ("a", "b"))}
    assert rows["recoverable_accuracy"].value == pytest.approx(-1.0, abs=0.02)
    assert abs(rows["refitted_accuracy"].value) < 0.02


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: refitted_answers(np.ones((4, 2)), np.ones(4)), "1 right answers"),
        (lambda: refitted_answers(np.ones((4, 2)), np.arange(4) % 2, np.arange(4) // 2), "at least three"),
        (lambda: refitted_answers(*planted(), allowed=np.ones((300, 3), bool)), "allowed has shape"),
        (lambda: recoverable_accuracy(*planted(), np.full(300, 0.5)), "correctness must be 0 or 1"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call()
