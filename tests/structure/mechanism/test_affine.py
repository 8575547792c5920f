import numpy as np
import pytest
import torch

from mechdecouple.structure.mechanism._affine import PENALTIES, AffineMaps, gram
from mechdecouple.structure.mechanism.holdout import Fold

RNG = np.random.default_rng(0)


def fold(n_fit=60, n_test=10):
    fit = np.arange(n_fit)
    return Fold(fit, np.arange(n_fit, n_fit + n_test), fit[: n_fit // 2], fit[n_fit // 2 :])


def grams(*arrays):
    return torch.stack([gram(torch.as_tensor(x)) for x in arrays])


def made(X, Y, split, penalty=None):
    maps = AffineMaps(grams(X), split)
    chosen, score = maps.penalties(grams(Y)[0], [0])
    weights = maps.weights(0, float(chosen[0]) if penalty is None else penalty)
    return weights.numpy() @ Y[split.fit], float(chosen[0]), float(score[0])


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
    assert penalty == PENALTIES[0] and score > 1 - 1e-6


def test_unrelated_activations_are_shrunk_to_the_mean():
    X, Y, split = RNG.normal(size=(70, 40)), RNG.normal(size=(70, 5)), fold()
    out, penalty, score = made(X, Y, split)
    assert penalty >= 0.1 and score < 0.1
    assert out.std() < 0.5 * Y.std()


def test_rotation_shift_and_scale_of_a_source_and_of_a_target_change_nothing():
    X, Y, split = RNG.normal(size=(70, 12)), RNG.normal(size=(70, 7)), fold()
    Y[:, 0] += X[:, 0]
    turn, other = (np.linalg.qr(RNG.normal(size=(k, k)))[0] for k in (12, 7))
    plain, penalty, score = made(X, Y, split)
    moved, same, again = made(100 + 3 * X @ turn, Y @ other - 9, split)
    np.testing.assert_allclose(moved, plain @ other - 9, atol=1e-8)
    assert same == penalty and again == pytest.approx(score)


def test_the_penalty_is_chosen_without_the_test_items():
    X, Y, split = RNG.normal(size=(70, 12)), RNG.normal(size=(70, 7)), fold()
    _, penalty, score = made(X, Y, split)
    other = Y.copy()
    other[split.test] = 1e3
    assert made(X, other, split)[1:] == (penalty, pytest.approx(score))


def test_a_constant_source_gives_the_mean_and_a_constant_target_has_no_score():
    X, Y, split = np.full((70, 3), 0.1), RNG.normal(size=(70, 2)), fold()
    assert not gram(torch.as_tensor(X.astype(np.float32) + 1e-8)).any()
    out, _, score = made(X, Y, split)
    np.testing.assert_allclose(out, np.tile(Y[split.fit].mean(axis=0), (10, 1)))
    assert score < 0.05
    assert made(Y, X, split)[2] == -np.inf


def test_several_sources_at_once_are_each_on_its_own():
    X, Z, Y, split = (*(RNG.normal(size=(70, d)) for d in (4, 90, 3)), fold())
    both = AffineMaps(grams(X, Z), split)
    penalty, score = both.penalties(grams(Y)[0], [1, 0])
    for place, (source, index) in enumerate(((Z, 1), (X, 0))):
        out, alone, own = made(source, Y, split)
        assert (penalty[place], score[place]) == (alone, pytest.approx(own))
        np.testing.assert_allclose(both.weights(index, alone).numpy() @ Y[split.fit], out, atol=1e-10)


def test_weights_add_up_to_one():
    weights = AffineMaps(grams(RNG.normal(size=(70, 8)) + 50), fold()).weights(0, 1e-3)
    np.testing.assert_allclose(weights.sum(dim=1), 1)
