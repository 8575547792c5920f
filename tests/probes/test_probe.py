import numpy as np
import pytest
from scipy.optimize import minimize

from mechdecouple.errors import InputError
from mechdecouple.probes import LinearProbe, MassMeanFitter
from mechdecouple.probes.probe import platt


def test_platt_minimises_the_smoothed_log_loss():
    rng = np.random.default_rng(0)
    score = rng.normal(size=300)
    y = (rng.random(300) < 1 / (1 + np.exp(-2 * score - 0.5))).astype(int)
    n1, n0 = y.sum(), (1 - y).sum()
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    oracle = minimize(
        lambda t: np.sum(np.logaddexp(0, t[0] * score + t[1]) - target * (t[0] * score + t[1])), [0.0, 0.0], tol=1e-12
    )
    np.testing.assert_allclose(platt(score, y), oracle.x, atol=1e-4)


def test_platt_never_turns_a_score_round():
    y = np.arange(100) % 2
    assert platt(-(y + np.linspace(0, 0.1, 100)), y) == (0.0, pytest.approx(0.0))
    assert platt(np.zeros(100), np.arange(100) // 75)[1] == pytest.approx(np.log(26 / 76))


def test_separable_scores_stay_finite():
    slope, offset = platt(np.linspace(-1, 1, 50), (np.linspace(-1, 1, 50) > 0).astype(int))
    assert slope > 0
    assert np.isfinite([slope, offset]).all()


def test_direction_has_unit_length_and_width_is_checked(two_classes):
    X, y, groups = two_classes()
    probe = MassMeanFitter().fit(X, y, groups)
    assert np.linalg.norm(probe.direction) == pytest.approx(1)
    with pytest.raises(InputError, match="12"):
        probe.decision_function(X[:, :3])


def test_probe_that_found_nothing_has_no_direction():
    probe = LinearProbe(weights=np.zeros(3), bias=0.0, slope=0.0, offset=0.0)
    assert not probe.direction.any()
