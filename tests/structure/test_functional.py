"""The functional subspace on planted read-outs: oblique ones keep every direction, what nothing reads is gone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure import cka, participation_ratio
from mechdecouple.structure.functional import functional_basis, project

K = 6
COSINES = (0.0, 0.3, 0.5, 0.7, 0.9)


def functional(p, gradients=None):
    return project(p.X, functional_basis(p.readout.T if gradients is None else gradients, X=p.X))


def same_span(basis, directions):
    """Whether the columns of both span one space."""
    other = np.linalg.qr(directions)[0]
    return basis.shape == other.shape and np.allclose(basis @ basis.T, other @ other.T, atol=1e-6)


@pytest.mark.parametrize("c", COSINES)
def test_oblique_readouts_keep_their_directions(planted, c):
    """CKA of oblique to factored in closed form, √(k / (k + k (k - 1) c²)), on every combination of factors once."""
    oblique, factored = planted("oblique", cos=c, balanced=True), planted("factored", balanced=True)
    expected = math.sqrt(K / (K + K * (K - 1) * c**2))
    assert functional_basis(oblique.readout.T, X=oblique.X).shape[1] == K
    assert cka(functional(oblique), functional(factored), debiased=False) == pytest.approx(expected, abs=1e-9)
    sampled = planted("oblique", cos=c)
    assert cka(functional(sampled), functional(planted("factored"))) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("c", COSINES)
def test_oblique_readouts_asked_one_an_item_keep_them_too(planted, c):
    """A gradient an item, of the factor that it asks about, in single precision, through half a rotated space."""
    p = planted("oblique", cos=c, n=2048)
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(128, 128)))[0]
    asked = (p.readout.T[rng.integers(0, K, 256)] @ rotation).astype(np.float32)
    basis = functional_basis(asked[:, None], X=p.X @ rotation)
    assert same_span(basis, rotation.T @ p.readout)


def test_gradients_alone_lose_the_common_direction(planted):
    """Why activations are asked for."""
    p = planted("oblique", cos=0.9)
    assert functional_basis(p.readout.T).shape[1] == K - 1
    assert functional_basis(p.readout.T, share=1.0).shape[1] == K


def test_inert_variance_is_gone(planted):
    inert, factored = planted("factored + inert"), planted("factored")
    assert participation_ratio(functional(inert)) == pytest.approx(participation_ratio(functional(factored)), rel=1e-9)
    assert participation_ratio(functional(factored)) == pytest.approx(K, rel=0.01)
    assert participation_ratio(inert.X) > 40
    assert cka(functional(inert), functional(factored)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["factored", "rotated", "duplicated", "fractured", "fractured + rotated", "one-hot", "factored + inert"]
)
def test_one_function_has_one_functional_geometry(planted, name):
    assert cka(functional(planted(name)), functional(planted("factored"))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("c", COSINES)
def test_what_a_network_bends_a_little_does_not_count(planted, c):
    """Gradients of W'x + small tanh(A x): every item's are its own, in all 128 dimensions."""
    p = planted("oblique", cos=c, n=1024)
    rng = np.random.default_rng(1)
    bend, mix = rng.normal(size=(128, 128)) / math.sqrt(128), rng.normal(size=(128, K)) / math.sqrt(128)
    slope = 1 - np.tanh(p.X[:256] @ bend) ** 2
    gradients = p.readout.T + 0.05 * np.einsum("dh,ih,hk->ikd", bend, slope, mix)
    assert np.linalg.matrix_rank(gradients.reshape(-1, 128)) == 128
    basis = functional_basis(gradients, X=p.X)
    assert basis.shape[1] == K
    exact = np.linalg.qr(p.readout)[0]
    assert np.linalg.svd(exact.T @ basis, compute_uv=False).min() > 0.95


def test_directions_of_rounding_size_are_dropped_at_share_one():
    rng = np.random.default_rng(2)
    gradients = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20))
    rounded = (gradients + 0.0).astype(np.float32)
    X = rng.normal(size=(100, 20))
    for g in (gradients, rounded, rounded.astype(np.float64)):
        assert functional_basis(g, share=1.0).shape[1] == 3
        assert functional_basis(g, share=1.0, X=1e4 * X).shape[1] == 3


@pytest.mark.parametrize("n, m, d", [(30, 200, 12), (30, 5, 60), (200, 100, 40)])
def test_basis_is_orthonormal_and_rotates_with_the_activations(n, m, d):
    rng = np.random.default_rng(3)
    X, gradients = (
        rng.normal(size=(n, d)) * np.geomspace(1, 0.01, d),
        rng.normal(size=(m, 2, d)) * np.geomspace(1, 0.1, d),
    )
    basis = functional_basis(gradients, X=X)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    assert same_span(functional_basis(3 * gradients @ rotation, X=X @ rotation + 7), rotation.T @ basis)


def test_share_counts_what_passes_through():
    """Three read-outs that move the answers by 90, 9 and 1 %."""
    X = np.random.default_rng(4).normal(size=(4000, 5)) * [1, 3, 10, 1, 1]
    gradients = np.diag([1, 1 / 3, 0.1, 0, 0]) * np.sqrt([90, 9, 1, 0, 0])
    assert [functional_basis(gradients, share, X).shape[1] for share in (0.8, 0.95, 0.999)] == [1, 2, 3]


@pytest.mark.parametrize(
    "gradients, X",
    [(np.zeros((4, 3)), np.eye(3)), (np.eye(3)[:1], np.full((50, 3), 0.1) * [1, 2, 3])],
    ids=["none", "constant"],
)
def test_nothing_that_moves_the_answers_is_no_direction(gradients, X):
    basis = functional_basis(gradients, X=X)
    assert basis.shape == (3, 0)
    with pytest.raises(InputError, match="no answer depends"):
        project(X, basis)


def test_errors_name_the_value():
    with pytest.raises(InputError, match=r"share 1\.5"):
        functional_basis(np.eye(3), share=1.5)
    with pytest.raises(InputError, match="gradients have 2 dimensions, activations 3"):
        functional_basis(np.ones((4, 2)), X=np.eye(3))
    with pytest.raises(InputError, match="basis has 2 dimensions, activations 3"):
        project(np.eye(3), np.eye(2))
    bad = np.eye(3)
    bad[1, 2] = np.inf
    with pytest.raises(InputError, match="row 1, dimension 2"):
        functional_basis(bad)
