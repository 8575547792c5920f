import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.signatures._additive import AdditiveFit
from mechdecouple.structure.mechanism.signatures.variance_split import Shares, split_answer, variance_split

P = 31


def grid():
    a, b = np.divmod(np.arange(P * P), P)
    return {"a": a, "b": b, "sum": (a + b) % P, "difference": (a - b) % P}


def waves(weights):
    """A logit that is a sum of waves, one along each factor, of these variances; a complete grid keeps them apart."""
    return sum(np.sqrt(2 * w) * np.cos(2 * np.pi * 3 * f / P) for w, f in zip(weights, grid().values(), strict=True))


def test_a_complete_grid_splits_exactly():
    split = variance_split(waves([0.1, 0.2, 0.3, 0.4]), grid(), population=P * P)
    np.testing.assert_allclose(split.main.value, [0.1, 0.2, 0.3, 0.4], atol=1e-12)
    assert split.rest.value == pytest.approx(0, abs=1e-6)


def test_shares_of_a_draw_from_the_grid_are_those_of_the_grid():
    """Of 31 x 31 items 150 are drawn, five a level: without the correction every share would be .2 too high."""
    rng = np.random.default_rng(0)
    y, factors = waves([0.0, 0.2, 0.0, 0.5]), grid()
    y = y + np.sqrt(0.6) * np.cos(2 * np.pi * 5 * (grid()["a"] + 2 * grid()["b"]) / P)
    found = []
    for _ in range(60):
        rows, every = np.sort(rng.permutation(P * P)[:150]), np.arange(150)
        cells = [f[rows] for f in factors.values()]
        main = Shares(y[rows], cells, every, P * P)(every)
        found.append([*main, 1 - AdditiveFit(y[rows, None], cells, P * P)(every)])
    np.testing.assert_allclose(np.mean(found, axis=0), [0, 0.2, 0, 0.5, 0.3], atol=0.025)


def test_noise_explains_nothing_and_its_interval_says_so():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(20):
        split = variance_split(rng.normal(size=200), {"x": rng.integers(0, 20, 200)})
        low, high = split.main.interval()
        held += low[0] <= 0 <= high[0]
    assert held >= 16


def test_what_a_group_has_of_its_own_is_not_explained():
    rng, group, found = np.random.default_rng(0), np.repeat(np.arange(60), 5), []
    for _ in range(30):
        level, own = np.repeat(rng.integers(0, 20, 60), 5), rng.normal(size=60)[group]
        found.append([Shares(own, [level], g)(np.arange(300))[0] for g in (np.arange(300), group)])
    alone, grouped = np.mean(found, axis=0)
    assert alone > 0.25 and abs(grouped) < 0.06


def test_interactions_of_crossed_concepts():
    x, z = np.divmod(np.arange(400) % 4, 2)
    u, v = 2.0 * x - 1, 2.0 * z - 1
    split = variance_split(u + 2 * v + 3 * u * v, {"x": x, "z": z})
    assert split.pairs == (("x", "z"),)
    np.testing.assert_allclose(split.main.value, [1 / 14, 4 / 14], atol=0.01)
    assert split.interactions.value[0] == pytest.approx(9 / 14, abs=0.01)
    assert split.rest.value == pytest.approx(9 / 14, abs=0.01)


def test_a_constant_added_to_the_logit_and_its_scale_change_nothing():
    y = waves([0.1, 0.2, 0.3, 0.4]) + np.random.default_rng(0).normal(size=P * P)
    one, other = (variance_split(v, grid()) for v in (y, 5 - 7 * y))
    np.testing.assert_allclose(one.main.value, other.main.value, atol=1e-12)
    assert one.rest.value == pytest.approx(other.rest.value)


def test_what_cannot_be_split_says_why():
    constant = variance_split(np.ones(40), {"x": np.arange(40) % 4})
    assert np.isnan(constant.main.value).all() and np.isnan(constant.rest.value)
    assert constant.frame()["reason"].str.len().gt(0).all()
    lonely = variance_split(np.random.default_rng(0).normal(size=40), {"id": np.arange(40)})
    assert np.isnan(lonely.share("id").value) and np.isnan(lonely.rest.value)
    with pytest.raises(InputError, match="no concepts"):
        variance_split(np.ones(4), {})
    with pytest.raises(InputError, match="item 2 is not finite"):
        variance_split(np.array([0.0, 1.0, np.nan]), {"x": np.array([0, 0, 1])})


def test_published_nets_split_as_published(pizza_and_clock):
    pizza, clock = (split_answer(rig) for rig in pizza_and_clock)
    assert pizza.share("a-b").value == pytest.approx(0.97, abs=0.005)
    assert clock.share("a-b").value == pytest.approx(0.2, abs=0.02)
    assert np.abs(pizza.main.value[:3]).max() < 0.02


def test_a_complete_grid_splits_exactly_whatever_its_groups():
    """Items a + b and b + a in one group: their distance is no noise of the population."""
    a, b = grid()["a"], grid()["b"]
    pairs = np.minimum(a, b) * P + np.maximum(a, b)
    split = variance_split(waves([0.1, 0.2, 0.3, 0.4]), grid(), pairs, population=P * P)
    np.testing.assert_allclose(split.main.value, [0.1, 0.2, 0.3, 0.4], atol=1e-9)
