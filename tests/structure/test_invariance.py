import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure import invariant_share


def swap(n):
    return np.arange(n).reshape(-1, 2)[:, ::-1].ravel()


@pytest.mark.parametrize("odd", [0.0, 0.3, 1.0, 5.0])
def test_the_share_is_that_of_the_even_part(odd):
    even = np.repeat(np.random.default_rng(0).normal(size=50), 2)
    signs = np.tile([1.0, -1.0], 50) * np.repeat(np.random.default_rng(1).normal(size=50), 2)
    found = invariant_share((even + odd * signs)[:, None], swap(100))
    assert found[0] == pytest.approx((even**2).sum() / (even**2 + (odd * signs) ** 2).sum())


def test_even_units_have_one_odd_ones_zero_and_unrelated_values_one_half():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20000, 3))
    z[:, 0] += z[swap(len(z)), 0]
    z[:, 1] -= z[swap(len(z)), 1]
    assert invariant_share(z, swap(len(z))) == pytest.approx([1, 0, 0.5], abs=0.02)


def test_scaling_and_further_symmetries_of_the_items_change_nothing():
    x, order = np.random.default_rng(0).normal(size=(40, 4)), np.random.default_rng(1).permutation(40)
    moved = np.argsort(order)[swap(40)[order]]
    assert invariant_share(-7 * x[order], moved) == pytest.approx(invariant_share(x, swap(40)))


def test_a_constant_is_even_and_counts_no_more_once_centred():
    x = np.column_stack([np.full(10, 3.1), np.tile([1.0, -1.0], 5) + 3.0, np.zeros(10)])
    raw, centred = invariant_share(x, swap(10)), invariant_share(x, swap(10), centred=True)
    assert raw[:2] == pytest.approx([1, 0.9])
    assert np.isnan(raw[2])
    assert np.isnan(centred[[0, 2]]).all()
    assert centred[1] == pytest.approx(0)


def test_items_that_are_their_own_image_are_even():
    assert invariant_share(np.array([[1.0], [2.0], [-2.0]]), np.array([0, 2, 1]))[0] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("partner", "words"),
    [([1, 2, 0], "partner of row 0 is 1, whose partner is 2"), ([0, 1], r"shape \(2,\)"), ([0, 1, 3], "row 3 of 3"),
     ([0.0, 1.0, 2.0], "float64")],
)  # fmt: skip
def test_partners_must_be_each_others(partner, words):
    with pytest.raises(InputError, match=words):
        invariant_share(np.ones((3, 1)), np.array(partner))
