"""Angular Procrustes distance: metric axioms, an oracle, its level for unrelated data, its test and interval."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.errors import MismatchError
from mechdecouple.structure.procrustes import PROCRUSTES, procrustes, procrustes_matrix


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    A = [rng.normal(size=(60, d)) for d in (5, 80)]
    return A, [A[0] @ rng.normal(size=(5, 30)), A[1] + rng.normal(size=(60, 80)), rng.normal(size=(60, 3))]


@pytest.mark.parametrize("d", [4, 70])
def test_metric_axioms_and_invariances(d):
    rng = np.random.default_rng(1)
    X, Y, Z = (rng.normal(size=(40, d)) for _ in range(3))
    Y += X
    Z += Y
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    xy, yz, xz = procrustes(X, Y), procrustes(Y, Z), procrustes(X, Z)
    assert procrustes(X, X) == pytest.approx(0, abs=1e-6)
    assert procrustes(X, -1e3 * X @ rotation + 50) == pytest.approx(0, abs=1e-6)
    assert procrustes(Y, X) == pytest.approx(xy, abs=1e-12)
    assert procrustes(7 * X @ rotation - 2, 1e-3 * Y) == pytest.approx(xy, abs=1e-9)
    assert procrustes(np.pad(X, ((0, 0), (0, 9))), Y) == pytest.approx(xy, abs=1e-9)
    assert 0 < max(xy, yz) < xz <= xy + yz


def test_triangle_inequality_in_many_draws():
    rng = np.random.default_rng(2)
    for _ in range(40):
        X, Y, Z = (rng.normal(size=(12, d)) for d in rng.integers(1, 6, 3))
        assert procrustes(X, Z) <= procrustes(X, Y) + procrustes(Y, Z) + 1e-9


def test_cosine_is_the_bures_similarity_of_the_kernels():
    rsatoolbox = pytest.importorskip("rsatoolbox")
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(15, 5)), rng.normal(size=(15, 8))
    Y[:, :5] += X
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(x), method="euclidean") for x in (X, Y)]
    oracle = rsatoolbox.rdm.compare(*rdms, method="bures").item()
    assert math.cos(procrustes(X, Y)) == pytest.approx(oracle, abs=1e-6)


def test_best_rotation_by_search():
    """In the plane all rotations and reflections can be tried."""
    rng = np.random.default_rng(4)
    X, Y = (x - x.mean(0) for x in rng.normal(size=(2, 30, 2)))
    angles = np.linspace(0, 2 * np.pi, 20001)
    C = X.T @ Y
    turned = np.cos(angles) * (C[0, 0] + C[1, 1]) + np.sin(angles) * (C[0, 1] - C[1, 0])
    flipped = np.cos(angles) * (C[0, 0] - C[1, 1]) + np.sin(angles) * (C[0, 1] + C[1, 0])
    best = max(turned.max(), flipped.max()) / np.linalg.norm(X) / np.linalg.norm(Y)
    assert procrustes(X, Y) == pytest.approx(math.acos(best), abs=1e-6)


def test_level_of_independent_gaussians():
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(2, 500, 192))
    found = procrustes_matrix([X], [Y], n_blocks=0, n_permutations=19)
    assert math.cos(found.value.value[0, 0]) == pytest.approx(0.50, abs=0.02), "same n / d as n = 2000, d = 768"
    assert found.null[0, 0] == pytest.approx(found.value.value[0, 0], abs=0.01)
    assert found.estimate(0, 0).null == found.null[0, 0]


@pytest.mark.slow
def test_level_of_independent_gaussians_in_full():
    X, Y = np.random.default_rng(5).normal(size=(2, 2000, 768))
    assert math.cos(procrustes(X, Y)) == pytest.approx(0.50, abs=0.01)


def test_all_pairs_and_left_out_blocks(layers):
    A, B = layers
    found = procrustes_matrix(A, B, n_blocks=60, n_permutations=0).value
    for i, j in itertools.product(range(2), range(3)):
        assert found.value[i, j] == pytest.approx(procrustes(A[i], B[j]), abs=1e-6)
    # With the rotation held, a replicate is the plain cosine of what is left.
    x, y = (v - v.mean(0) for v in (A[0], B[2]))
    u, _, v = np.linalg.svd(x.T @ y, full_matrices=False)
    kept = np.arange(60) != 0
    left = [z[kept] - z[kept].mean(0) for z in (x @ (u @ v), x, y)]
    cosine = (left[0] * left[2]).sum() / np.linalg.norm(left[1]) / np.linalg.norm(left[2])
    assert np.abs(found.replicates[:, 0, 2] - math.acos(cosine)).min() < 1e-9


def test_the_null_finds_a_relation_and_leaves_none_alone(layers):
    rng = np.random.default_rng(16)
    found = procrustes_matrix(*layers, n_permutations=99)
    assert found.p_adjusted[0, 0] == found.p_adjusted[1, 1] == 0.01 and found.p[0, 2] > 0.01
    assert (found.value.value[[0, 1], [0, 1]] < found.null[[0, 1], [0, 1]]).all()
    assert found.metric is PROCRUSTES and "distance" in PROCRUSTES.title
    X, Y = rng.normal(size=(2, 200, 10))
    none = procrustes_matrix([X], [Y], n_permutations=99)
    assert none.p[0, 0] > 0.05 and "go by p" in none.estimate(0, 0).reason


def false_positives(n, rows, n_sim):
    rng, hits = np.random.default_rng(7), 0
    groups = np.repeat(np.arange(n), rows)
    for s in range(n_sim):
        A, B = ([rng.normal(size=(n, 4))[groups] + 0.1 * rng.normal(size=(n * rows, 4))] for _ in range(2))
        hits += procrustes_matrix(A, B, groups, n_permutations=39, n_blocks=0, seed=s).p[0, 0] <= 0.05
    return hits


@pytest.mark.parametrize("rows", [1, 3])
def test_false_positives_stay_at_the_level(rows):
    assert false_positives(30, rows, 60) <= sps.binom.ppf(0.999, 60, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n, rows", [(30, 1), (40, 3), (300, 1)])
def test_false_positives_stay_at_the_level_in_full(n, rows):
    assert false_positives(n, rows, 1000) <= sps.binom.ppf(0.999, 1000, 0.05)


def test_groups_change_places_whole():
    """Rows of a group are alike: the level of unrelated groups is nearer than that of unrelated rows."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(20), 10)
    X, Y = (rng.normal(size=(20, 15))[groups] + 0.05 * rng.normal(size=(200, 15)) for _ in range(2))
    grouped, naive = (procrustes_matrix([X], [Y], g, n_permutations=19) for g in (groups, None))
    assert grouped.null[0, 0] == pytest.approx(grouped.value.value[0, 0], abs=0.1)
    assert naive.null[0, 0] > grouped.null[0, 0] + 0.2


def coverage(n, strength, n_sim):
    """Share of intervals that hold the mean over repeated samples of the same number of items."""
    rng, found = np.random.default_rng(10), []
    for s in range(n_sim):
        X = rng.normal(size=(n, 10)) / np.sqrt(np.arange(1, 11))
        Y = strength * X + math.sqrt(0.3) * rng.normal(size=(n, 10))
        one = procrustes_matrix([X], [Y], n_permutations=0, seed=s).value[0, 0]
        found.append((one.value, *one.interval()))
    values, low, high = np.array(found).T
    return np.mean((low <= values.mean()) & (values.mean() <= high))


def test_interval_covers_what_other_items_would_give():
    assert 0.88 <= coverage(100, 1.0, 120) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_interval_covers_in_full(strength):
    assert 0.93 <= coverage(200, strength, 1000) <= 0.97


def test_undefined_and_errors():
    X = np.random.default_rng(9).normal(size=(12, 4))
    both = procrustes_matrix([X, np.ones((12, 2))], [X], n_permutations=9)
    assert np.isnan(both.value.value[1, 0]) and np.isnan(both.p[1, 0]) and "constant" in both.estimate(1, 0).reason
    assert both.p[0, 0] == 0.1
    with pytest.raises(MismatchError, match="same items"):
        procrustes(X, X[:9])
