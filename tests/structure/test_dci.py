import numpy as np
import pytest
from scipy.stats import entropy

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.dci import Dci, completeness, disentanglement, readout_effects, unit_effects

# METRICS of the planted truth: D and C on the effects of the units on the logits.
EXPECTED = {
    "factored": (1, 1),
    "rotated": (0.13, 0.07),
    "oblique": (0.45, 0.78),
    "duplicated": (1, 0.714),
    "fractured": (1, 0.572),
    "fractured + rotated": (0.13, 0.06),
    "one-hot": (0, 0.14),
    "factored + inert": (1, 1),
}


def example(n=600, d=6, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 3, rng.normal(size=(n, d)), rng.integers(0, k, n)


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_truth(planted, name):
    p = planted(name)
    effects = readout_effects(p.X, p.readout)
    np.testing.assert_allclose((disentanglement(effects), completeness(effects)), EXPECTED[name], atol=0.007)


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_exact_copies_have_their_closed_form(planted, m):
    p = planted("duplicated", copies=m, balanced=True, sigma=0.0)
    effects = readout_effects(p.X, p.readout)
    assert completeness(effects) == pytest.approx(1 - np.log(m) / np.log(128), abs=1e-9)
    assert disentanglement(effects) == pytest.approx(1, abs=1e-9)
    if m > 2:
        assert completeness(effects) == pytest.approx({4: 0.7143, 8: 0.5714}[m], abs=5e-5)


def test_unrelated_directions_in_contexts_are_copies_too(planted):
    p = planted("fractured", balanced=True, sigma=0.0)
    assert completeness(readout_effects(p.X, p.readout)) == pytest.approx(1 - np.log(8) / np.log(128), abs=1e-9)


def test_agrees_with_the_entropies_of_scipy():
    effects = np.random.default_rng(0).exponential(size=(40, 5)) * np.geomspace(1, 100, 5)
    share = effects.sum(axis=1) / effects.sum()
    expected = (share * (1 - entropy(effects, axis=1, base=5))).sum()
    assert disentanglement(effects) == pytest.approx(expected, abs=1e-12)
    share = effects.sum(axis=0) / effects.sum()
    assert completeness(effects) == pytest.approx((share * (1 - entropy(effects, axis=0, base=40))).sum(), abs=1e-12)


@pytest.mark.parametrize("shift", [0.1, 0.5, 1.0])
def test_disentanglement_falls_with_what_a_unit_does_for_other_concepts(shift):
    values = [disentanglement(np.eye(4) + amount) for amount in (shift - 0.1, shift)]
    assert values[1] < values[0]


def test_units_without_effect_weigh_nothing():
    effects = np.random.default_rng(0).exponential(size=(10, 3))
    padded = np.concatenate([effects, np.zeros((5, 3))])
    assert disentanglement(padded) == pytest.approx(disentanglement(effects), abs=1e-12)
    # They are units all the same: completeness is relative to the ln d that was possible.
    lost = (1 - completeness(padded)) * np.log(15)
    assert lost == pytest.approx((1 - completeness(effects)) * np.log(10), abs=1e-12)


def test_a_network_that_is_linear_has_the_effects_of_its_readout():
    X, _, asks = example(n=30_000)
    readout = np.random.default_rng(1).normal(size=(6, 3))
    effects = unit_effects(X, readout.T[asks], asks)
    np.testing.assert_allclose(effects, readout_effects(X, readout), rtol=0.05)


def test_first_order_effects_written_out():
    X, gradients, asks = example(n=40)
    effects = unit_effects(X, gradients, asks)
    for f in range(3):
        rows = [i for i in range(40) if asks[i] == f]
        by_hand = [np.mean([abs(gradients[i, j] * (X[i, j] - X[:, j].mean())) for i in rows]) for j in range(6)]
        np.testing.assert_allclose(effects[:, f], by_hand, atol=1e-12)


def test_is_what_setting_a_unit_to_its_mean_does_to_a_linear_logit():
    X, _, _ = example(n=50)
    readout = np.random.default_rng(1).normal(size=(6, 2))
    for j in range(6):
        ablated = X.copy()
        ablated[:, j] = X[:, j].mean()
        change = np.abs(ablated @ readout - X @ readout).mean(axis=0)
        np.testing.assert_allclose(readout_effects(X, readout)[j], change, atol=1e-12)


def test_items_about_nothing_only_set_the_mean():
    X, gradients, asks = example()
    asks[:100] = -1
    changed = gradients.copy()
    changed[:100] = 1e6
    np.testing.assert_array_equal(unit_effects(X, changed, asks), unit_effects(X, gradients, asks))


def test_invariances():
    X, gradients, asks = example()
    rng = np.random.default_rng(1)
    order, scale = rng.permutation(6), rng.uniform(-2, 2, 6)
    moved = Dci((X * scale + 5)[:, order], (gradients / scale)[:, order], asks)
    np.testing.assert_allclose(moved(), Dci(X, gradients, asks)(), atol=1e-9)


def test_a_rotated_code_is_at_the_level_of_its_random_rotations(planted):
    p, asks = planted("rotated"), np.arange(8192) % 6
    statistic = Dci(p.X, p.readout.T[asks], asks)
    null = statistic.rotated(8)
    assert null.shape == (8, 2)
    assert (np.abs(statistic() - null.mean(axis=0)) < 4 * null.std(axis=0)).all()
    factored = planted("factored")
    statistic = Dci(factored.X, factored.readout.T[asks], asks)
    np.testing.assert_allclose(statistic(), [1, 1], atol=1e-9)
    assert (statistic.rotated(8).max(axis=0) < 0.2).all()


def test_kept_rows_and_jackknife():
    X, gradients, asks = example()
    gradients[:, :3] *= np.where(asks[:, None] == np.arange(3), 5.0, 1.0)
    statistic = Dci(X, gradients, asks)
    rows = np.flatnonzero(np.arange(600) % 4 > 0)
    np.testing.assert_allclose(statistic(rows), Dci(X[rows], gradients[rows], asks[rows])(), atol=1e-12)
    for one in jackknife(statistic, jackknife_blocks(np.arange(600))):
        low, high = one.interval()
        assert 0 < low < one.value < high < 1


def test_undefined_with_a_reason():
    X, gradients, asks = example()
    statistic = Dci(X, gradients, asks)
    assert np.isnan(statistic(np.flatnonzero(asks != 1))).all()
    assert "items ask about" in statistic.reason
    assert np.isnan(Dci(X, 0 * gradients, asks)()).all()
    assert np.isnan(Dci(np.ones_like(X) * 0.1, gradients, asks)()).all()
    assert np.isnan(disentanglement(np.ones((4, 1))))
    assert np.isnan(completeness(np.ones((1, 4))))


def test_unusable_input_is_refused():
    X, gradients, asks = example()
    with pytest.raises(InputError, match="effect -1 of unit 1 on concept 0"):
        disentanglement(np.array([[1.0], [-1.0]]))
    with pytest.raises(InputError, match="one gradient an activation"):
        unit_effects(X, gradients[:, :2], asks)
    with pytest.raises(InputError, match="no item asks about concept 1"):
        unit_effects(X, gradients, np.where(asks == 1, 0, asks))
    with pytest.raises(InputError, match="no item asks about concept 0"):
        unit_effects(X, gradients, np.full(600, -1))
    with pytest.raises(InputError, match="5 rows, the activations 6"):
        readout_effects(X, np.ones((5, 2)))
    gradients[3, 2] = np.nan
    with pytest.raises(InputError, match="row 3, dimension 2"):
        unit_effects(X, gradients, asks)
