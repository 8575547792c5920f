"""Training by reward: completions are sampled from a model, rewarded, and made likelier by how much better they did.

REINFORCE with a baseline (Williams 1992, doi:10.1007/BF00992696) and group-normalised advantages (2402.03300), one
gradient step a batch, so that no importance weights are needed. The penalty is the exact divergence from the model
that training started from, token by token.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analyses._models import raw
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import Recipe

Advantage = Literal["reward", "baseline", "group"]


def advantages(rewards: Float[Tensor, "p g"], kind: Advantage, eps: float = 1e-6) -> Float[Tensor, "p g"]:
    """How much better each of g completions of a prompt did.

    Args:
        kind: the ``reward`` itself; less the mean reward of the *other* completions of the prompt (``baseline``, which
            leaves the gradient unbiased); or standardised within the ``group`` (GRPO's, which does not).
    """
    if kind == "reward":
        return rewards
    if kind == "baseline":
        g = rewards.shape[1]
        return (rewards - rewards.mean(dim=1, keepdim=True)) * g / (g - 1)
    spread = rewards.std(dim=1, correction=0, keepdim=True)
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (spread + eps)


def policy_loss(
    log_probs: Float[Tensor, "p g t"], advantage: Float[Tensor, "p g"], mask: Float[Tensor, "p g t"]
) -> Tensor:
    """Its gradient is that of minus the mean advantage-weighted log-probability of the completions.

    Args:
        log_probs: of each sampled token; mask: 1 on tokens that were sampled, 0 behind the end.
    """
    return -(advantage.detach() * (log_probs * mask).sum(dim=2)).mean()


def divergence(logits: Float[Tensor, "*b v"], reference: Float[Tensor, "*b v"]) -> Float[Tensor, "*b"]:
    """KL(policy ‖ reference) of the next token, in nats."""
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@torch.no_grad()
def complete(
    model: nn.Module, prompts: Int[Tensor, "n t"], length: int, allowed: Int[Tensor, " k"] | None = None
) -> Int[Tensor, "n s"]:
    """Prompts of one length with ``length`` tokens sampled behind them; ``allowed`` limits which."""
    tokens = prompts
    for _ in range(length):
        drawn = torch.multinomial(_among(_once(model, tokens, 1)[:, -1], allowed).softmax(-1), 1)
        tokens = torch.cat([tokens, drawn if allowed is None else allowed[drawn]], dim=1)
    return tokens


def scored(
    model: nn.Module, tokens: Int[Tensor, "n s"], length: int, allowed: Int[Tensor, " k"] | None = None
) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n l v"]]:
    """Log-probability of each of the last ``length`` tokens as it was sampled, and the logits it was sampled from."""
    logits = _among(_once(model, tokens[:, :-1], length), allowed)
    drawn = tokens[:, -length:]
    if allowed is not None:
        drawn = (drawn[..., None] == allowed).int().argmax(-1)
    return logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0], logits


def _once(model: nn.Module, tokens: Int[Tensor, "n t"], last: int) -> Float[Tensor, "n l v"]:
    """Logits at the last positions; rows that are equal, as completions of a prompt often are, are run once."""
    rows, of_row = torch.unique(tokens, dim=0, return_inverse=True)
    return model(rows)[:, -last:][of_row]


def _among(logits: Float[Tensor, "*b v"], allowed: Int[Tensor, " k"] | None) -> Float[Tensor, "*b k"]:
    return logits if allowed is None else logits[..., allowed]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy(Recipe):
    """A model trained on by reward, one gradient step on each batch of fresh completions.

    Attributes:
        start: recipe of the model that it starts from, of the same seed.
        length: tokens of a completion; group: completions of a prompt; ``batch_size`` counts prompts.
        advantage: see :func:`advantages`.
        beta: weight of the divergence from the start; with one token a completion, the policy that is best is
            proportional to start · exp(reward / beta).
    """

    start: Recipe
    length: int = 1
    group: int = 8
    advantage: Advantage = "baseline"
    beta: float = 0.0
    weight_decay: float = 0.0

    @property
    def config(self) -> dict[str, Any]:
        return self.start.config

    def blank(self, seed: int = 0) -> Any:
        """The model that training starts from."""
        reference = raw(self.start, seed).requires_grad_(False)
        model = copy.deepcopy(reference).requires_grad_(True)
        # In a tuple it is no part of the model's own parameters.
        model.reference = (reference,)
        return model

    def hold(self, model: Any) -> None:
        self.start.hold(model)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return self.start.task(n, seed)

    @abstractmethod
    def prompts(self, rng: np.random.Generator) -> tuple[Int[Tensor, "p t"], Any]:
        """A batch of prompts of one length, and whatever :meth:`reward` must know of them."""

    @abstractmethod
    def reward(self, completions: Int[Tensor, "p g l"], known: Any) -> Float[Tensor, "p g"]:
        """What each completion earns."""

    def written(self, completions: Int[Tensor, "p g l"]) -> Float[Tensor, "p g l"]:
        """1 on the tokens that count, 0 behind the end of a completion."""
        return torch.ones(completions.shape)

    @property
    def allowed(self) -> Int[Tensor, " k"] | None:
        """Tokens that may be sampled; all where absent."""
        return None

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        prompts, known = self.prompts(rng)
        tokens = complete(model, prompts.repeat_interleave(self.group, dim=0), self.length, self.allowed)
        completions = tokens[:, -self.length :].unflatten(0, (-1, self.group))
        mask = self.written(completions)
        log_probs, logits = scored(model, tokens, self.length, self.allowed)
        rewards = self.reward(completions, known)
        loss = policy_loss(log_probs.view_as(mask), advantages(rewards, self.advantage), mask)
        if self.beta:
            with torch.no_grad():
                _, before = scored(model.reference[0], tokens, self.length, self.allowed)
            loss = loss + self.beta * (divergence(logits, before).view_as(mask) * mask).sum(dim=2).mean()
        return loss
