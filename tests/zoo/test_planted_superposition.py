import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.zoo.superposed import directions, superpose


@pytest.mark.parametrize("k", [10, 17, 40])
def test_even_directions_are_a_tight_frame_of_unit_vectors(k):
    W = directions(k, 8)
    np.testing.assert_allclose(np.linalg.norm(W, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(W.T @ W, k / 8 * np.eye(8), atol=1e-9)


def test_one_more_feature_than_dimensions_is_equiangular():
    cosines = directions(9, 8) @ directions(9, 8).T
    np.testing.assert_allclose(cosines[~np.eye(9, dtype=bool)], -1 / 8, atol=1e-12)


def test_random_directions_follow_the_seed():
    assert np.array_equal(directions(9, 4, "random", 1), directions(9, 4, "random", 1))
    assert not np.array_equal(directions(9, 4, "random", 1), directions(9, 4, "random", 2))


def test_features_are_sparse_and_written_on_their_directions():
    sample = superpose(30, 10, n=20_000, active=0.1)
    np.testing.assert_allclose(sample.features.mean(axis=0), 0.1, atol=0.015)
    np.testing.assert_allclose(sample.X, sample.features @ sample.directions)


def test_impossible_arrangements_are_refused():
    with pytest.raises(InputError, match="8 features in 8 dimensions"):
        directions(8, 8)
    with pytest.raises(InputError, match="active is 1"):
        superpose(12, 4, active=1.0)
