import numpy as np
import pytest
from scipy.stats import norm

from mechdecouple.probes import LeaceFitter
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import ErasureResidual, erasure_residual
from mechdecouple.structure._readout import solve

EXPECTED = {
    "factored": 0.5,
    "rotated": 0.5,
    "oblique": 0.5,
    "duplicated": 0.5,
    "fractured": 1.0,
    "fractured + rotated": 1.0,
    "one-hot": 0.55,
    "factored + inert": 0.5,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_truth(planted, name):
    p = planted(name)
    auroc, energy = erasure_residual(p.X, p.y, p.context)
    assert auroc.mean() == pytest.approx(EXPECTED[name], abs=0.035 if name == "one-hot" else 0.01)
    assert energy.mean() == pytest.approx(7 / 8 if "fractured" in name else 0, abs=0.01)


@pytest.mark.parametrize("C", [2, 4, 8])
def test_closed_forms_of_unrelated_codes(C):
    """(C-1)/C of the energy is left; at that share of the distance the noise allows an AUROC of Φ(2√2 √share)."""
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 16_000), rng.integers(0, C, 16_000)
    X = 0.01 * rng.normal(size=(16_000, 10))
    X[np.arange(16_000), context] += y
    auroc, energy = erasure_residual(X, y, context)
    assert energy == pytest.approx((C - 1) / C, abs=0.02)
    assert auroc == pytest.approx(norm.cdf(2 * np.sqrt(2 * (C - 1) / C)), abs=0.01)


def test_a_tiny_remainder_counts_as_erased():
    """One code everywhere but for 2 % of its length, without any noise of its own: separable, yet not fractured."""
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 4000), rng.integers(0, 4, 4000)
    X = np.zeros((4000, 10))
    X[:, 9] = y
    X[np.arange(4000), context] += 0.02 * y
    auroc, energy = erasure_residual(X, y, context)
    assert auroc < 0.53
    assert energy == pytest.approx(0.0, abs=0.01)


def test_energy_follows_graded_fracture():
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 8000), rng.integers(0, 4, 8000)
    auroc, energy = [], []
    for alpha in np.linspace(0, 1, 6):
        X = 0.1 * rng.normal(size=(8000, 8))
        X[:, 7] += np.sqrt(1 - alpha) * y
        X[np.arange(8000), context] += np.sqrt(alpha) * y
        for values, value in zip((auroc, energy), erasure_residual(X, y, context), strict=True):
            values.append(value)
    assert (np.diff(auroc) > 0).all()
    assert (np.diff(energy) > 0).all()


@pytest.mark.parametrize("d", [12, 300])
def test_the_eraser_is_leace(d):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    X = rng.normal(size=(500, d)) @ rng.normal(size=(d, d)) + np.outer(y, rng.normal(size=d))
    X = X - X.mean(axis=0)
    a = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
    b = solve(X.T @ X / 500, a[:, None])[:, 0]
    expected = LeaceFitter(shrinkage=False).fit(X, y)(X)
    np.testing.assert_allclose(X - np.outer(X @ b, a) / (a @ b), expected, atol=1e-6)


def test_few_rows_in_many_dimensions_equal_the_same_rows_in_their_span():
    """Rows of 20 dimensions embedded in 400: shorter contexts take the other route through the algebra."""
    rng = np.random.default_rng(0)
    n, C = 240, 4
    y, context = rng.integers(0, 2, n), rng.integers(0, C, n)
    X = rng.normal(size=(n, 110)) * 0.3
    X[np.arange(n), context] += 2 * y
    direct = ErasureResidual(X, y, context)
    assert all(basis is not None for basis in direct._bases)
    plain = ErasureResidual(X, y, context)
    plain._bases = [None] * C
    plain._inside = [plain._rows.X[m] for m in plain._members]
    from mechdecouple.structure._readout import CellMoments

    plain._local = [CellMoments(x, plain._fold[m], 5) for x, m in zip(plain._inside, plain._members, strict=True)]
    np.testing.assert_allclose(direct(), plain(), atol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_unchanged_by_rotation_translation_and_scale(shift):
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 800), rng.integers(0, 4, 800)
    X = 0.3 * rng.normal(size=(800, 10))
    X[np.arange(800), context] += y
    rotation = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    moved = erasure_residual(0.01 * X @ rotation + shift, y, context)
    np.testing.assert_allclose(moved, erasure_residual(X, y, context), atol=1e-6)


def test_opposite_codes_are_all_left():
    """Contexts of opposite sign cancel in the pooled means, so nothing is erased and everything is left."""
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    X = 0.1 * rng.normal(size=(4000, 6))
    X[:, 0] += np.where(context == 0, y, -y)
    auroc, energy = erasure_residual(X, y, context)
    assert auroc > 0.95
    assert energy == pytest.approx(1.0, abs=0.1)


def test_other_concepts_hardly_matter_and_the_jackknife_runs():
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, (600, 2)), rng.integers(0, 3, 600)
    X = rng.normal(size=(600, 6)) * 0.2
    X[np.arange(600), context] += y[:, 0]
    X[:, 4] += y[:, 1]
    statistic = ErasureResidual(X, y, context)
    np.testing.assert_allclose(statistic()[:, 0], erasure_residual(X, y[:, 0], context), atol=0.03)
    result = jackknife(statistic, jackknife_blocks(np.arange(600), 20))
    assert result[0, 0].interval()[0] > 0.9
    assert result[0, 1].interval()[0] < 0.5 < result[0, 1].interval()[1]


def test_absent_concept_is_undefined_or_at_chance_never_fracture():
    rng = np.random.default_rng(0)
    for _ in range(5):
        X, y, context = rng.normal(size=(400, 30)), rng.integers(0, 2, 400), rng.integers(0, 4, 400)
        statistic = ErasureResidual(X, y, context)
        auroc = statistic()[0]
        assert np.isnan(auroc) or auroc == pytest.approx(0.5, abs=0.12)
    constant = ErasureResidual(np.ones((40, 3)), np.arange(40) % 2, np.arange(40) % 4)
    assert np.isnan(constant()).all()
    assert "no further apart than chance" in constant.reason


def test_separation_that_is_rounding_alone_is_none():
    # halves of a few rows that repeat one another may separate a concept by 1e-17: noise cannot be scaled to that
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(4, 8))[rng.integers(4, size=20)]
        y, context = rng.integers(0, 2, (20, 2)).astype(float), rng.integers(0, 2, 20)
        auroc, _ = erasure_residual(X, y, context)
        assert (np.isnan(auroc) | ((auroc >= 0) & (auroc <= 1))).all()


def test_accidental_label_correlations_do_not_count():
    """A balanced design whose concepts share a strong direction: split, their labels correlate with opposite signs."""
    codes = np.tile(np.arange(8), 4 * 12)
    context = np.repeat(np.arange(4), 96)
    y = (codes[:, None] >> np.arange(3)) & 1
    directions = np.eye(3, 10) + 4 * np.eye(10)[9]
    X = y @ directions + 0.05 * np.random.default_rng(0).normal(size=(384, 10))
    auroc, energy = erasure_residual(X, y, context)
    assert auroc == pytest.approx(0.5, abs=0.06)
    assert energy == pytest.approx(0.0, abs=0.02)
