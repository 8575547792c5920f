"""Probes of many sets of rows: scikit-learn and the single fitters as oracles."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mechdecouple.errors import InputError
from mechdecouple.probes.mass_mean import mass_mean
from mechdecouple.probes.sets import LogisticSets, mass_mean_sets


def made(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, d)) * np.geomspace(0.01, 100, d) + 3
    X[:, 0] += 0.01 * y
    return X, y, rng.integers(0, 4, n)[:, None] != np.arange(4)


@pytest.mark.parametrize("d", [5, 150])
def test_each_set_and_penalty_equals_a_fit_of_its_own(d):
    X, y, rows = made(120, d)
    penalties = (1.0, 0.03)
    found = LogisticSets(X, y).fit(rows, penalties, 1e-4)(X)
    for h in range(4):
        scaler, label = StandardScaler().fit(X[rows[:, h]]), y[rows[:, h]]
        for p, penalty in enumerate(penalties):
            C = 1 / (rows[:, h].sum() * penalty)
            oracle = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(scaler.transform(X[rows[:, h]]), label)
            expected = oracle.decision_function(scaler.transform(X))
            np.testing.assert_allclose(found[:, h, p], expected, atol=2e-3 * np.abs(expected).max())


def test_penalties_of_each_sets_own():
    X, y, rows = made(80, 4)
    sets = LogisticSets(X, y)
    every = sets.fit(rows, [1.0, 0.1], 1e-4).weights
    own = sets.fit(rows, np.array([[1.0], [0.1], [1.0], [0.1]]), 1e-4).weights
    for h, p in enumerate((0, 1, 0, 1)):
        np.testing.assert_allclose(own[:, h, 0], every[:, h, p], rtol=1e-2, atol=1e-3 * np.abs(every[:, h, p]).max())


def test_many_sets_are_fitted_in_batches(monkeypatch):
    X, y, rows = made(80, 4)
    whole = LogisticSets(X, y).fit(rows, [0.1], 1e-4).weights
    monkeypatch.setattr("mechdecouple.probes.sets._ENTRIES", 100)
    np.testing.assert_allclose(LogisticSets(X, y).fit(rows, [0.1], 1e-4).weights, whole, rtol=1e-3, atol=1e-5)


def test_rows_outside_a_set_have_no_say():
    X, y, rows = made(80, 4)
    other = np.where(rows[:, :1], X, X + 7)
    a, b = (LogisticSets(values, y).fit(rows[:, :1], [0.1], 1e-5)(X[:5]) for values in (X, other))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_a_constant_column_carries_nothing():
    X, y, rows = made(80, 4)
    X[:, 2] = 1e6
    assert (LogisticSets(X, y).fit(rows, [0.1]).weights[2] == 0).all()


def test_mass_mean_equals_the_single_read_out():
    X, y, rows = made(60, 7)
    found = mass_mean_sets(X, y, rows)
    for h in range(4):
        weights, bias = mass_mean(X[rows[:, h]], y[rows[:, h]])
        np.testing.assert_allclose(found.weights[:, h, 0], weights, atol=1e-12)
        assert found.bias[h, 0] == pytest.approx(bias)


@pytest.mark.parametrize("fit", [mass_mean_sets, lambda X, y, rows: LogisticSets(X, y).fit(rows, [1.0])])
def test_a_set_of_one_class_is_refused(fit):
    X, y, rows = made(40, 3)
    rows[:, 2] = y == 1
    with pytest.raises(InputError, match="set 2 has no row of class 0"):
        fit(X, y, rows)
    with pytest.raises(InputError, match="expected \\(40, sets\\)"):
        fit(X, y, rows[:39])


def test_bad_penalties_and_widths_are_refused():
    X, y, rows = made(40, 3)
    sets = LogisticSets(X, y)
    for penalties in ([], [0.0], [np.nan]):
        with pytest.raises(InputError, match="numbers above zero"):
            sets.fit(rows, penalties)
    with pytest.raises(InputError, match="2 dimensions, the probes were fitted on 3"):
        sets.fit(rows, [1.0])(X[:, :2])
