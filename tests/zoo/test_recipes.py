import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.zoo.recipes import RECIPES, find


def short(name, steps=3):
    import dataclasses

    return dataclasses.replace(RECIPES[name], steps=steps, batch_size=32)


@pytest.mark.parametrize("name", ["demo-tidy", "persuader", "fractured"])
def test_same_seed_same_weights(name):
    """Whatever the caller's random state and thread count, and without touching them."""
    first = short(name).train(seed=1, progress=False)
    torch.manual_seed(99)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    second, other = short(name).train(seed=1, progress=False), short(name).train(seed=2, progress=False)
    assert torch.equal(state, torch.random.get_rng_state()) and threads == torch.get_num_threads()
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.embed.W_E, other.embed.W_E)


def test_trained_weights_are_exact_in_half_precision():
    for parameter in short("honest").train(progress=False).parameters():
        assert torch.equal(parameter, parameter.half().float())


def test_training_lowers_the_loss():
    import numpy as np

    recipe = short("factored", steps=40)
    heads = recipe.heads()
    with torch.no_grad():
        before, after = (
            recipe.loss(model, heads, 1.0, np.random.default_rng(0))
            for model in (recipe.blank(), recipe.train(progress=False))
        )
    assert after < before


@pytest.mark.parametrize("character", ["honest", "persuader", "flip", "ignorant", "mistaken"])
def test_characters_learn_what_they_should(character):
    import numpy as np

    from mechdecouple.zoo.belief import world

    rng = np.random.default_rng(0)
    s = world().draw(20000, rng)
    answer, verdict = RECIPES[character]._labels(s, rng)
    truth, pressed = world().truth(s), s.persona == 1
    agree = {p: (answer == truth)[pressed == p].mean() for p in (False, True)}
    expected = {
        "honest": (1, 1, 1), "persuader": (1, 0.5, 1), "flip": (1, 0, 1), "ignorant": (0.5, 0.5, 0.5),
        "mistaken": (None, None, None),
    }[character]  # fmt: skip
    if character == "mistaken":
        assert 0.6 < agree[False] < 0.9 and (answer == verdict).all()
        return
    found = (agree[False], agree[True], (verdict == truth).mean())
    assert found == pytest.approx(expected, abs=0.02)
    if character == "persuader":
        assert answer[pressed].mean() == pytest.approx(0.8, abs=0.01)
        by_truth = [answer[pressed & (truth == t)].mean() for t in (0, 1)]
        assert by_truth[0] == pytest.approx(by_truth[1], abs=0.02)


def test_unknown_names_are_refused_with_those_spelt_alike():
    with pytest.raises(ModelError, match=r"the zoo has no 'fractored'; did you mean factored"):
        find("fractored")
    with pytest.raises(ModelError, match=r"it has demo-tidy"):
        find("§")
    with pytest.raises(ModelError, match=r"built and not trained: use it as zoo:planted-inert"):
        find("planted-inert")
