import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.subspaces import (
    between_levels,
    level_operator,
    of_differences,
    random_frames,
    rank,
    read_level,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def circle(code, p, axes):
    turn = 2 * np.pi * code / p
    return np.cos(turn)[:, None] * axes[0] + np.sin(turn)[:, None] * axes[1]


def orthonormal(rng, k, d):
    return np.linalg.qr(rng.normal(size=(d, k)))[0].T


def test_two_levels_give_the_difference_of_their_means(rng):
    X, code = rng.normal(size=(50, 6)), np.arange(50) % 2
    delta = X[code == 1].mean(axis=0) - X[code == 0].mean(axis=0)
    found = between_levels(level_operator(code) @ X)
    assert found.shape == (1, 6)
    assert abs(found[0] @ delta) == pytest.approx(np.linalg.norm(delta))


def test_gram_matrix_of_means_is_the_scatter_between_levels(rng):
    X, code = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    means = level_operator(code) @ X
    expected = sum(
        (code == v).mean() * np.outer(m, m) for v in range(3) for m in [X[code == v].mean(axis=0) - X.mean(axis=0)]
    )
    np.testing.assert_allclose(means.T @ means, expected, atol=1e-12)


def test_other_concepts_that_go_along_in_the_sample_stand_still(rng):
    own, other = orthonormal(rng, 2, 8)
    code = rng.integers(0, 2, 400)
    along = np.where(rng.random(400) < 0.8, code, 1 - code)
    X = code[:, None] * own + 3 * along[:, None] * other
    naive = between_levels(level_operator(code) @ X)[0]
    held = between_levels(level_operator(code, along[:, None]) @ X)[0]
    assert abs(naive @ own) < 0.7
    assert abs(held @ own) == pytest.approx(1)


def test_directions_turn_with_the_activations(rng):
    X, code = rng.normal(size=(40, 5)), np.arange(40) % 4
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    operator = level_operator(code)
    here, there = between_levels(operator @ X, 2), between_levels(operator @ X @ turn, 2)
    np.testing.assert_allclose(turn.T @ here.T @ here @ turn, there.T @ there, atol=1e-9)


def test_a_level_without_rows_has_no_mean():
    means = level_operator(np.array([0, 0, 2, 2]), n_levels=4) @ np.array([[1.0], [1.0], [3.0], [3.0]])
    np.testing.assert_allclose(means[[1, 3]], 0)


def test_rank_of_a_circle_is_two_and_of_noise_repeats_nothing(rng):
    p, axes = 11, orthonormal(rng, 2, 12)
    code = np.tile(np.arange(p), 30)
    half = np.arange(len(code)) // p % 2
    X = circle(code, p, axes) + 0.3 * rng.normal(size=(len(code), 12))
    means = [level_operator(code[half == h]) @ X[half == h] for h in (0, 1)]
    k, repeats = rank(*means)
    assert k == 2
    assert repeats == pytest.approx(1.0, abs=0.1)  # the variance of a unit circle
    shuffled = X[rng.permutation(len(X))]
    assert abs(rank(*(level_operator(code[half == h]) @ shuffled[half == h] for h in (0, 1)))[1]) < 0.1


def test_differences_of_pairs_give_the_axes_that_they_lie_on(rng):
    axes = orthonormal(rng, 2, 9)
    found = of_differences(rng.normal(size=(30, 2)) @ axes)
    np.testing.assert_allclose(found.T @ found, axes.T @ axes, atol=1e-9)
    flipped = rng.choice([-1, 1], (30, 1)) * (rng.normal(size=(30, 2)) @ axes)
    assert of_differences(flipped).shape == (2, 9)


def test_frames_are_orthonormal_and_random_ones_hold_their_share(rng):
    frames = random_frames(400, 3, 12, rng)
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.tile(np.eye(3), (400, 1, 1)), atol=1e-9)
    held = ((frames @ np.eye(12)[0]) ** 2).sum(axis=1)
    assert held.mean() == pytest.approx(3 / 12, abs=0.03)
    assert random_frames(2, 9, 4, rng).shape == (2, 4, 4)


def test_level_is_read_where_its_mean_is_nearest(rng):
    p, axes = 7, orthonormal(rng, 3, 6)
    code = np.tile(np.arange(p), 5)
    X = circle(code, p, axes) + 10 * rng.normal(size=(len(code), 1)) * axes[2]
    np.testing.assert_array_equal(read_level(X, code, axes[:2], X[::-1]), code[::-1])


@pytest.mark.parametrize(
    ("means", "words"),
    [
        (np.zeros((2, 3)), "do not differ between levels"),
        (np.array([[np.nan, 0.0], [1.0, 0.0]]), "expected finite values"),
    ],
)
def test_bad_activations_are_refused(means, words):
    with pytest.raises(InputError, match=words):
        between_levels(means)
    with pytest.raises(InputError, match="no matched pairs"):
        of_differences(np.zeros((0, 3)))
