"""TwoNN against its definition, an oracle, surfaces of known dimension; duplicates, ties, groups, and its interval."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.intrinsic_dimension import (
    INTRINSIC_DIMENSION,
    IntrinsicDimension,
    intrinsic_dimension,
    intrinsic_dimension_subsampled,
)


def by_definition(X, groups):
    """(N - 1) / Σ ln(r2 / r1) with the nearest row of another group and the nearest row of a third."""
    logs = []
    for i in range(len(X)):
        gap = np.linalg.norm(X - X[i], axis=1)
        gap[groups == groups[i]] = np.inf
        first = gap.argmin()
        near, gap = gap[first], np.where(groups == groups[first], np.inf, gap)
        logs.append(math.log(gap.min() / near))
    return (len(logs) - 1) / sum(logs)


def cube(n, d, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, d))


@pytest.mark.parametrize("n, d", [(400, 2), (400, 10), (60, 200)])
def test_matches_scikit_dimension(n, d):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimators = pytest.importorskip("skdim.id")
    X = np.random.default_rng(0).normal(size=(n, d)) + 3
    with np.errstate(divide="ignore"):  # of the line that the oracle fits in its other method
        oracle = estimators.TwoNN(method="mle", discard_fraction=0.0).fit(X)
    assert intrinsic_dimension(X) == pytest.approx(oracle.dimension_, rel=1e-9)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kept", [300, 200, 24])
def test_every_set_of_rows_and_groups_is_by_definition(size, kept):
    """24 kept rows of 300 leave many a row without one of the neighbours that are remembered."""
    rng = np.random.default_rng(1)
    X, groups = rng.normal(size=(300, 5)), np.arange(300) // size
    rows = np.sort(rng.choice(300, kept, replace=False))
    assert IntrinsicDimension(X, groups)(rows) == pytest.approx(by_definition(X[rows], groups[rows]), rel=1e-9)


def test_a_plane_has_two_dimensions_whatever_space_it_lies_in():
    plane = cube(2000, 2) @ np.random.default_rng(2).normal(size=(2, 50))
    assert intrinsic_dimension(plane) == pytest.approx(2, abs=3 * 2 * 1.3 / math.sqrt(2000))
    angle = 2 * np.pi * cube(2000, 2, seed=3)
    torus = np.column_stack([np.cos(angle), np.sin(angle)])
    assert intrinsic_dimension(torus) == pytest.approx(2, abs=3 * 2 * 1.3 / math.sqrt(2000))


@pytest.mark.parametrize("d, expected", [(10, 8.7), (30, 22)])
def test_high_dimensions_are_underestimated_as_published(d, expected):
    assert intrinsic_dimension(cube(2500, d)) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("n, d", [(200, 5), (40, 90)])
def test_rotation_translation_scale_and_order_leave_it_unchanged(n, d):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(n, d))
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    moved = 1e-7 * (X @ rotation)[rng.permutation(n)] + 1e-5
    assert intrinsic_dimension(moved) == pytest.approx(intrinsic_dimension(X), rel=1e-6)
    assert intrinsic_dimension(np.column_stack([X, np.full((n, 3), 9.0)])) == pytest.approx(intrinsic_dimension(X))


def test_tight_clusters_far_apart_are_resolved():
    """Distances a millionth of the rows' length are lost in single-precision products."""
    rng = np.random.default_rng(5)
    centres, fine = (
        3e3 * rng.normal(size=(6, 40)),
        rng.normal(size=(6, 60, 40)) @ np.diag(np.r_[np.ones(3), np.zeros(37)]),
    )
    X = (centres[:, None] + 1e-2 * fine).reshape(-1, 40)
    apart = np.concatenate([1e4 * c * np.eye(40)[0] + f for c, f in enumerate(fine)])
    assert intrinsic_dimension(X) == pytest.approx(by_definition(apart, np.arange(360)), rel=1e-4)


def test_duplicates_and_rows_that_differ_by_rounding_count_once():
    rng = np.random.default_rng(6)
    X = (rng.normal(size=(200, 20)) + 1).astype(np.float32)
    alone = intrinsic_dimension(X)
    twice = np.concatenate([X, X[:50], X[:10]])
    assert intrinsic_dimension(twice) == pytest.approx(alone, rel=1e-6)
    rounded = (X[:50] * (1 + 3e-7 * rng.normal(size=(50, 20)))).astype(np.float32)
    assert IntrinsicDimension(np.concatenate([X, rounded])).n_distinct == 200
    assert intrinsic_dimension(np.concatenate([X, rounded])) == pytest.approx(alone, rel=1e-4)
    assert intrinsic_dimension(np.concatenate([X, rounded]).astype(np.float64)) == pytest.approx(alone, rel=1e-4)


def test_a_duplicate_stands_in_for_a_row_left_out():
    X = cube(100, 3)
    twice = np.concatenate([X, X])
    assert IntrinsicDimension(twice)(np.arange(100, 200)) == pytest.approx(intrinsic_dimension(X), rel=1e-9)


def test_rows_of_one_group_are_not_neighbours():
    """Five near copies of each of 400 points of a plane: without groups the dimension of the copies' scatter."""
    rng = np.random.default_rng(7)
    X = np.repeat(cube(400, 2) @ rng.normal(size=(2, 20)), 5, axis=0) + 1e-4 * rng.normal(size=(2000, 20))
    groups = np.repeat(np.arange(400), 5)
    assert intrinsic_dimension(X, groups) == pytest.approx(2, rel=0.2)
    assert intrinsic_dimension(X) > 5


@pytest.mark.parametrize(
    "X",
    [
        np.stack(np.meshgrid(*[np.arange(6.0)] * 2), axis=-1).reshape(-1, 2),
        np.eye(40),
        np.ones((50, 4)),
        np.zeros((50, 4)),
        cube(9, 2),
        cube(1, 2),
        np.repeat(cube(9, 2), 10, axis=0),
    ],
    ids=["lattice", "one-hot", "constant", "zero", "nine rows", "one row", "nine points"],
)
def test_discrete_and_few_rows_are_undefined(X):
    statistic = IntrinsicDimension(X)
    assert math.isnan(statistic())
    assert "distinct rows" in statistic.reason and "equally far" in statistic.reason


def test_the_discrete_planted_code_is_undefined_and_its_noise_is_what_is_seen(planted):
    discrete = planted("factored", sigma=0.0, n=500).X
    assert math.isnan(intrinsic_dimension(discrete))
    assert intrinsic_dimension(planted("factored", n=1000).X) > 20


def test_groups_without_a_third_group_are_undefined():
    assert math.isnan(intrinsic_dimension(cube(50, 2), np.arange(50) % 2))
    assert math.isnan(intrinsic_dimension(cube(50, 2), np.zeros(50, dtype=int)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_errors_name_the_place(bad):
    X = cube(20, 3)
    X[4, 2] = bad
    with pytest.raises(InputError, match="row 4, dimension 2"):
        intrinsic_dimension(X)
    with pytest.raises(InputError, match=r"groups have shape \(5,\)"):
        intrinsic_dimension(cube(20, 3), np.arange(5))


def test_models_on_the_same_groups_are_paired():
    X = np.random.default_rng(8).normal(size=(300, 4))
    groups = np.arange(300) // 2
    a, b = (intrinsic_dimension_subsampled(x, groups).map(np.log) for x in (X, 5 * X[:, ::-1] + 1))
    difference = a.contrast(b, "difference")
    assert a.n == 150
    assert difference.standard_error() == pytest.approx(0, abs=1e-9)
    assert a.value == pytest.approx(math.log(intrinsic_dimension(X, groups)))
    assert INTRINSIC_DIMENSION.scale == "log-ratio"


def test_too_few_groups_have_a_value_without_an_interval():
    found = intrinsic_dimension_subsampled(cube(20, 2))
    assert np.isfinite(found.value) and np.isnan(found.interval()[0])


def _coverage(draw, n_sim):
    """Share of intervals that hold the estimator's own expectation, and the mean standard error over the true one."""
    found = [intrinsic_dimension_subsampled(draw(seed), seed=seed).map(np.log) for seed in range(n_sim)]
    values = np.array([f.value for f in found])
    low, high = np.array([f.interval() for f in found]).T
    size = np.sqrt(np.mean([f.standard_error() ** 2 for f in found]))
    return np.mean((low <= values.mean()) & (values.mean() <= high)), size / values.std()


def test_interval_covers():
    covered, ratio = _coverage(lambda seed: cube(200, 3, seed), 60)
    assert covered >= 0.88
    assert 0.75 < ratio < 1.45, "the jackknife over blocks is 1.65 times too wide"


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 5, 10])
def test_interval_covers_in_full(d):
    covered, ratio = _coverage(lambda seed: cube(300, d, seed), 1000)
    assert 0.93 <= covered <= 0.985
    assert 0.95 < ratio < 1.25
