import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from analyses import _policy
from analyses._policy import Policy, advantages, complete, divergence, policy_loss, scored
from mechdecouple.zoo.recipe import Recipe

REWARD = torch.tensor([1.0, 0.5, 0.0, 0.25])
START = torch.tensor([0.1, 0.2, 0.3, 0.4])


class Bandit(nn.Module):
    """The same next token whatever stands before it: a softmax over four arms."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(START.log())

    def forward(self, tokens):
        return self.logits.expand(*tokens.shape, -1)


@dataclasses.dataclass(frozen=True)
class BanditRecipe(Recipe):
    @property
    def config(self):
        return {}

    def blank(self, seed=0):
        return Bandit()

    def loss(self, model, heads, progress, rng):
        raise NotImplementedError

    def task(self, n=None, seed=0):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BanditPolicy(Policy):
    def prompts(self, rng):
        return torch.zeros((self.batch_size, 1), dtype=torch.long), None

    def reward(self, completions, known):
        return REWARD[completions].sum(dim=2)


@pytest.fixture(autouse=True)
def started(monkeypatch):
    monkeypatch.setattr(_policy, "raw", lambda recipe, seed, progress=False: recipe.blank(seed))


def policy(**options):
    usual = {"steps": 400, "batch_size": 32, "learning_rate": 0.05}
    return BanditPolicy("bandit", "", start=BanditRecipe("start", ""), **{**usual, **options})


@pytest.mark.parametrize("kind", ["reward", "baseline"])
def test_the_sampled_gradient_is_that_of_the_expected_reward(kind):
    model = Bandit()
    probs = START.clone().requires_grad_(False)
    # d/dlogits of sum_a p_a R_a, in closed form
    expected = -(probs * (REWARD - (probs * REWARD).sum()))
    torch.manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        tokens = complete(model, torch.zeros((80_000, 1), dtype=torch.long), 1)
    log_probs, _ = scored(model, tokens, 1)
    drawn = tokens[:, -1:].view(-1, 8, 1)
    rewards = REWARD[drawn][..., 0]
    policy_loss(log_probs.view(-1, 8, 1), advantages(rewards, kind), torch.ones(drawn.shape)).backward()
    assert model.logits.grad.numpy() == pytest.approx(expected.numpy(), abs=0.004)


def test_with_a_penalty_the_best_policy_is_the_start_tilted_by_the_reward():
    beta = 0.3
    tilted = START * (REWARD / beta).exp()
    expected = (tilted / tilted.sum()).numpy()
    found = policy(beta=beta, steps=600).train(0, progress=False).logits.softmax(0).detach().numpy()
    assert found == pytest.approx(expected, abs=0.03)
    assert np.abs(expected - START.numpy()).max() > 0.3


def test_without_a_penalty_the_best_arm_takes_all():
    for advantage in ("baseline", "group"):
        found = policy(advantage=advantage).train(0, progress=False).logits.softmax(0)
        assert found[0] > 0.97


def test_a_group_is_standardised_and_a_group_that_agrees_moves_nothing():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = advantages(rewards, "group")
    # a lone success among G: sqrt((1 - p) / p) with p = 1 / G
    assert found[0].tolist() == pytest.approx([3**0.5, *[-((1 / 3) ** 0.5)] * 3], rel=1e-4)
    assert found[1].tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def test_baseline_of_others():
    found = advantages(torch.tensor([[1.0, 0.0, 0.5]]), "baseline")
    assert found[0].tolist() == pytest.approx([0.75, -0.75, 0.0])


def test_divergence_is_that_of_the_distributions():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert float(divergence(p.log() + 3, q.log() - 1)) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(p.log(), p.log())) == pytest.approx(0, abs=1e-7)


def test_only_allowed_tokens_are_sampled_and_their_probabilities_are_among_themselves():
    model, allowed = Bandit(), torch.tensor([3, 1])
    tokens = complete(model, torch.zeros((2000, 1), dtype=torch.long), 2, allowed)
    assert set(tokens[:, 1:].flatten().tolist()) == {1, 3}
    log_probs, _ = scored(model, tokens, 2, allowed)
    share = {3: 0.4 / 0.6, 1: 0.2 / 0.6}
    expected = torch.tensor([[share[int(t)] for t in row] for row in tokens[:, 1:]]).log()
    assert log_probs.detach().numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    assert float((tokens[:, 1:] == 3).float().mean()) == pytest.approx(2 / 3, abs=0.03)


class Parity(nn.Module):
    """The next token's logits depend on all that stands before it; it remembers how many rows it has read."""

    def __init__(self):
        super().__init__()
        self.weight, self.rows = nn.Parameter(torch.eye(4)), 0

    def forward(self, tokens):
        self.rows += len(tokens)
        return self.weight[tokens.cumsum(dim=1) % 4]


def test_equal_rows_are_run_once_and_count_each_time():
    model, one_by_one = Parity(), Parity()
    tokens = torch.tensor([[1, 2, 3, 0], [1, 2, 3, 1], [0, 2, 3, 3], [1, 2, 3, 0]])
    log_probs, logits = scored(model, tokens, 2)
    rows = [scored(one_by_one, row[None], 2) for row in tokens]
    assert (model.rows, one_by_one.rows) == (2, 4)
    assert torch.equal(logits, torch.cat([found for _, found in rows]))
    log_probs.sum().backward()
    torch.cat([found for found, _ in rows]).sum().backward()
    assert model.weight.grad.numpy() == pytest.approx(one_by_one.weight.grad.numpy(), abs=1e-6)


def test_tokens_behind_the_end_do_not_count():
    log_probs = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    policy_loss(log_probs, torch.tensor([[1.0, -1.0]]), mask).backward()
    assert log_probs.grad.tolist() == [[[-0.5, -0.5], [0.5, 0.0]]]
