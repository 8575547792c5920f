import numpy as np
import pytest

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.concepts import absorption


def judged(world, **options):
    world.labels.pop("blue", None)
    given = {"X": world.X, "decoder": world.decoder, "b_dec": world.b_dec}
    return absorption(world.codes, world.labels, world.groups, **(given | options))


OTHERS = np.arange(30, 38)


def absorb(world, share=0.2, seed=3):
    """On some rows of 'red' latent 0 is silent, and one of eight others fires that write 'red' and more of their own.

    Each takes so few rows that it is no piece of the concept by itself.
    """
    rng = np.random.default_rng(seed)
    rows = (world.y[:, 0] == 1) & (rng.random(len(world.y)) < share)
    who = rng.integers(0, 8, len(rows))
    world.decoder[OTHERS] = (world.decoder[0] + world.decoder[OTHERS]) / np.sqrt(2)
    for i, latent in enumerate(OTHERS):
        world.codes[:, latent] = np.where(rows & (who == i), np.sqrt(2) * world.codes[:, 0], 0)
    world.codes[rows, 0] = 0
    return rows


def test_rows_taken_over_by_more_specific_latents(world):
    rows = absorb(world)
    found = judged(world)
    share = rows.sum() / world.y[:, 0].sum()
    for value in (found.fraction, found.full, found.silent):
        assert value.value[0] == pytest.approx(share, abs=0.03)
        np.testing.assert_allclose(value.value[1:], 0, atol=0.01)
        low, high = value[0].interval()
        assert low < value.value[0] < high
    assert found.latents["red"].tolist() == [0]
    assert set(found.absorbers["red"].latent) == set(OTHERS)
    assert found.absorbers["red"]["share"].sum() == pytest.approx(share, abs=0.03)
    assert set(found.frame().set_index("concept").absorbers["red"]) == set(OTHERS)
    assert len(found.measurements()) == 4


def test_half_taken_over_is_half_absorbed(world):
    """Where own and other latent supply as much, the share is one half, and it is no full absorption."""
    rows = world.y[:, 0] == 1
    world.decoder[30] = (world.decoder[0] + world.decoder[30]) / np.sqrt(2)
    partly = rows & (np.random.default_rng(3).random(len(rows)) < 0.3)
    world.codes[:, 30] = np.where(partly, np.sqrt(2) * world.codes[:, 0] / 2, 0)
    world.codes[partly, 0] /= 2
    found = judged(world)
    assert found.fraction.value[0] == pytest.approx(0.5 * partly.sum() / rows.sum(), abs=0.03)
    assert found.full.value[0] == found.silent.value[0] == 0


def test_a_silent_latent_is_not_absorption_when_nothing_takes_over(world):
    X = world.X
    rows = (world.y[:, 0] == 1) & (np.random.default_rng(3).random(len(world.y)) < 0.3)
    world.codes[rows, 0] = 0  # the activation has it still: a hole in the dictionary
    found = judged(world, X=X)
    assert found.silent.value[0] == pytest.approx(rows.sum() / world.y[:, 0].sum(), abs=0.03)
    assert found.fraction.value[0] == pytest.approx(0, abs=0.01) and found.full.value[0] == pytest.approx(0, abs=0.01)


def test_latents_that_point_elsewhere_absorb_nothing(world):
    rows = absorb(world)
    X = world.X
    world.decoder[OTHERS] -= np.outer(world.decoder[OTHERS] @ world.decoder[0], world.decoder[0])
    found = judged(world, X=X)
    assert found.fraction.value[0] < 0.05 and found.silent.value[0] == pytest.approx(rows.mean() / 0.5, abs=0.06)


def test_a_large_latent_that_hardly_points_along_the_probe_absorbs_nothing_in_part(world):
    """At a cosine of .05 it may take a row as a whole (.025 does for that), not share in it (.1)."""
    X = world.X
    # it fires without the concept more than with it, so it is none of the concept's own
    fires = np.random.default_rng(3).random(len(world.y)) < np.where(world.y[:, 0] == 1, 0.15, 0.4)
    rows = fires & (world.y[:, 0] == 1)
    world.decoder[39] = 0.05 * world.decoder[0] + np.sqrt(1 - 0.05**2) * world.decoder[39]
    world.codes[:, 39] = np.where(fires, 1.5 / 0.05, 0)
    world.codes[rows, 0] = 0
    found = judged(world, X=X)
    assert found.latents["red"].tolist() == [0]
    assert found.full.value[0] == pytest.approx(rows.sum() / world.y[:, 0].sum(), abs=0.05)
    assert found.fraction.value[0] < found.full.value[0] / 2


def test_a_concept_that_no_latents_stand_for_is_left_out(world):
    """'green' in the strength of a latent that always fires: held, but no latent means it."""
    world.codes[:, 1] += 1
    world.labels["noise"] = world.rng.integers(0, 2, len(world.y)).astype(float)
    found = judged(world)
    assert found.concepts == ("red",)
    assert set(found.left_out) == {"green", "noise"}
    assert "it holds on" in found.left_out["green"] and "no latents stand for it" in found.left_out["noise"]
    (missing, _) = [m for m in found.measurements() if m.concept == "green"]
    assert np.isnan(missing.estimate.value) and "no latents stand for it" in missing.estimate.reason
    none = absorption(world.codes, {"noise": world.labels["noise"]}, world.groups, X=world.X, decoder=world.decoder)
    assert none.concepts == () and len(none.frame()) == 0


def test_units_do_not_matter(world):
    absorb(world)
    plain, X = judged(world), world.X
    world.codes, world.decoder = world.codes / 7, world.decoder * 7
    np.testing.assert_allclose(judged(world, X=X).fraction.value, plain.fraction.value, atol=1e-9)


def test_what_does_not_fit_is_refused(world):
    with pytest.raises(InputError, match=r"the decoder has shape \(39, 40\); expected \(40, 40\)"):
        judged(world, decoder=world.decoder[1:])
    with pytest.raises(MismatchError, match="5 rows of activations"):
        judged(world, X=world.X[:5])
