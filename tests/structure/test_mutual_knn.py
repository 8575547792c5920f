"""Mutual nearest neighbours against a plain count, invariances, planted truth; its null and its interval."""

from __future__ import annotations

import importlib
import itertools
import math

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.mutual_knn import MUTUAL_KNN, mutual_knn, mutual_knn_matrix

module = importlib.import_module("mechdecouple.structure.mutual_knn")


def by_hand(X, Y, k, groups=None):
    """Sets of neighbours by sorting all cosines."""
    n = len(X)
    groups = np.arange(n) if groups is None else groups
    sets = []
    for x in (X, Y):
        x = x - x.mean(0)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosine = np.where(groups[:, None] == groups, -np.inf, x @ x.T)
        sets.append([set(row[:k]) for row in np.argsort(-cosine, axis=1)])
    share = np.mean([len(a & b) / k for a, b in zip(*sets, strict=True)])
    chance = np.mean([k / (n - (groups == g).sum()) for g in groups])
    return (share - chance) / (1 - chance)


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    A = [rng.normal(size=(60, d)) for d in (5, 80)]
    return A, [A[0] @ rng.normal(size=(5, 30)), A[1] + rng.normal(size=(60, 80)), rng.normal(size=(60, 3))]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("k", [1, 7])
def test_counts_what_sorting_counts(layers, k, grouped):
    A, B = layers
    groups = np.repeat(np.arange(20), 3) if grouped else None
    found = mutual_knn_matrix(A, B, groups, k=k, n_permutations=0).value
    for i, j in itertools.product(range(2), range(3)):
        assert found.value[i, j] == pytest.approx(by_hand(A[i], B[j], k, groups), abs=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_leaving_blocks_out_equals_starting_anew(layers, grouped):
    """Blocks of neighbours: all that is nearest leaves at once, so that spare neighbours must be looked for."""
    A, B = layers
    groups = np.repeat(np.arange(30), 2) if grouped else np.arange(60)
    blocks = jackknife_blocks(groups, 6)
    A = [x + 3 * np.eye(6)[blocks] @ np.random.default_rng(1).normal(size=(6, x.shape[1])) for x in A]
    found = mutual_knn_matrix(A, B, groups, k=4, n_blocks=6, n_permutations=0).value

    def plain(rows, x, y):
        # the mean of all rows is kept: a block less moves it little
        return by_hand_centred(A[x], B[y], rows, groups, 4)

    for i, j in itertools.product(range(2), range(3)):
        slow = jackknife(lambda rows, i=i, j=j: plain(rows, i, j), blocks)
        np.testing.assert_allclose(found.replicates[:, i, j], slow.replicates, atol=1e-12)


def by_hand_centred(X, Y, rows, groups, k):
    n, sets = len(rows), []
    for x in (X, Y):
        x = (x - x.mean(0))[rows]
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosine = np.where(groups[rows, None] == groups[rows], -np.inf, x @ x.T)
        sets.append([set(row[:k]) for row in np.argsort(-cosine, axis=1)])
    share = np.mean([len(a & b) / k for a, b in zip(*sets, strict=True)])
    chance = np.mean([k / (n - (groups[rows] == g).sum()) for g in groups[rows]])
    return (share - chance) / (1 - chance)


def test_invariances(layers):
    X, Y = layers[0][1], layers[1][1]
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(80, 80)))[0]
    value = mutual_knn(X, Y, 5)
    assert 0.05 < value < 0.95
    assert mutual_knn(Y, X, 5) == value
    assert mutual_knn(1e3 * X @ rotation - 40, 1e-4 * Y + 1, 5) == pytest.approx(value, abs=1e-12)
    assert mutual_knn(X, 2 * X @ rotation, 5) == 1.0


def test_unrelated_is_zero_in_expectation():
    rng = np.random.default_rng(3)
    values = [mutual_knn(rng.normal(size=(80, 6)), rng.normal(size=(80, 6)), 10) for _ in range(80)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / math.sqrt(80))
    uncorrected = np.mean(values) * (1 - 10 / 79) + 10 / 79
    assert uncorrected > 0.1, "without the correction unrelated representations would score k / (n - 1)"


def test_tiles_and_chunks_change_nothing(layers, monkeypatch):
    A, B = layers
    whole = mutual_knn_matrix(A, B, n_permutations=0, n_blocks=5).value
    monkeypatch.setattr(module, "_TILE_BYTES", 4000)
    monkeypatch.setattr(module, "_CHUNK_ROWS", 7)
    parts = mutual_knn_matrix(A, B, n_permutations=0, n_blocks=5).value
    np.testing.assert_array_equal(whole.replicates, parts.replicates)
    np.testing.assert_array_equal(whole.value, parts.value)


def test_planted_codes(planted):
    """Copies and rotations keep neighbours; other codes of the same logits do not."""
    factored, n = planted("factored", n=1500).X, 1500
    for name in ("rotated", "duplicated"):
        other = planted(name, n=1500, sigma=0.1)
        assert mutual_knn(other.X, other.X @ np.linalg.qr(np.random.default_rng(0).normal(size=(128, 128)))[0]) > 0.999
    fractured = planted("fractured", n=n).X
    assert mutual_knn(factored, fractured) < 0.2


def test_the_null_finds_a_relation_and_leaves_none_alone():
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(300, 8)), rng.normal(size=(300, 8))
    found = mutual_knn_matrix([X, rng.normal(size=(300, 5))], [Y, X + 0.7 * Y], n_permutations=200)
    assert found.p[0, 1] == found.p_adjusted[0, 1] == 1 / 201
    assert found.p_adjusted[1].min() > 0.05 and (found.p_adjusted >= found.p).all()
    assert "go by p" in found.estimate(1, 0).reason and found.estimate(0, 1).reason == ""
    assert found.metric is MUTUAL_KNN and found.n_null == 256 and found.estimate(0, 0).null == 0
    again = mutual_knn_matrix([X], [Y], n_permutations=20, n_blocks=0, seed=3)
    assert (again.p == mutual_knn_matrix([X], [Y], n_permutations=20, n_blocks=0, seed=3).p).all()


def false_positives(n, rows, n_sim):
    rng, hits = np.random.default_rng(5), 0
    groups = np.repeat(np.arange(n), rows)
    for s in range(n_sim):
        A, B = ([rng.normal(size=(n, 6))[groups] + 0.1 * rng.normal(size=(n * rows, 6))] for _ in range(2))
        hits += mutual_knn_matrix(A, B, groups, k=5, n_permutations=99, n_blocks=0, seed=s).p[0, 0] <= 0.05
    return hits


@pytest.mark.parametrize("rows", [1, 3])
def test_false_positives_stay_at_the_level(rows):
    assert false_positives(40, rows, 100) <= sps.binom.ppf(0.999, 100, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n, rows", [(40, 1), (40, 3), (300, 1)])
def test_false_positives_stay_at_the_level_in_full(n, rows):
    assert false_positives(n, rows, 1000) <= sps.binom.ppf(0.999, 1000, 0.05)


def coverage(n, strength, n_sim):
    """Share of intervals that hold the mean over repeated samples of the same number of items."""
    rng, found = np.random.default_rng(10), []
    for s in range(n_sim):
        X = rng.normal(size=(n, 10)) / np.sqrt(np.arange(1, 11))
        Y = strength * X + math.sqrt(0.3) * rng.normal(size=(n, 10))
        one = mutual_knn_matrix([X], [Y], n_permutations=0, seed=s).value[0, 0]
        found.append((one.value, *one.interval()))
    values, low, high = np.array(found).T
    return np.mean((low <= values.mean()) & (values.mean() <= high))


def test_interval_covers_what_other_items_would_give():
    assert coverage(100, 1.0, 120) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_interval_covers_in_full(strength):
    """It does not fall short; it is known to be wide."""
    assert coverage(200, strength, 1000) >= 0.93


def test_undefined_has_a_reason():
    X = np.random.default_rng(6).normal(size=(12, 4))
    both = mutual_knn_matrix([X, np.ones((12, 2))], [X], k=3, n_permutations=9, n_blocks=4)
    assert both.value.value[0, 0] == 1 and np.isnan(both.value.value[1, 0]) and np.isnan(both.p[1, 0])
    assert "constant" in both.estimate(1, 0).reason
    assert math.isnan(mutual_knn(X, X, 11)) and mutual_knn(X, X, 10) == 1
    assert math.isnan(mutual_knn(X, X, 8, np.repeat(np.arange(3), 4)))


def test_errors():
    X = np.ones((10, 3))
    with pytest.raises(InputError, match="k is 0"):
        mutual_knn(X, X, 0)
    with pytest.raises(MismatchError, match="same items"):
        mutual_knn(X, X[:9])
    with pytest.raises(InputError, match="0 for no intervals"):
        mutual_knn_matrix([X], [X], n_blocks=1)
