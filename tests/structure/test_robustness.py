import numpy as np
import pytest
from scipy.stats import norm

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import NoiseTolerance, functional_rms, noise_std, noise_tolerance, total_rms

SCALES = np.geomspace(0.1, 8, 30)
EXPECTED = {  # ε90 in functional and in total rms; the planted table gives the latter rounded
    "factored": (3.60, 3.2),
    "rotated": (3.60, 3.3),
    "oblique": (2.15, 1.9),
    "duplicated": (3.60, 3.3),
    "fractured": (3.60, 1.2),
    "fractured + rotated": (3.60, 1.2),
    "one-hot": (3.60, 1.1),
    "factored + inert": (3.60, 0.69),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_truth(planted, name):
    p = planted(name)
    for rms, expected, tolerance in zip(
        (functional_rms(p.X, p.readout.T[None]), total_rms(p.X)), EXPECTED[name], (0.01, 0.1), strict=True
    ):
        # A factor of ±1 read with weights of length |w| is right with probability Φ(1 / (std |w|)).
        std = noise_std(1.0, rms, 128) * SCALES
        accuracy = norm.cdf(1 / np.outer(std, np.linalg.norm(p.readout, axis=0))).mean(axis=1)
        assert noise_tolerance(SCALES, accuracy, 1.0) == pytest.approx(expected, abs=tolerance)


def test_drawn_noise_agrees_with_the_closed_form(planted):
    p = planted("rotated", n=2048)
    rng = np.random.default_rng(0)
    rms = functional_rms(p.X, p.readout.T[None])
    scales = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    correct = np.stack(
        [
            (((p.X + noise_std(s, rms, 128) * rng.normal(size=p.X.shape)) @ p.readout > 0) == (p.y > 0)).mean(axis=1)
            for s in scales
        ]
    )
    statistic = NoiseTolerance(scales, correct, np.ones(2048))
    result = jackknife(statistic, jackknife_blocks(np.arange(2048), 20))
    assert result.value == pytest.approx(3.60, abs=0.1)
    assert result.interval()[0] < 3.62
    assert result.interval()[1] > 3.58


def test_inert_variance_does_not_count():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    gradients = np.pad(rng.normal(size=(50, 2)), ((0, 0), (0, 4)))
    inert = X * np.array([1, 1, 1, 50, 50, 50])
    assert functional_rms(inert, gradients) == pytest.approx(functional_rms(X, gradients), rel=1e-9)
    assert functional_rms(X, gradients) == pytest.approx(total_rms(X[:, :2]), rel=1e-9)
    assert functional_rms(X, np.eye(6)[None]) == pytest.approx(total_rms(X), rel=1e-9)


def test_rms_rotates_and_scales_with_the_activations():
    rng = np.random.default_rng(0)
    X, gradients = rng.normal(size=(300, 5)), rng.normal(size=(40, 3, 5)) * np.array([1, 1, 0, 0, 0])
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    value = functional_rms(X, gradients)
    assert functional_rms(2 * X @ rotation + 9, gradients @ rotation) == pytest.approx(2 * value)


def test_no_gradient_no_functional_rms():
    assert functional_rms(np.eye(3), np.zeros((4, 3))) == 0.0


def test_interpolation_between_scales_is_monotone_and_exact_on_the_grid():
    assert noise_tolerance(np.array([1.0, 2.0, 3.0]), np.array([0.95, 0.9, 0.5]), 1.0) == 2.0
    inside = noise_tolerance(np.array([1.0, 2.0]), np.array([0.8, 0.7]), 0.8)
    assert 1.0 < inside < 2.0
    # An accidental dip below 90 % does not count when the next scale is well above it.
    bumpy = noise_tolerance(np.array([1.0, 2.0, 3.0]), np.array([0.88, 0.96, 0.6]), 1.0)
    assert 2.0 <= bumpy <= 3.0


def test_never_falling_is_undefined_with_a_reason():
    statistic = NoiseTolerance(np.array([1.0, 2.0]), np.ones((2, 10)), np.ones(10))
    assert np.isnan(statistic())
    assert "up to noise scale 2" in statistic.reason


@pytest.mark.parametrize("scales", [[0.0, 1.0], [2.0, 1.0], [1.0, np.nan]])
def test_scales_must_increase(scales):
    with pytest.raises(InputError, match="increasing"):
        noise_tolerance(np.array(scales), np.array([0.9, 0.5]), 1.0)


def test_unusable_gradients_are_refused():
    with pytest.raises(InputError, match="2 dimensions, activations 3"):
        functional_rms(np.eye(3), np.ones((4, 2)))
    with pytest.raises(InputError, match="share"):
        functional_rms(np.eye(3), np.ones((4, 3)), share=0.0)


def test_replicates_of_noise_tolerance_follow_the_recomputed_ones():
    """Where the curve is smooth and items are many, both give one standard error; without noise in it, the same one."""
    rng = np.random.default_rng(0)
    scales, n = np.geomspace(0.25, 32, 15), 20_000
    strength = 3 * np.exp(0.8 * rng.normal(size=n))
    right = (strength / scales[:, None] + rng.normal(size=(15, n)) > 0).astype(float)
    statistic, blocks = NoiseTolerance(scales, right, np.ones(n)), jackknife_blocks(np.arange(n))
    smooth, plain = jackknife(statistic, blocks), jackknife(lambda rows: statistic(rows), blocks)
    assert smooth.value == plain.value
    assert np.corrcoef(smooth.replicates, plain.replicates)[0, 1] > 0.95
    assert smooth.standard_error() == pytest.approx(plain.standard_error(), rel=0.25)
    assert statistic.left_out(np.arange(n)) == pytest.approx(statistic(), rel=1e-12)
    never = NoiseTolerance(scales, np.ones((15, 4)), np.ones(4))
    assert np.isnan(never.left_out(np.arange(3)))
