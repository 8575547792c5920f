import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import coding_overlap, random_overlap

NAMES = ["factored", "rotated", "oblique", "duplicated", "fractured", "fractured + rotated", "one-hot"]


@pytest.mark.parametrize("name", [*NAMES, "factored + inert"])
def test_planted_truth(planted, name):
    p = planted(name)
    assert coding_overlap(p.X, p.y) == pytest.approx(0.71 if name == "oblique" else 0.02, abs=0.021)


@pytest.mark.parametrize("cos", [0.0, 0.3, 0.6, 0.9])
def test_exact_on_the_noise_free_factorial(planted, cos):
    p = planted("oblique", cos=cos, balanced=True, sigma=0.0)
    assert coding_overlap(p.X, p.y) == pytest.approx(cos, abs=1e-9)


def test_random_directions_reach_their_level():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (400, 40))
    values = [coding_overlap(Y @ rng.normal(size=(40, 200)), Y) for _ in range(10)]
    assert np.mean(values) == pytest.approx(random_overlap(200), rel=0.02)


def test_correlated_labels_are_not_overlap():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 2000)
    Y = np.column_stack([first, np.where(rng.random(2000) < 0.8, first, 1 - first)])
    X = np.pad(Y.astype(float), ((0, 0), (0, 6))) + 0.1 * rng.normal(size=(2000, 8))
    assert coding_overlap(X, Y) < 0.02


def test_invariances_sign_and_unknown_labels(planted):
    p = planted("oblique", n=1024)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(128, 128)))[0]
    value = coding_overlap(p.X, p.y)
    assert coding_overlap(3 * p.X @ rotation - 7, p.y) == pytest.approx(value, abs=1e-9)
    assert coding_overlap(p.X, 1 - p.y) == pytest.approx(value, abs=1e-9)
    y = p.y.astype(float)
    y[:100, 2] = np.nan
    assert coding_overlap(p.X, y) == pytest.approx(coding_overlap(p.X[100:], p.y[100:]))


def test_jackknife_error_is_the_spread_over_fresh_samples():
    values, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        Y = rng.integers(0, 2, (400, 2))
        X = Y @ np.array([[1.0, 0, 0], [0.6, 0.8, 0]]) + 0.5 * rng.normal(size=(400, 3))
        result = jackknife(lambda rows, X=X, Y=Y: coding_overlap(X[rows], Y[rows]), jackknife_blocks(np.arange(400)))
        values.append(result.value)
        errors.append(result.standard_error())
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.3)
    assert np.mean(values) == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize(
    "Y",
    [np.arange(40)[:, None] % 2, np.zeros((40, 2)), np.tile(np.arange(40)[:, None] % 2, 2), np.full((40, 2), np.nan)],
)
def test_undefined(Y):
    assert np.isnan(coding_overlap(np.random.default_rng(0).normal(size=(40, 3)), Y))


def test_constant_activations_are_undefined():
    assert np.isnan(coding_overlap(np.ones((4, 3)), np.array([[0, 0], [0, 1], [1, 0], [1, 1]])))


def test_lengths_must_agree():
    with pytest.raises(InputError, match="equal lengths"):
        coding_overlap(np.zeros((3, 2)), np.zeros((4, 2)))
