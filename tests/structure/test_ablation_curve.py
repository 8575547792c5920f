from itertools import combinations
from math import comb

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.ablation_curve import AblationArea, ablation_area, ablation_counts, ablation_curve


def copied(k, m, n=64, seed=0):
    """Scores of a code of k bits of +-1, each held by m units and read from the sign of their sum; ties count half."""
    z = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n, k))
    X = np.repeat(z, m, axis=1)

    def scores(mask):
        seen = (X * ~mask).reshape(n, k, m).sum(axis=2)
        return np.where(seen == 0, 0.5, np.sign(seen) == z).mean(axis=1)

    return scores


def survives(d, m, count):
    """Probability that ``count`` of d units taken at random are not all m copies of a bit."""
    return 1 - (comb(d - m, count - m) / comb(d, count) if count >= m else 0)


@pytest.mark.parametrize(("k", "m"), [(12, 1), (6, 2), (3, 4)])
def test_accuracy_of_copies_follows_from_combinatorics(k, m):
    counts = ablation_counts(12, 6)
    draws = 200
    curve = ablation_curve(copied(k, m), 12, counts, draws=draws)
    expected = np.array([0.5 + 0.5 * survives(12, m, int(c)) for c in counts])
    np.testing.assert_allclose(curve.mean(axis=(0, 2)), expected, atol=5 * 0.25 / np.sqrt(draws))
    assert curve[:, -1] == pytest.approx(0.5)
    area = ablation_area(counts / 12, expected, clean=1.0, chance=0.5)
    found = AblationArea(counts / 12, curve, np.ones(64), chance=0.5)
    assert found() == pytest.approx(area, abs=5 * found.draw_error() + 1e-9)
    assert found.draw_error() < 0.03


def test_random_orders_visit_all_sets_alike():
    # Every pair of five units is the first pair of an order with probability 1/10.
    seen = {pair: 0 for pair in combinations(range(5), 2)}

    def scores(mask):
        seen[tuple(np.flatnonzero(mask))] += 1
        return np.zeros(1)

    ablation_curve(scores, 5, np.array([2]), draws=1000)
    assert max(abs(count - 200) for count in seen.values()) < 5 * np.sqrt(200)


def test_a_single_copy_falls_in_a_straight_line_and_more_copies_hold_longer():
    counts = np.arange(1, 25)
    areas = [
        ablation_area(counts / 24, np.array([survives(24, m, int(c)) for c in counts]), clean=1.0) for m in (1, 2, 4, 8)
    ]
    assert areas[0] == pytest.approx(0.5)
    assert areas == sorted(areas)
    drawn = [
        ablation_area(counts / 24, ablation_curve(copied(24 // m, m), 24, counts, draws=30).mean(axis=(0, 2)), 1.0, 0.5)
        for m in (1, 2, 4, 8)
    ]
    np.testing.assert_allclose(drawn, areas, atol=0.05)


def test_ablated_units_stay_ablated_as_their_number_grows_and_orders_come_with_their_reverse():
    masks = []

    def scores(mask):
        masks.append(mask)
        return np.full(3, mask[0])

    curve = ablation_curve(scores, 10, np.array([3, 5, 10]), draws=2)
    assert curve.shape == (2, 3, 3) and (curve[:, 2] == 1).all()
    assert [m.sum() for m in masks] == [3, 3, 5, 5] * 2 + [10]
    forth, back = masks[0:8:2], masks[1:8:2]
    for orders in (forth, back):
        assert all((small <= large).all() for small, large in (orders[:2], orders[2:]))
    assert (forth[1] != back[1]).all() and not (forth[0] & back[0]).any()
    # A code of one unit: by symmetry the area is known from any pair of orders.
    np.testing.assert_array_equal(curve[:, 1], 0.5)


def test_area_of_known_curves():
    shares = np.array([0.25, 0.5, 1.0])
    assert ablation_area(shares, np.full(3, 0.8), clean=0.8) == pytest.approx(1)
    assert ablation_area(shares, np.full(3, 0.5), clean=1.0, chance=0.5) == pytest.approx(0.125)
    assert ablation_area(shares, 1 - shares / 2, clean=1.0, chance=0.5) == pytest.approx(0.5)
    assert ablation_area(shares[:2], 1 - shares[:2], clean=1.0) == pytest.approx(0.75)
    assert np.isnan(ablation_area(shares, shares, clean=0.5, chance=0.5))


def test_jackknife_over_items():
    rng = np.random.default_rng(0)
    shares, clean = np.array([0.5, 1.0]), rng.integers(0, 2, 40).astype(float)
    curve = np.stack([clean * rng.integers(0, 2, 40), np.zeros(40)])[None]
    blocks = jackknife_blocks(np.arange(40), 8)
    found = jackknife(AblationArea(shares, curve, clean), blocks)
    kept = blocks != 2
    middle = curve[0, 0, kept].mean() / clean[kept].mean()
    assert found.replicates[2] == pytest.approx(0.25 * (1 + middle) + 0.25 * middle)


def test_at_chance_it_is_undefined_with_a_reason():
    area = AblationArea(np.array([1.0]), np.full((1, 1, 4), 0.5), np.full(4, 0.5), chance=0.5)
    assert np.isnan(area()) and "not above chance (0.5)" in area.reason


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="from 1 to 4"):
        ablation_curve(lambda mask: np.zeros(2), 4, np.array([2, 5]))
    with pytest.raises(InputError, match="0 draws"):
        ablation_curve(lambda mask: np.zeros(2), 4, np.array([2]), draws=0)
    with pytest.raises(InputError, match="2 shares and 1 performance"):
        ablation_area(np.array([0.5, 1.0]), np.array([1.0]), clean=1.0)
    with pytest.raises(InputError, match="increasing"):
        ablation_area(np.array([1.0, 0.5]), np.array([1.0, 1.0]), clean=1.0)
    with pytest.raises(InputError, match="finite"):
        ablation_area(np.array([0.5, 1.0]), np.array([1.0, np.nan]), clean=1.0)
    with pytest.raises(InputError, match="0 units"):
        ablation_counts(0)
