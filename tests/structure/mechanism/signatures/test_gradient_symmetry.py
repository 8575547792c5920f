import numpy as np
import pytest
import torch

from mechdecouple.structure.mechanism.signatures.gradient_symmetry import gradient_symmetry, pair_cosines, symmetry


def test_pizza_is_symmetric_and_the_clock_is_not(pizza_and_clock):
    """Published on raw logits of random triples: .994 and .33 to .36 (2306.17844)."""
    pizza, clock = (gradient_symmetry(rig)[0] for rig in pizza_and_clock)
    assert pizza.value == pytest.approx(0.994, abs=0.002)
    low, high = clock.interval()
    assert low < 0.345 < high and high - low < 0.12
    low, high = (pizza - clock).interval()
    assert low > 0.55


def test_the_cosine_of_two_planted_gradients():
    g = np.random.default_rng(0).normal(size=(5, 3, 4, 7))
    dots = np.einsum("rqsd,rqtd->rqst", g, g)
    cosine, weight = pair_cosines(dots)
    by_hand = [
        np.mean([g[2, q, 1] @ g[2, q, 3] / np.linalg.norm(g[2, q, 1]) / np.linalg.norm(g[2, q, 3]) for q in range(3)])
    ]
    first, second = np.triu_indices(4, 1)
    pair = int(np.flatnonzero((first == 1) & (second == 3))[0])
    assert cosine[2, pair] == pytest.approx(by_hand[0])
    assert symmetry(cosine[:, [pair]], weight[:, [pair]]) == pytest.approx(cosine[:, pair].mean())


def test_positions_without_gradients_do_not_count():
    g = np.random.default_rng(0).normal(size=(5, 3, 2, 7))
    padded = np.concatenate([g, np.zeros((5, 3, 1, 7))], axis=2)
    plain, silent = (symmetry(*pair_cosines(np.einsum("rqsd,rqtd->rqst", x, x))) for x in (g, padded))
    assert plain == pytest.approx(silent)
    assert np.isnan(symmetry(*pair_cosines(np.zeros((5, 3, 2, 2)))))
    assert torch.is_grad_enabled()
