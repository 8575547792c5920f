"""Participation ratio against its closed form, its definition and an oracle; effective rank against the spectrum."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import (
    PARTICIPATION_RATIO,
    effective_rank,
    effective_rank_jackknife,
    participation_ratio,
    participation_ratio_jackknife,
)

SHAPES = [(40, 7), (12, 60), (30, 30)]


def naive(X: np.ndarray) -> float:
    values = np.linalg.eigvalsh(np.cov(X.T))
    return values.sum() ** 2 / (values**2).sum()


def by_definition(X: np.ndarray) -> float:
    """Averages over tuples of distinct rows: 1/4 |i - j|^2 |k - l|^2, and with ((i - j) . (k - l))^2 for tr S^2."""
    n = len(X)
    above = below = count = 0.0
    for i in range(n):
        for j in set(range(n)) - {i}:
            for k in set(range(n)) - {i, j}:
                for l in set(range(n)) - {i, j, k}:
                    u, v = X[i] - X[j], X[k] - X[l]
                    above, below, count = above + (u @ u) * (v @ v) / 4, below + (u @ v) ** 2 / 4, count + 1
    return above / below


def test_is_the_ratio_of_the_u_statistics():
    X = np.random.default_rng(0).normal(size=(8, 5)) + 3
    assert participation_ratio(X) == pytest.approx(by_definition(X), rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_the_row_estimator_of_dimensionality(shape):
    dimensionality = pytest.importorskip("dimensionality")
    X = np.random.default_rng(1).normal(size=shape) @ np.diag(np.linspace(0.2, 2, shape[1])) + 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = dimensionality.participation_ratio(X, return_all=True)["row"]
    assert participation_ratio(X) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n, d", [(60, 40), (40, 60), (400, 40)])
def test_is_nearly_unbiased_where_the_plain_ratio_is_not(n, d):
    rng = np.random.default_rng(2)
    draws = [rng.normal(size=(n, d)) for _ in range(200)]
    assert np.mean([naive(X) for X in draws]) == pytest.approx(n * d / (n + d + 1), rel=0.03)
    ratios = np.array([participation_ratio(X) for X in draws])
    assert ratios.mean() == pytest.approx(d, abs=5 * ratios.std() / math.sqrt(200) + 0.04 * d)


def test_planted_spectrum_with_noise():
    """Six factors of unit variance in 128 dimensions of noise .1: (sum lambda)^2 / sum lambda^2 = 8.6."""
    rng = np.random.default_rng(3)
    signal, noise = rng.choice([-1.0, 1.0], size=(8192, 6)), rng.normal(size=(8192, 128)) * 0.1
    X = noise
    X[:, :6] = signal
    spectrum = np.r_[np.ones(6), np.full(122, 0.01)]
    expected = spectrum.sum() ** 2 / (spectrum**2).sum()
    assert expected == pytest.approx(8.7, abs=0.05)
    assert participation_ratio(X) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("metric", [participation_ratio, effective_rank])
def test_rotation_translation_and_scale_leave_it_unchanged(metric, shape):
    rng = np.random.default_rng(4)
    X = rng.normal(size=shape) * np.linspace(0.1, 3, shape[1])
    rotation, _ = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))
    assert metric(1e-6 * (X @ rotation) + 1e-4) == pytest.approx(metric(X), rel=1e-6)
    assert metric(X[rng.permutation(len(X))]) == pytest.approx(metric(X), rel=1e-9)


@pytest.mark.parametrize("metric", [participation_ratio, effective_rank])
def test_inert_columns_do_not_count(metric):
    X = np.random.default_rng(5).normal(size=(50, 6))
    padded = np.column_stack([X, np.full((50, 4), 7.0), np.zeros((50, 60))])
    assert metric(padded) == pytest.approx(metric(X), rel=1e-9)


@pytest.mark.parametrize("metric", [participation_ratio, effective_rank])
def test_one_direction_is_one(metric):
    rng = np.random.default_rng(6)
    assert metric(np.outer(rng.normal(size=300), rng.normal(size=20))) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("metric", [participation_ratio, effective_rank])
def test_constant_activations_are_undefined_not_noise(metric):
    constant = np.tile(np.random.default_rng(7).normal(size=9), (30, 1))
    assert math.isnan(metric(constant))
    rounded = (constant * (1 + 1e-7 * np.random.default_rng(8).normal(size=constant.shape))).astype(np.float32)
    assert math.isnan(metric(rounded)), "float32 rounding around a constant is not a representation"


def test_too_few_rows_are_undefined():
    assert math.isnan(participation_ratio(np.eye(3)))
    assert math.isnan(effective_rank(np.ones((1, 4))))


def test_effective_rank_is_the_entropy_of_the_singular_values():
    rng = np.random.default_rng(9)
    for shape in SHAPES:
        X = rng.normal(size=shape) * np.geomspace(1, 1e-2, shape[1])
        singular = np.linalg.svd(X - X.mean(0), compute_uv=False)
        share = singular[singular > 1e-10] / singular.sum()
        assert effective_rank(X) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)
    corners = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert effective_rank(corners) == pytest.approx(2.0)


def assert_drawn_in(found, expected):
    """Replicates equal the expected ones, but for one factor of .7 to 1 on their distance from the mean."""
    found, expected = (np.asarray(x) - np.mean(x) for x in (found, expected))
    factor = (found @ expected) / (expected @ expected)
    assert 0.5**0.5 - 1e-9 <= factor <= 1 + 1e-9
    np.testing.assert_allclose(found, factor * expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [*SHAPES, (300, 20)])
@pytest.mark.parametrize(
    "metric, fast", [(participation_ratio, participation_ratio_jackknife), (effective_rank, effective_rank_jackknife)]
)
def test_replicates_are_those_of_recomputing(metric, fast, shape):
    X = np.random.default_rng(10).normal(size=shape) * np.linspace(0.1, 3, shape[1]) + 2
    blocks = jackknife_blocks(np.arange(len(X)) // 2, 5)
    slow, quick = jackknife(lambda rows: metric(X[rows]), blocks), fast(X, blocks, n_groups=len(X) // 2)
    assert quick.value == pytest.approx(slow.value, rel=1e-10)
    assert quick.replicates.mean() == pytest.approx(slow.replicates.mean(), rel=1e-8)
    assert_drawn_in(quick.replicates, slow.replicates)
    assert quick.n == len(X) // 2


def test_single_precision_is_close_to_double():
    X = np.random.default_rng(11).normal(size=(200, 80)) * np.geomspace(1, 1e-3, 80) + 50
    single = X.astype(np.float32)
    assert participation_ratio(single) == pytest.approx(participation_ratio(single.astype(float)), rel=1e-4)


@pytest.mark.parametrize("metric", [participation_ratio, effective_rank])
def test_errors_name_the_place(metric):
    X = np.ones((10, 3))
    X[4, 2] = np.inf
    with pytest.raises(InputError, match="X is inf at row 4, column 2"):
        metric(X)


def _coverage(n: int, n_sim: int) -> float:
    rng = np.random.default_rng(12)
    spectrum = 1 / np.arange(1, 31)
    true = math.log(spectrum.sum() ** 2 / (spectrum**2).sum())
    blocks, hits = jackknife_blocks(np.arange(n)), 0
    for _ in range(n_sim):
        low, high = (
            participation_ratio_jackknife(rng.normal(size=(n, 30)) * np.sqrt(spectrum), blocks).map(np.log).interval()
        )
        hits += low <= true <= high
    return hits / n_sim


def test_log_ratio_interval_covers():
    assert PARTICIPATION_RATIO.scale == "log-ratio" and PARTICIPATION_RATIO.margin == 0.20
    assert 0.90 <= _coverage(200, 250) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 200, 500])
def test_log_ratio_interval_covers_in_full(n):
    assert 0.93 <= _coverage(n, 2000) <= 0.97
