import tracemalloc

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.superposition import superposition


def polygon(m):
    angle = 2 * np.pi * np.arange(m) / m
    return np.column_stack([np.cos(angle), np.sin(angle)])


def simplex(m):
    """m unit vectors of equal angles in m - 1 dimensions (embedded in m)."""
    corners = np.eye(m) - 1 / m
    return corners / np.linalg.norm(corners, axis=1, keepdims=True)


def by_definition(W):
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    products = (unit @ W.T) ** 2
    return (W**2).sum(axis=1) / products.sum(axis=1), products.sum(axis=1) - np.diag(products)


@pytest.mark.parametrize(
    ("W", "expected"),
    [
        (np.eye(4, 6), 1),  # directions of their own
        (np.concatenate([np.eye(3), -np.eye(3)]), 1 / 2),  # antipodal pairs
        (polygon(3), 2 / 3),
        (polygon(5), 2 / 5),
        (simplex(4), 3 / 4),  # tetrahedron
        (simplex(8), 7 / 8),
        (np.repeat(np.eye(2), 4, axis=0), 1 / 4),  # four copies
    ],
)
def test_geometries_of_the_toy_models(W, expected):
    found = superposition(3.0 * W)
    np.testing.assert_allclose(found.dimensionality, expected, atol=1e-12)
    np.testing.assert_allclose(found.interference, 9 * (1 / expected - 1), atol=1e-10)
    # Each of these uses all the dimensions that it spans.
    assert found.dimensions_used == pytest.approx(np.linalg.matrix_rank(W))


def test_is_the_definition_and_blocks_do_not_show():
    W = np.random.default_rng(0).normal(size=(9000, 12)) * np.geomspace(0.1, 10, 9000)[:, None]
    found = superposition(W)
    rows = np.r_[:50, 4090:4100, 8990:9000]
    unit = W[rows] / np.linalg.norm(W[rows], axis=1, keepdims=True)
    total = ((unit @ W.T) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.dimensionality[rows], (W[rows] ** 2).sum(axis=1) / total, rtol=1e-9)
    np.testing.assert_allclose(superposition(W[:100]).interference, by_definition(W[:100])[1], rtol=1e-9)


@pytest.mark.parametrize(("m", "d"), [(200, 300), (1000, 40)])
def test_random_directions_are_at_their_level(m, d):
    W = np.random.default_rng(0).normal(size=(m, d))
    found = superposition(W / np.linalg.norm(W, axis=1, keepdims=True))
    assert found.mean_dimensionality == pytest.approx(d / (m + d - 1), rel=0.02)
    assert found.random_dimensionality == d / (m + d - 1)
    assert found.mean_interference == pytest.approx((m - 1) / d, rel=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_the_dimensions_used_are_at_most_the_rank(seed):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 20)) * rng.exponential(size=(60, 1))
    assert superposition(W).dimensions_used <= 5 + 1e-9


def test_follows_the_dose():
    """A second feature turned towards the first: D = 1 / (1 + cos²)."""
    for c in np.linspace(0, 1, 6):
        found = superposition(np.array([[1.0, 0.0], [c, np.sqrt(1 - c**2)]]))
        np.testing.assert_allclose(found.dimensionality, 1 / (1 + c**2), atol=1e-12)


def test_invariances():
    rng = np.random.default_rng(0)
    W, rotation = rng.normal(size=(30, 8)), np.linalg.qr(rng.normal(size=(8, 8)))[0]
    found, turned = superposition(W), superposition(-2 * W @ rotation)
    np.testing.assert_allclose(turned.dimensionality, found.dimensionality, rtol=1e-9)
    np.testing.assert_allclose(turned.interference, 4 * found.interference, rtol=1e-9)


def test_dead_features_are_named_and_do_not_count():
    W = np.random.default_rng(0).normal(size=(10, 4))
    found, live = superposition(np.insert(W, 3, 0.0, axis=0)), superposition(W)
    assert np.flatnonzero(np.isnan(found.dimensionality)).tolist() == [3]
    assert found.n_dead == 1 and "zero" in found.reason
    assert found.mean_dimensionality == pytest.approx(live.mean_dimensionality)
    assert found.mean_interference == pytest.approx(live.mean_interference)
    assert found.random_dimensionality == live.random_dimensionality
    assert found.frame().shape == (11, 3)
    none = superposition(np.zeros((3, 2)))
    assert np.isnan(none.mean_dimensionality) and none.dimensions_used == 0


def test_single_precision_and_memory():
    W = np.random.default_rng(0).normal(size=(40_000, 64)).astype(np.float32)
    tracemalloc.start()
    found = superposition(W)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < W.nbytes * 1.5, "no m x m product and no double-precision copy"
    np.testing.assert_allclose(found.dimensionality[:4096], superposition(W.astype(float)).dimensionality[:4096])


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.array([[1.0, 2.0], [np.nan, 0.0]]), "feature 1, dimension 0"),
        (np.zeros((0, 3)), "shape"),
    ],
)
def test_unusable_input_is_refused(W, message):
    with pytest.raises(InputError, match=message):
        superposition(W)
