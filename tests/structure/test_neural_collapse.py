"""NC1 against closed forms, its definition without noise, and what noise does to the plain ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.neural_collapse import NEURAL_COLLAPSE, NeuralCollapse, neural_collapse


def simplex(n_classes, radius, d):
    corners = np.eye(n_classes, d) - np.eye(n_classes, d)[:n_classes].mean(axis=0)
    rotation = np.linalg.qr(np.random.default_rng(99).normal(size=(d, d)))[0]
    return radius * corners / np.linalg.norm(corners[0]) @ rotation


def plain(X, labels):
    """The formula of the article, as it stands."""
    names = np.unique(labels)
    means = np.stack([X[labels == c].mean(axis=0) for c in names])
    within = sum(np.cov(X[labels == c].T, bias=True) for c in names) / len(names)
    between = np.cov(means.T, bias=True)
    return float(np.trace(within @ np.linalg.pinv(between, rcond=1e-6)) / len(names))


def exact_rows(means, spread, copies=8):
    """Rows mean ± each column of spread, so that every group of them has exactly these means and this covariance."""
    steps = np.concatenate([spread.T, -spread.T])
    X = (means[None, :, None] + steps[None, None]).repeat(copies, axis=0)
    labels = np.broadcast_to(np.arange(len(means))[None, :, None], X.shape[:3])
    groups = np.broadcast_to(np.arange(copies)[:, None, None], X.shape[:3])
    return X.reshape(-1, means.shape[1]), labels.ravel(), groups.ravel()


@pytest.mark.parametrize("d, n_classes", [(4, 3), (12, 5), (3, 6), (200, 3)])
def test_without_noise_it_is_the_formula(d, n_classes):
    """Also with more classes than dimensions, and fewer rows than dimensions."""
    rng = np.random.default_rng(0)
    X, labels, groups = exact_rows(rng.normal(size=(n_classes, d)), rng.normal(size=(d, 4)))
    assert neural_collapse(X, labels, groups) == pytest.approx(plain(X, labels), rel=1e-8)


def test_anisotropic_closed_form():
    """Four means at ±a and ±b on two axes, so Σ_B = diag(a²/2, b²/2); variance 1 and 9 along them."""
    a, b = 2.0, 5.0
    means = np.array([[a, 0, 0], [-a, 0, 0], [0, b, 0], [0, -b, 0]])
    X, labels, groups = exact_rows(means, math.sqrt(3) * np.diag([1.0, 3.0, 7.0]))
    assert neural_collapse(X, labels, groups) == pytest.approx((2 / a**2 + 9 * 2 / b**2) / 4, rel=1e-9)


@pytest.mark.parametrize("d, n, radius", [(6, 400, 2), (200, 300, 4), (400, 300, 6)])
def test_noise_is_taken_out_where_the_plain_ratio_falls(d, n, radius):
    """A simplex of six classes in isotropic noise: σ² (C - 1)² / (r² C)."""
    rng, labels, means = np.random.default_rng(1), np.arange(n) % 6, simplex(6, radius, d)
    draws = [means[labels] + rng.normal(size=(n, d)) for _ in range(30)]
    found, truth = [neural_collapse(X, labels) for X in draws], 25 / (radius**2 * 6)
    assert np.mean(found) == pytest.approx(truth, rel=0.06)
    if d > 100:
        assert plain(draws[0], labels) < 0.8 * truth


def test_rows_of_a_group_that_move_together_are_not_taken_for_collapse():
    """Ten rows a group that share nine tenths of their variance inside the class."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(40), 10)
    labels = groups % 4
    found, ungrouped = [], []
    for _ in range(60):
        noise = math.sqrt(0.9) * rng.normal(size=(40, 10))[groups] + math.sqrt(0.1) * rng.normal(size=(400, 10))
        X = simplex(4, 6, 10)[labels] + noise
        found.append(neural_collapse(X, labels, groups))
        ungrouped.append(neural_collapse(X, labels))
    truth = 9 / (36 * 4)
    assert np.mean(found) == pytest.approx(truth, rel=0.06)
    assert np.mean(ungrouped) < 0.94 * truth


def test_classes_count_alike_whatever_their_size():
    rng = np.random.default_rng(3)
    labels = rng.choice(4, size=4000, p=[0.7, 0.1, 0.1, 0.1])
    scale = np.array([2.0, 1.0, 1.0, 0.0])[labels][:, None]
    X = simplex(4, 3, 8)[labels] + scale * rng.normal(size=(4000, 8))
    assert neural_collapse(X, labels) == pytest.approx(6 / 4 * 9 / (9 * 4), rel=0.1)


def test_invariances():
    rng = np.random.default_rng(4)
    labels = np.arange(300) % 3
    X = simplex(3, 3, 20)[labels] + rng.normal(size=(300, 20))
    value = neural_collapse(X, labels)
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    assert neural_collapse(1e-3 * X @ rotation + 5, labels) == pytest.approx(value, rel=1e-6)
    assert neural_collapse(X, np.array(["dog", "cat", "owl"])[labels]) == pytest.approx(value, rel=0.1)
    assert neural_collapse(np.column_stack([X, np.full((300, 5), 3.0)]), labels) == pytest.approx(value, rel=1e-8)


def test_collapsed_classes_are_zero():
    labels = np.arange(60) % 3
    assert neural_collapse(simplex(3, 2, 9)[labels], labels) == pytest.approx(0, abs=1e-12)


def test_unknown_labels_are_left_out():
    rng = np.random.default_rng(5)
    labels = (np.arange(240) % 3).astype(float)
    X = simplex(3, 4, 5)[np.arange(240) % 3] + rng.normal(size=(240, 5))
    unknown = np.concatenate([labels, np.full(10, np.nan)])
    more = np.concatenate([X, 100 + rng.normal(size=(10, 5))])
    assert neural_collapse(more, unknown) == pytest.approx(neural_collapse(X, labels), rel=1e-9)
    assert NeuralCollapse(more, unknown)(np.arange(240)) == pytest.approx(neural_collapse(X, labels), rel=1e-9)


def undefined():
    rng = np.random.default_rng(6)
    X, labels = rng.normal(size=(120, 10)), np.arange(120) % 3
    far = simplex(3, 9, 10)[labels] + X
    flat = np.array([[0, 0], [4, 0], [8, 0.0]])[labels] + rng.normal(size=(120, 2))
    return {
        "one class": (far, np.zeros(120)),
        "no difference": (X, labels),
        "means on a line": (flat, labels),
        "constant": (np.ones((120, 10)), labels),
        "three rows": (far[:3], labels[:3]),
        "a rare class": (far, np.where(np.arange(120) < 2, 5, labels)),
        "all unknown": (far, np.full(120, np.nan)),
    }


@pytest.mark.parametrize("case", undefined())
def test_undefined_with_a_reason(case):
    statistic = NeuralCollapse(*undefined()[case])
    assert math.isnan(statistic())
    assert "stand out from noise" in statistic.reason


@pytest.mark.parametrize("means", [np.zeros((3, 2)), np.array([[0, 0], [4, 0], [8, 0.0]])], ids=["equal", "on a line"])
def test_directions_made_of_noise_give_no_number(means):
    """By chance the noise of the means is positive in their weakest direction; the ratio would be anything."""
    rng, labels = np.random.default_rng(8), np.arange(120) % 3
    draws = [neural_collapse(means[labels] + rng.normal(size=(120, 2)), labels) for _ in range(60)]
    assert np.isfinite(draws).mean() <= 0.05


def test_errors_name_the_value():
    X = np.ones((10, 3))
    X[4, 2] = np.nan
    with pytest.raises(InputError, match="row 4, dimension 2"):
        neural_collapse(X, np.arange(10) % 2)
    with pytest.raises(InputError, match=r"labels have shape \(9,\)"):
        neural_collapse(np.ones((10, 3)), np.arange(9))


def _coverage(n_sim):
    rng, means, truth, hits = np.random.default_rng(7), simplex(4, 3, 30), 9 / (9 * 4), 0
    labels = np.arange(400) % 4
    for _ in range(n_sim):
        X = means[labels] + rng.normal(size=(400, 30))
        found = jackknife(NeuralCollapse(X, labels), jackknife_blocks(np.arange(400), 10))
        low, high = found.map(np.log).interval()
        hits += low <= math.log(truth) <= high
    return hits / n_sim


def test_interval_covers():
    assert NEURAL_COLLAPSE.scale == "log-ratio"
    assert _coverage(20) >= 0.8


@pytest.mark.slow
def test_interval_covers_in_full():
    assert 0.93 <= _coverage(600) <= 0.98


def test_classes_that_do_not_differ_are_undefined_not_a_number_of_chance():
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        found.append(neural_collapse(rng.normal(size=(200, 1)), np.arange(200) % 2))
    # .08 of them where noise is told from four folds alone
    assert np.isfinite(found).mean() <= 0.03 and not (np.array(found) < 0).any()
