import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.faithfulness.masks import at_least, at_most, check_ratios, ordered, random_masks, top


def test_features_are_ranked_by_value_and_others_come_last():
    maskable = np.array([[True, True, True, False]])
    ranks = ordered(np.array([[0.1, 3.0, -2.0, np.nan]]), maskable)
    assert ranks.tolist() == [[1, 0, 2, 3]]
    assert top(ranks, np.array([2])).tolist() == [[True, True, False, False]]


def test_ties_are_broken_at_random():
    maskable = np.ones((4000, 4), bool)
    first = ordered(np.zeros((4000, 4)), maskable).argmin(axis=1)
    assert np.bincount(first).min() > 850
    again = ordered(np.zeros((4000, 4)), maskable)
    assert (again.argmin(axis=1) == first).all()


def test_sizes_round_down_along_a_curve_and_up_for_a_rationale():
    maskable = np.arange(10) < np.array([[10], [7], [3]])
    assert at_most(0.3, maskable).tolist() == [3, 2, 0]
    assert at_least(0.3, maskable).tolist() == [3, 3, 1]
    assert at_least(0.01, maskable).tolist() == [1, 1, 1]
    assert at_most(1.0, maskable).tolist() == [10, 7, 3]


def test_masks_of_masked_fine_tuning():
    maskable = np.ones((4000, 50), bool)
    maskable[:, 40:] = False
    masked = random_masks(maskable, np.random.default_rng(0), most=0.8)
    assert not masked[:, 40:].any()
    share = masked[:, :40].mean(axis=1)
    assert (share == 0).sum() >= 2000
    own = np.sort(share)[2000:]
    # uniform on (0, 0.8) and binomial noise
    assert own.mean() == pytest.approx(0.4, abs=0.02)
    assert np.quantile(own, 0.25) == pytest.approx(0.2, abs=0.03)
    assert not random_masks(maskable, np.random.default_rng(0), most=0.0).any()


def test_what_is_refused():
    with pytest.raises(InputError, match="item 1 has features without a value"):
        ordered(np.array([[np.nan]]), np.ones((1, 1), bool))
    with pytest.raises(InputError, match=r"most is 1\.5"):
        random_masks(np.ones((1, 1), bool), np.random.default_rng(0), most=1.5)
    for ratios in ((0.0, 0.5), (0.5, 1.0), (0.0, 0.5, 0.5, 1.0), (0.0,)):
        with pytest.raises(InputError, match="must rise from 0 to 1"):
            check_ratios(ratios)
