import numpy as np
import pytest
import torch

from mechdecouple.structure.mechanism._affine import PENALTIES, AffineMaps, gram
from mechdecouple.structure.mechanism.holdout import Fold

RNG = np.random.default_rng(0)


def fold(n_fit=60, n_test=10):
    half = np.arange(n_fit // 2), np.arange(n_fit // 2, n_fit)
    return Fold(np.arange(n_fit), np.arange(n_fit, n_fit + n_test), (half, half[::-1]))


def grams(*arrays):
    return torch.stack([gram(torch.as_tensor(x)) for x in arrays])


def made(X, Y, split, penalty=None):
    """What the map makes of the test items, the penalties chosen, and how well they predict."""
    maps = AffineMaps(grams(X, Y), split)
    chosen, score = maps.choose(1, [0])
    penalties = chosen[0] if penalty is None else torch.full_like(chosen[0], penalty)
    return maps.weights(1, 0, penalties).numpy() @ Y[split.fit], chosen[0].numpy(), float(score[0])


@pytest.mark.parametrize("d", [5, 200])
def test_the_map_is_ridge_regression_with_an_intercept(d):
    X, Y, split = RNG.normal(size=(70, d)) + 3, RNG.normal(size=(70, 4)) - 1, fold()
    fit, mean = X[split.fit], X[split.fit].mean(axis=0)
    for penalty in (1e-4, 0.3):
        centred = fit - mean
        ridge = penalty * (centred**2).sum() * np.eye(d)
        w = np.linalg.solve(centred.T @ centred + ridge, centred.T @ Y[split.fit])
        expected = (X[split.test] - mean) @ w + Y[split.fit].mean(axis=0)
        np.testing.assert_allclose(made(X, Y, split, penalty)[0], expected, atol=1e-8)


@pytest.mark.parametrize("d", [6, 300])
def test_an_affine_image_is_found_wherever_the_items_span_it(d):
    code = RNG.normal(size=(70, 6))
    X = code @ RNG.normal(size=(6, d)) + RNG.normal(size=d)
    Y = code @ RNG.normal(size=(6, 9)) + 5
    out, penalty, score = made(X, Y, fold())
    np.testing.assert_allclose(out, Y[fold().test], atol=1e-4 * np.abs(Y).max())
    assert (penalty == PENALTIES[0]).all() and len(penalty) == 6 and score > 1 - 1e-6


def test_unrelated_activations_are_shrunk_to_the_mean():
    X, Y, split = RNG.normal(size=(70, 40)), RNG.normal(size=(70, 5)), fold()
    out, penalty, score = made(X, Y, split)
    assert (penalty >= 0.1).all() and score < 0.1
    assert out.std() < 0.4 * Y.std()


def test_directions_that_are_shared_are_told_from_those_that_are_not():
    X, split = RNG.normal(size=(70, 3)), fold()
    Y = np.c_[3 * X[:, :2] @ RNG.normal(size=(2, 2)), RNG.normal(size=(70, 2))]
    out = made(X, Y, split)[0]
    np.testing.assert_allclose(out[:, :2], Y[split.test, :2], atol=0.3 * Y[:, :2].std())
    assert out[:, 2:].std() < 0.5 * Y[:, 2:].std()


def circle(frequency, n=16):
    x = 2 * np.pi * frequency * np.arange(n) / n
    return np.c_[np.cos(x), np.sin(x)]


def test_held_out_values_of_a_balanced_code_are_not_predicted_with_the_wrong_sign():
    """Two frequencies are orthogonal over all values of a circle, so over all but some they are not."""
    X, Y = np.c_[circle(1), circle(2), circle(3)], circle(5)
    held = np.array([0, 3, 4, 11])
    fit = np.setdiff1d(np.arange(16), held)
    inner = tuple((np.setdiff1d(np.arange(12), left), left) for left in np.split(np.arange(12), 4))
    split = Fold(fit, held, inner)
    with_sign = made(X, Y, split, 1e-3)[0]
    assert np.sum(with_sign * Y[held]) < -0.2 * np.sum(Y[held] ** 2)
    out, penalty, score = made(X, Y, split)
    assert np.isinf(penalty).all() and score == 0
    np.testing.assert_allclose(out, np.tile(Y[fit].mean(axis=0), (4, 1)), atol=1e-9)


def test_rotation_shift_and_scale_of_a_source_and_of_a_target_change_nothing():
    X, Y, split = RNG.normal(size=(70, 12)), RNG.normal(size=(70, 7)), fold()
    Y[:, 0] += 3 * X[:, 0]
    turn, other = (np.linalg.qr(RNG.normal(size=(k, k)))[0] for k in (12, 7))
    plain, penalty, score = made(X, Y, split)
    moved, same, again = made(100 + 3 * X @ turn, Y @ other - 9, split)
    np.testing.assert_allclose(moved, plain @ other - 9, atol=1e-8)
    np.testing.assert_array_equal(same, penalty)
    assert again == pytest.approx(score)


def test_the_penalty_is_chosen_without_the_test_items():
    X, Y, split = RNG.normal(size=(70, 12)), RNG.normal(size=(70, 7)), fold()
    Y[:, 0] += X[:, 0]
    _, penalty, score = made(X, Y, split)
    for values in (X, Y):
        values[split.test] = 1e3
    _, same, again = made(X, Y, split)
    np.testing.assert_array_equal(same, penalty)
    assert again == pytest.approx(score)


def test_a_constant_source_gives_the_mean_and_a_constant_target_has_no_score():
    X, Y, split = np.full((70, 3), 0.1), RNG.normal(size=(70, 2)), fold()
    assert not gram(torch.as_tensor(X.astype(np.float32) + 1e-8)).any()
    out, _, score = made(X, Y, split)
    np.testing.assert_allclose(out, np.tile(Y[split.fit].mean(axis=0), (10, 1)))
    assert score < 1e-9
    out, penalty, score = made(Y, X, split)
    assert score == 0 and len(penalty) == 0
    np.testing.assert_allclose(out, 0.1)


def test_several_sources_at_once_are_each_on_its_own():
    X, Z, Y, split = (*(RNG.normal(size=(70, d)) for d in (4, 90, 3)), fold())
    Y += X[:, :3]
    maps = AffineMaps(grams(X, Z, Y), split)
    penalty, score = maps.choose(2, [1, 0])
    for place, (source, index) in enumerate(((Z, 1), (X, 0))):
        out, alone, own = made(source, Y, split)
        np.testing.assert_array_equal(penalty[place], alone)
        assert score[place] == pytest.approx(own)
        np.testing.assert_allclose(maps.weights(2, index, penalty[place]).numpy() @ Y[split.fit], out, atol=1e-10)


def test_weights_add_up_to_one():
    maps = AffineMaps(grams(RNG.normal(size=(70, 8)) + 50), fold())
    np.testing.assert_allclose(maps.weights(0, 0, torch.full((8,), 1e-3, dtype=torch.float64)).sum(dim=1), 1)
