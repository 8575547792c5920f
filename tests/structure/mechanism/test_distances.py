import math

import numpy as np
import pytest

from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism._distances import angle, farthest, lacking, turned


def replicates(value, spread=0.0, blocks=20):
    """A jackknife with standard error ``spread``."""
    steps = np.linspace(-1, 1, blocks)
    steps *= spread / math.sqrt((blocks - 1) / blocks * float(steps @ steps))
    return Replicates(value, np.asarray(value) + steps, "jackknife", blocks)


@pytest.mark.parametrize(("share", "angle_"), [(0.0, 0.0), (0.5, 2 / 3), (1.0, 1.0)])
def test_an_answer_turns_by_the_angle_whose_cosine_is_what_is_left(share, angle_):
    assert turned(replicates(share)).value == pytest.approx(angle_)


def test_a_turn_is_linear_in_the_size_of_what_is_replaced():
    """Logits x + s z with z resampled: half the part, half the turn, where the share falls to a quarter."""
    shares = np.array([1 - 1 / (1 + s**2) for s in (0.02, 0.01)])
    large, small = turned(replicates(shares[0])).value, turned(replicates(shares[1])).value
    assert large / small == pytest.approx(2, rel=1e-3)
    assert shares[0] / shares[1] == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize(("cosine", "angle_"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 2.0), (1.0000001, 0.0)])
def test_a_cosine_as_an_angle(cosine, angle_):
    assert angle(replicates(cosine)).value == pytest.approx(angle_)


def test_the_farthest_of_several_is_found_whatever_its_sign():
    found, name = farthest({"a": replicates(0.1, 0.01), "b": replicates(-0.4, 0.01), "c": replicates(math.nan)})
    assert (found.value, name) == (pytest.approx(0.4), "b")
    assert found.low < 0.4 < found.high


def test_more_parts_make_the_interval_wider():
    one, _ = farthest({"a": replicates(0.4, 0.05)})
    many, _ = farthest({"a": replicates(0.4, 0.05), **{str(i): replicates(0.0) for i in range(9)}})
    assert many.low < one.low
    assert many.high > one.high


def test_an_uncertain_part_can_lie_farther_than_the_farthest():
    found, _ = farthest({"sure": replicates(0.2, 0.001), "unsure": replicates(0.1, 0.2)})
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2, abs=0.01)
    assert found.high > 0.4


def test_nothing_to_compare_and_too_few_groups_say_so():
    assert math.isnan(farthest({})[0].value)
    alone = Replicates(0.3, np.zeros((0,)), "jackknife", 1)
    found, _ = farthest({"a": alone})
    assert math.isnan(found.low)
    assert "too few groups" in found.reason


def test_a_similarity_becomes_a_distance_with_its_interval_turned_round():
    found = lacking(replicates(0.9, 0.01))
    assert found.value == pytest.approx(0.1)
    assert found.low < 0.1 < found.high
    assert lacking(replicates(math.nan), "flat").reason == "flat"
