import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.sae.concepts import splitting
from mechdecouple.sae.concepts.splitting import gains


def test_a_concept_in_pieces_is_counted(world):
    piece = world.rng.integers(0, 3, len(world.y))
    for i, latent in enumerate((0, 3, 4)):
        world.codes[:, latent] = world.y[:, 0] * (piece == i)
    half = world.rng.integers(0, 2, len(world.y))
    for i, latent in enumerate((1, 5)):
        world.codes[:, latent] = world.y[:, 1] * (half == i)
    found = splitting(world.codes, world.labels, world.groups)
    assert found.count.tolist() == [3, 2, 1]
    assert [set(found.latents[name]) for name in found.concepts] == [{0, 3, 4}, {1, 5}, {2}]
    # of one piece: recall 1/2 or 1/3, precision 1
    assert found.f1.value[0, 0] == pytest.approx(2 / (1 + 3), abs=0.06)
    assert found.f1.value[0, 1] == pytest.approx(2 / (1 + 2), abs=0.06)
    table = found.frame()
    assert table[table.counted].groupby("concept").size().to_dict() == {"red": 3, "green": 2, "blue": 1}
    assert [m.estimate.value for m in found.measurements()] == [3, 2, 1]


def test_copies_and_opposites_are_no_pieces(world):
    world.codes[:, 3] = world.codes[:, 0]  # says the same
    world.codes[:, 1] *= world.rng.integers(0, 2, len(world.y))
    world.codes[:, 4] = 1 - world.y[:, 1]  # fires where the concept does not hold, and tells it better
    found = splitting(world.codes, world.labels, world.groups)
    assert found.count.tolist() == [1, 1, 1]
    assert found.latents["green"].tolist() == [1]
    assert found.f1.value[0, 1] == pytest.approx(2 / (1 + 2), abs=0.06)


def test_a_concept_that_no_latent_holds_has_an_f1_to_show_for_it(world):
    other = world.rng.integers(0, 2, len(world.y)).astype(float)
    found = splitting(world.codes, {"absent": other}, world.groups)
    assert found.f1.value[0, 0] < 0.75
    assert found.f1.interval()[0][0, 0] < found.f1.value[0, 0]


def test_the_rule():
    assert gains(np.array([0.5, 0.7, 0.72, 0.9])) == 2
    assert gains(np.array([0.5])) == 1
    assert gains(np.array([0.1, 0.2, 0.3])) == 3
    assert gains(np.array([])) == 1


def test_most_must_be_one_or_more(world):
    with pytest.raises(InputError, match="most is 0"):
        splitting(world.codes, world.labels, world.groups, most=0)
