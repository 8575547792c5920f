"""Sparse logistic regression: conditions of the least loss, scikit-learn, planted features."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from mechdecouple.errors import InputError
from mechdecouple.usefulness import SparseLogisticFitter
from mechdecouple.usefulness.sparse_logistic import _refit, support


def planted(seed=0, n=400, labels=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 12)) * np.geomspace(0.01, 100, 12) + 3
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    score = np.zeros((n, labels))
    score[:, 0], score[:, -1] = 2 * Z[:, 1] - Z[:, 5], 1.5 * Z[:, 8]
    y = (score + rng.gumbel(size=score.shape)).argmax(axis=1)
    return X, y


@pytest.mark.parametrize("labels", [2, 3])
def test_planted_features_are_found_whatever_their_scale(labels):
    X, y = planted(labels=labels)
    found = SparseLogisticFitter(3).fit(X, y, labels)
    assert set(np.flatnonzero(found.weights.any(axis=1))) == {1, 5, 8} and found.size == 3
    fresh, truth = planted(seed=1, labels=labels)
    assert (found.predict(fresh) == truth).mean() > 0.65


def test_the_refit_is_that_of_scikit_learn():
    X, y = planted()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    weights, bias = _refit(Z[:, [1, 5, 8]], np.eye(3)[y], 1e-3)
    theirs = LogisticRegression(C=1 / (len(y) * 1e-3), tol=1e-10, max_iter=1000).fit(Z[:, [1, 5, 8]], y)
    assert weights.T - weights.mean(axis=1) == pytest.approx(theirs.coef_, abs=2e-3)
    assert bias - bias.mean() == pytest.approx(theirs.intercept_ - theirs.intercept_.mean(), abs=2e-3)


def test_the_path_begins_with_the_strongest_pull():
    X, y = planted()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    pull = np.linalg.norm(Z.T @ (softmax(np.log(np.bincount(y) / len(y)))[None] - np.eye(3)[y]), axis=1)
    assert support(Z, np.eye(3)[y], 1).tolist() == [int(pull.argmax())]
    assert len(support(Z, np.eye(3)[y], 4)) <= 4 and len(support(Z, np.eye(3)[y], 12)) > 4


def test_features_alike_do_not_break_the_limit():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((100, 1)), 6, axis=1)
    y = (X[:, 0] > 0).astype(np.int64)
    found = SparseLogisticFitter(2).fit(X, y, 2)
    assert 1 <= found.size <= 2 and (found.predict(X) == y).mean() > 0.97


def test_constant_features_and_answers():
    X = np.ones((20, 2))
    found = SparseLogisticFitter(2).fit(X, np.arange(20) % 4 // 3, 2)
    assert found.size == 0 and (found.predict(X) == 0).all() and found.rules(["a", "b"], ["x", "y"]) == ("always: x",)
    only = SparseLogisticFitter(2).fit(np.random.default_rng(0).random((20, 2)), np.full(20, 1), 3)
    assert (only.predict(X) == 1).all()


def test_rules_name_the_weightiest_first():
    X, y = planted(labels=2)
    rules = SparseLogisticFitter(3).fit(X, y, 2).rules([f"f{i}" for i in range(12)], ["no", "yes"])
    assert len(rules) == 3 and all(" for yes against no" in rule for rule in rules)
    steps = [abs(float(rule.split(": ")[1].split(" ")[0])) for rule in rules]
    assert steps == sorted(steps, reverse=True)


def test_bad_input():
    with pytest.raises(InputError, match="0 features"):
        SparseLogisticFitter(0).fit(np.ones((3, 1)), np.zeros(3, int), 2)
