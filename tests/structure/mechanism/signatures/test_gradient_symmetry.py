import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import wrap
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.gradient_symmetry import gradient_symmetry, pair_cosines, symmetry
from mechdecouple.tasks import Task


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


class LooksUp(nn.Module):
    """Two numbers looked up in one table; the second is read through ``turn``."""

    def __init__(self, turn):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed, self.out = nn.Embedding(7, 6), nn.Linear(6, 7, bias=False)
        self.register_buffer("turn", turn)

    def forward(self, x):
        e = self.embed(x.long())
        return self.out(e[:, 0] + e[:, 1] @ self.turn)


@pytest.mark.parametrize("angle", [0.0, np.pi / 3, np.pi / 2])
def test_a_plain_module_that_looks_numbers_up_has_positions(angle):
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).kron(torch.eye(3))
    turn = np.cos(angle) * torch.eye(6) + np.sin(angle) * quarter
    pairs = np.stack(np.meshgrid(np.arange(7), np.arange(7)), -1).reshape(-1, 2)
    frame = pd.DataFrame({"id": [str(i) for i in range(49)], "answer": pairs.sum(axis=1) % 7})
    task = Task.from_frame(frame, performance="class", inputs=pairs.astype(np.float32))
    found, reason = gradient_symmetry(Rig(wrap(LooksUp(turn), name="table"), task))
    assert not reason
    # the second gradient is the first one, turned
    assert found.value == pytest.approx(np.cos(angle), abs=1e-5)


def test_a_table_for_each_input_has_no_positions_to_compare():
    class Apart(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.out = nn.Embedding(7, 6), nn.Embedding(7, 6), nn.Linear(6, 7)

        def forward(self, x):
            return self.out(self.first(x[:, 0].long()) * self.second(x[:, 1].long()))

    pairs = np.stack(np.meshgrid(np.arange(7), np.arange(7)), -1).reshape(-1, 2)
    frame = pd.DataFrame({"id": [str(i) for i in range(49)], "answer": pairs.sum(axis=1) % 7})
    task = Task.from_frame(frame, performance="class", inputs=pairs.astype(np.float32))
    found, reason = gradient_symmetry(Rig(wrap(Apart(), name="tables"), task))
    assert np.isnan(found.value)
    assert "no positions" in reason
