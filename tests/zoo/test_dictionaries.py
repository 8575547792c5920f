import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.zoo.dictionaries import mean_max_cosine, planted_dictionary, planted_pair


def test_rows_are_sparse_sums_of_the_directions():
    planted = planted_dictionary(n=200, d=12, features=30, noise=0.0, norm=3.0)
    np.testing.assert_allclose(planted.X, planted.codes @ planted.directions, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(planted.directions, axis=1), 3.0)


def test_noise_and_offset_are_shares_of_the_norm():
    planted = planted_dictionary(n=20_000, d=12, features=30, noise=0.1, norm=50.0, offset=2.0)
    rest = planted.X - planted.codes @ planted.directions
    assert np.linalg.norm(rest.mean(0)) == pytest.approx(100.0, rel=0.01)
    assert (rest - rest.mean(0)).std() == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_as_many_features_fire_as_asked(correlation):
    planted = planted_dictionary(n=20_000, d=8, features=20, active=3.0, correlation=correlation)
    assert (planted.codes > 0).sum(1).mean() == pytest.approx(3.0, rel=0.03)
    assert planted.codes[planted.codes > 0].min() >= 0.5
    assert planted.codes.max() < 1.5


def test_correlated_firing_is_in_clusters_of_four():
    together = np.corrcoef((planted_dictionary(n=20_000, d=8, features=20, correlation=0.6).codes > 0).T)
    apart = np.corrcoef((planted_dictionary(n=20_000, d=8, features=20).codes > 0).T)
    np.fill_diagonal(together, 0)
    np.fill_diagonal(apart, 0)
    assert ((together > 0.15).sum(1) == 3).all()
    assert np.abs(apart).max() < 0.05


def test_a_pair_holds_the_same_codes_in_directions_of_its_own():
    pair = planted_pair(n=300, d_a=10, d_b=14, shared=8, only_a=3, only_b=2, noise=0.0, norm_a=2.0, norm_b=0.5)
    np.testing.assert_allclose(pair.a, pair.codes @ pair.directions_a, atol=1e-5)
    np.testing.assert_allclose(pair.b, pair.codes @ pair.directions_b, atol=1e-5)
    assert pair.kinds.tolist() == ["shared"] * 8 + ["only a"] * 3 + ["only b"] * 2
    np.testing.assert_allclose(np.linalg.norm(pair.directions_a, axis=1), [2.0] * 11 + [0.0] * 2)
    np.testing.assert_allclose(np.linalg.norm(pair.directions_b, axis=1), [0.5] * 8 + [0.0] * 3 + [0.5] * 2)
    assert pair.of("only b").tolist() == [11, 12]


def test_faint_features_are_short_in_one_model():
    pair = planted_pair(n=10, shared=6, faint=4, faintness=0.25)
    np.testing.assert_allclose(np.linalg.norm(pair.directions_a, axis=1)[:6], [0.25, 0.25, 1, 1, 1, 1])
    np.testing.assert_allclose(np.linalg.norm(pair.directions_b, axis=1)[:6], [1, 1, 0.25, 0.25, 1, 1])
    assert pair.faint.tolist() == [0, 1, 2, 3]


def test_a_seed_fixes_everything_and_leaves_the_global_generator_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two, other = planted_pair(n=50, seed=3), planted_pair(n=50, seed=3), planted_pair(n=50, seed=4)
    np.testing.assert_array_equal(one.a, two.a)
    np.testing.assert_array_equal(one.b, two.b)
    assert not np.array_equal(one.a, other.a)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_mean_max_cosine_is_one_for_the_same_directions_whatever_their_order_length_and_company():
    directions = planted_dictionary(n=1, d=6, features=9).directions
    found = np.concatenate([5 * directions[::-1], np.zeros((2, 6)), np.ones((1, 6))])
    assert mean_max_cosine(found, directions) == pytest.approx(1.0)


def test_mean_max_cosine_in_closed_form():
    angle = np.pi / 3
    found = np.array([[1.0, 0.0], [-1.0, 0.0]])
    planted = np.array([[np.cos(angle), np.sin(angle)], [1.0, 0.0]])
    assert mean_max_cosine(found, planted) == pytest.approx((0.5 + 1) / 2)
    assert mean_max_cosine(found[:1], -planted[1:]) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: planted_dictionary(n=0), "n is 0"),
        (lambda: planted_dictionary(features=4, active=4.0), "active is 4.0"),
        (lambda: planted_dictionary(noise=-0.1), "noise is -0.1"),
        (lambda: planted_dictionary(correlation=1.0), "correlation is 1.0"),
        (lambda: planted_pair(shared=2, faint=3), "faint=3"),
        (lambda: planted_pair(only_a=-1), "only_a=-1"),
        (lambda: planted_pair(norm_b=0.0), "norm_b is 0.0"),
        (lambda: mean_max_cosine(np.ones((2, 3)), np.ones((2, 4))), "shapes"),
        (lambda: mean_max_cosine(np.zeros((2, 3)), np.ones((2, 3))), "dead dictionary"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()
