import numpy as np
import pytest

from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import ProbeAccuracy, probe_accuracy


@pytest.mark.parametrize("name", ["factored", "rotated", "oblique", "fractured", "one-hot", "factored + inert"])
def test_a_linear_probe_scores_one_on_every_planted_code(planted, name):
    p = planted(name)
    assert probe_accuracy(p.X, p.y, p.context).min() == pytest.approx(1.0, abs=0.005)
    assert probe_accuracy(p.X, p.y).min() == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("d", [20, 300])
def test_absent_information_is_at_chance(d):
    rng = np.random.default_rng(0)
    values = [
        probe_accuracy(rng.normal(size=(400, d)), rng.integers(0, 2, 400), rng.integers(0, 4, 400)) for _ in range(10)
    ]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)


def test_gaussian_classes_score_their_bayes_accuracy():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    X = rng.normal(size=(20_000, 3)) + np.outer(2 * y - 1, [1.0, 0, 0])
    assert probe_accuracy(X, y) == pytest.approx(0.8413, abs=0.01)  # Φ(1)


def test_groups_are_held_out():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 5)
    y = (np.arange(60) % 2)[group]
    X = rng.normal(size=(60, 100))[group] + 0.1 * rng.normal(size=(300, 100))
    assert probe_accuracy(X, y) > 0.9
    assert probe_accuracy(X, y, None, group) == pytest.approx(0.5, abs=0.15)


def test_kept_rows_only():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.normal(size=(400, 5)) + y[:, None]
    statistic = ProbeAccuracy(X, y)
    spoilt = X.copy()
    spoilt[300:] = 1e3 * rng.normal(size=(100, 5))
    # Rows that are left out have no influence beyond the constant that all rows are centred by.
    assert ProbeAccuracy(spoilt, y)(np.arange(300)) == pytest.approx(statistic(np.arange(300)), abs=1e-9)
    assert jackknife(statistic, jackknife_blocks(np.arange(400), 20)).standard_error() < 0.05


def test_undefined_with_a_reason():
    statistic = ProbeAccuracy(np.zeros((10, 2)), np.ones(10))
    assert np.isnan(statistic())
    assert "both classes" in statistic.reason
