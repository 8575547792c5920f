import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.sae.concepts import targeted_perturbation
from mechdecouple.sae.concepts._labelled import Labelled


def perturbed(world, **options):
    given = {"X": world.X, "decoder": world.decoder, "k": (1, 2)}
    return targeted_perturbation(world.codes, world.labels, world.groups, **(given | options))


def test_a_latent_of_its_own_hits_its_concept_alone(world):
    found = perturbed(world)
    np.testing.assert_allclose(found.clean.value, 1, atol=0.01)
    np.testing.assert_allclose(found.effect.value[0], 0.5 * np.eye(3), atol=0.03)  # without it the probe is a coin
    score = found.target(1) - found.others(1)
    assert score.value == pytest.approx(0.5, abs=0.04) and score.interval()[0] > 0.4
    assert [int(found.latents[name][0]) for name in found.concepts] == [0, 1, 2]
    table = found.frame()
    own = table[(table.k == 1) & (table.latents_of == table.probe_of)]
    assert len(table) == 2 * 9 and (own.effect > 0.4).all()
    with pytest.raises(InputError, match="7 latents were not taken out; there are k = 1, 2"):
        found.target(7)
    rows = {(m.metric, m.context): m.estimate for m in found.measurements()}
    assert rows["sae_targeted_perturbation", "k=1"].value == pytest.approx(score.value)
    assert rows["sae_perturbation_others", "k=1"].value == pytest.approx(0, abs=0.02)


def test_a_latent_shared_by_two_concepts_is_not_targeted(world):
    """One latent fires for red and for green, and writes both: without it neither probe works."""
    either = world.y[:, :2].max(1)
    world.y[:, 1] = np.where(world.rng.random(len(either)) < 0.95, world.y[:, 0], world.y[:, 1])
    world.labels["green"] = world.y[:, 1]
    world.codes[:, 1] = 0
    found = perturbed(world)
    effect = found.effect.value[0]
    assert effect[0, 1] > 0.35 and effect[0, 0] > 0.35
    assert effect[2, 2] > 0.4 and abs(effect[2, :2]).max() < 0.05
    single = targeted_perturbation(
        world.codes, {"red": world.labels["red"]}, world.groups, X=world.X, decoder=world.decoder, k=(1,)
    )
    assert single.others(1) is None
    (score, *_) = single.measurements()
    assert np.isnan(score.estimate.value) and "one concept alone" in score.estimate.reason


def test_probes_are_asked_about_the_activation_without_the_latents(world):
    """Against activations from which the latents are in fact subtracted."""
    world.codes[:, 3] = 0.5 * world.y[:, 0]
    found = perturbed(world)
    data = Labelled.of(world.codes, world.labels, world.groups, n_blocks=20, seed=0)
    X = world.X
    score = np.zeros((2, len(X), 1))
    for f, (probe, *_) in enumerate(data.probes(X, 0)):
        held = data.fold == f
        gone = world.codes[:, [0, 3]] @ world.decoder[[0, 3]]
        score[0, held, 0] = probe.decision_function(X[held])
        score[1, held, 0] = probe.decision_function((X - gone)[held])
    data = Labelled.of(world.codes, {"red": world.labels["red"]}, world.groups, n_blocks=20, seed=0)
    accuracy = data.scored(score).accuracy()[:, 0]
    assert found.effect.value[1, 0, 0] == pytest.approx(accuracy[0] - accuracy[1])
    assert set(found.latents["red"]) == {0, 3}


def test_a_latent_that_the_probe_does_not_read_is_not_chosen(world):
    """It fires for 'red' more than any other, but writes nothing."""
    world.codes[:, 4], world.decoder[4] = 5 * world.y[:, 0], 0
    found = perturbed(world)
    assert found.latents["red"][0] == 0 and 4 not in found.latents["red"]
    assert found.effect.value[0, 0, 0] > 0.4


def test_latents_that_do_not_push_the_probe_are_left_in(world):
    """Absent from the activation, whatever their codes say: nothing is chosen, nothing falls."""
    decoder = np.zeros_like(world.decoder)
    found = perturbed(world, decoder=decoder, X=world.X)
    np.testing.assert_array_equal(found.effect.value, 0)
    assert all(len(latents) == 0 for latents in found.latents.values())


def test_what_does_not_fit_is_refused(world):
    with pytest.raises(InputError, match=r"the decoder has shape \(40, 39\)"):
        perturbed(world, decoder=world.decoder[:, 1:])
    with pytest.raises(InputError, match=r"k is \(\)"):
        perturbed(world, k=())
