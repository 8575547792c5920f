import dataclasses

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.zoo.planting import Plan, combinations, encode, plant

SMALL = Plan(n_factors=3, n_contexts=4, dims=40)
PLANS = {
    "factored": {}, "oblique": {"cosine": 0.9}, "copies": {"copies": 8}, "graded": {"fracture": 0.3},
    "fractured": {"fracture": 1.0}, "one-hot": {"conjunctive": True}, "inert": {"inert": 20},
    "rotated": {"rotation": 1},
    "all at once": {"cosine": 0.5, "copies": 2, "fracture": 0.4, "inert": 5, "rotation": 0},
}  # fmt: skip


def plan(**doses):
    return dataclasses.replace(SMALL, **doses)


@pytest.mark.parametrize("doses", PLANS.values(), ids=PLANS)
def test_logits_are_the_factors_whatever_the_code(doses):
    sample = plant(plan(**doses), n=300)
    np.testing.assert_allclose(sample.X @ sample.readout, sample.factors, atol=1e-12)


@pytest.mark.parametrize("doses", PLANS.values(), ids=PLANS)
def test_the_readout_is_the_shortest_one(doses):
    code = encode(plan(**doses))
    expected = np.linalg.pinv(code.points.reshape(-1, 40), rcond=1e-9) @ np.tile(combinations(3), (4, 1))
    np.testing.assert_allclose(code.readout, expected, atol=1e-10)


@pytest.mark.parametrize("doses", PLANS.values(), ids=PLANS)
def test_noise_stays_off_the_signal(doses):
    code = encode(plan(noise=0.5, **doses))
    np.testing.assert_allclose(code.points.reshape(-1, 40) @ code.spread.T, 0, atol=1e-12)


def test_directions_have_the_planted_cosines():
    """Within a context cos(f, g) = c; between contexts cos(u_fc, u_fd) = 1 - α; all of unit length, copies or not."""
    code = encode(plan(cosine=0.6, fracture=0.3, copies=2))
    signs = combinations(3)
    u = np.einsum("jk,cjd->ckd", signs, code.points) / len(signs)
    np.testing.assert_allclose(np.einsum("cfd,cgd->cfg", u, u), np.tile(0.4 * np.eye(3) + 0.6, (4, 1, 1)), atol=1e-12)
    between = np.einsum("cfd,efd->fce", u, u)
    np.testing.assert_allclose(between, np.tile(0.3 * np.eye(4) + 0.7, (3, 1, 1)), atol=1e-12)


def test_readout_norm_follows_fracture():
    """A readout shared by all contexts must be 1/√s long, s = (1 - α) + α/C."""
    for alpha in (0.0, 0.3, 1.0):
        length = np.linalg.norm(encode(plan(fracture=alpha)).readout, axis=0)
        np.testing.assert_allclose(length, 1 / np.sqrt(1 - alpha + alpha / 4), atol=1e-12)


def test_copies_are_equal():
    X = plant(plan(copies=4, noise=0.0), n=50).X[:, :12]
    np.testing.assert_allclose(X, np.repeat(X[:, ::4], 4, axis=1), atol=1e-15)


def test_noise_has_its_size_inside_and_outside():
    sample = plant(plan(noise=0.2, noise_inside=0.5, inert=10, inert_scale=3.0), n=20_000)
    sd = (sample.X - sample.factors @ np.eye(3, 40)).std(axis=0)
    np.testing.assert_allclose(sd, np.r_[np.full(3, 0.5), np.full(10, 3.0), np.full(27, 0.2)], rtol=0.03)


def test_balanced_holds_every_combination_equally_often():
    sample = plant(SMALL, balanced=2)
    cells, counts = np.unique(np.column_stack([sample.context, sample.labels]), axis=0, return_counts=True)
    assert len(cells) == 4 * 2**3
    assert (counts == 2).all()


def test_seed_decides():
    assert np.array_equal(plant(SMALL, 20, seed=3).X, plant(SMALL, 20, seed=3).X)
    assert not np.array_equal(plant(SMALL, 20, seed=3).X, plant(SMALL, 20, seed=4).X)


def test_plans_share_their_items_and_not_their_noise():
    a, b = plant(SMALL, 20, noise_seed=0), plant(plan(fracture=1.0), 20, noise_seed=1)
    assert np.array_equal(a.factors, b.factors)
    assert np.array_equal(a.context, b.context)
    assert abs(np.corrcoef(a.X[:, 30:].ravel(), b.X[:, 30:].ravel())[0, 1]) < 0.3


@pytest.mark.parametrize(("doses", "message"), [
    ({"cosine": 1.0}, "cosine is 1.0"), ({"fracture": -0.1}, "fracture is -0.1"),
    ({"copies": 20}, r"need 60 \+ 0 of dims=40"), ({"inert": 38}, r"need 3 \+ 38 of dims=40"),
    ({"conjunctive": True, "copies": 2}, "takes no cosine, copies or fracture"),
])  # fmt: skip
def test_impossible_plans_are_refused(doses, message):
    with pytest.raises(InputError, match=message):
        plan(**doses)


def test_no_items_are_refused():
    with pytest.raises(InputError, match="n is 0"):
        plant(SMALL, n=0)
