from __future__ import annotations

import numpy as np
import pytest

from mechdecouple.behavior.repeats import aptitude, repeats, unreliability
from mechdecouple.errors import InputError


def test_percentiles_in_closed_form():
    y = np.random.default_rng(0).permuted(np.tile(np.arange(11) / 10, (4, 1)), axis=1)
    np.testing.assert_allclose(aptitude(y), 0.9)
    np.testing.assert_allclose(unreliability(y), 0.8)


def test_a_shift_moves_aptitude_alone():
    y = np.random.default_rng(1).random((8, 10)) / 2
    np.testing.assert_allclose(aptitude(y + 0.25), aptitude(y) + 0.25)
    np.testing.assert_allclose(unreliability(y + 0.25), unreliability(y))


def test_planted_falls_show_as_unreliability_and_leave_aptitude():
    rng = np.random.default_rng(2)
    steady = np.clip(0.8 + rng.normal(size=(100, 10)) * 0.02, 0, 1)
    falling = np.where(rng.random((100, 10)) < 0.4, 0.2, steady)
    before, after = repeats(steady), repeats(falling)
    assert after.mean.high < before.mean.low
    assert after.unreliability.low > before.unreliability.high
    assert after.aptitude.value == pytest.approx(before.aptitude.value, abs=0.02)
    assert after.n_runs == 10
    assert after.unreliability.value == pytest.approx(after.of_item["unreliability"].mean())


def test_groups_are_the_unit_of_the_interval():
    y = np.repeat(np.random.default_rng(3).random((10, 10)), 4, axis=0)
    alone, grouped = repeats(y), repeats(y, np.repeat(np.arange(10), 4))
    assert (alone.mean.n, grouped.mean.n) == (40, 10)
    assert grouped.mean.high - grouped.mean.low > 1.5 * (alone.mean.high - alone.mean.low)
    assert list(grouped.frame()["metric"]) == ["mean", "aptitude", "unreliability"]


def test_refusals():
    with pytest.raises(InputError, match=r"expected \[items, runs\]"):
        repeats(np.ones(5))
    with pytest.raises(InputError, match="outside"):
        aptitude(np.array([[0.2, 1.2]]))
