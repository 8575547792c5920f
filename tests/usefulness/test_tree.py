"""Trees: those of scikit-learn, rules that read as they predict, two questions that say what neither does."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from mechdecouple.errors import InputError
from mechdecouple.usefulness import TreeFitter


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("labels", [2, 4])
def test_it_predicts_what_that_of_scikit_learn_predicts(depth, labels):
    rng = np.random.default_rng(depth)
    X = rng.standard_normal((300, 6)).astype(np.float32).astype(float)
    y = (np.digitize(X[:, 0] + (X[:, 1] > 0) * X[:, 2], np.linspace(-1, 1, labels - 1)) + 0).astype(np.int64)
    theirs = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=0).fit(X, y)
    mine = TreeFitter(depth, 5).fit(X, y, labels)
    fresh = rng.standard_normal((500, 6)).astype(np.float32).astype(float)
    assert (mine.predict(X) == theirs.predict(X)).mean() == 1.0
    assert (mine.predict(fresh) == theirs.predict(fresh)).mean() > 0.995
    assert mine.size <= theirs.get_n_leaves()


def test_two_questions_say_what_neither_does():
    X = np.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)] * 10)
    y = (X[:, 0] != X[:, 1]).astype(np.int64)
    assert (TreeFitter(2).fit(X, y, 2).predict(X) == y).all()
    assert TreeFitter(1).fit(X, y, 2).size == 1, "leaves of one label are one"


def test_without_questions_it_is_the_commonest_label():
    y = np.array([2, 2, 0, 1, 2])
    tree = TreeFitter(0).fit(np.zeros((5, 1)), y, 3)
    assert (tree.predict(np.ones((4, 1))) == 2).all() and tree.rules(["x"], ["a", "b", "c"]) == ("always: c",)


def test_rules_read_as_it_predicts():
    rng = np.random.default_rng(0)
    X = rng.random((200, 3))
    tree = TreeFitter(3).fit(X, rng.integers(0, 2, 200), 2)
    rules = tree.rules(["first", "second", "third"], ["no", "yes"])
    assert len(rules) == tree.size > 2
    for row, label in zip(X[:50], tree.predict(X[:50]), strict=True):
        names = {"first": row[0], "second": row[1], "third": row[2]}
        held = []
        for rule in rules:
            conditions, answer = rule.removeprefix("if ").split(": ")
            parts = [part.split(" ") for part in conditions.split(" and ")]
            if all((names[n] > float(edge)) == (sign == ">") for n, sign, edge in parts):
                held.append(answer)
        assert held == [["no", "yes"][label]]


def test_items_of_a_leaf_have_its_label_and_every_leaf_has_items():
    rng = np.random.default_rng(3)
    X = rng.random((200, 3))
    tree = TreeFitter(3).fit(X, rng.integers(0, 3, 200), 3)
    at = tree.leaves(X)
    assert (tree.label[at] == tree.predict(X)).all()
    assert sorted(set(at.tolist())) == np.flatnonzero(tree.feature < 0).tolist()
    assert np.unique(at, return_counts=True)[1].min() >= 5


def test_leaves_have_as_many_items_as_asked():
    rng = np.random.default_rng(1)
    X, y = rng.random((60, 2)), rng.integers(0, 2, 60)
    assert TreeFitter(3, min_leaf=31).fit(X, y, 2).size == 1
    with pytest.raises(InputError, match="depth -1"):
        TreeFitter(-1).fit(X, y, 2)
