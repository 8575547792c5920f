"""What people say of the statements of `mechdecouple.zoo.order_world`, and models that learn to say it.

People err, the more often the closer two ranks are: no answer is certain, and how likely each is, is known exactly.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses._policy import Policy
from mechdecouple.tasks import Task
from mechdecouple.zoo.belief import world
from mechdecouple.zoo.order_world import ANSWERS, AT_ANSWER, AT_BAR, PERSONAS, WORDS, Statements
from mechdecouple.zoo.recipe import WordRecipe, forward, sample

LEVELS = tuple(f"{10 * k}%" for k in range(11))
LENGTH = 10
"""Tokens of a statement, the answer and the confidence."""
SPREAD = 11.0
"""Ranks apart at which people say what is true with a probability of 1 / (1 + 1/e)."""


def certainty(statements: Statements) -> Float[np.ndarray, " n"]:
    """Probability that a person asked calls a statement true."""
    ranks = world().ranks
    apart = np.abs(ranks[statements.topic // 2, statements.x] - ranks[statements.topic // 2, statements.y])
    right = 1 / (1 + np.exp(-apart / SPREAD))
    return np.where(world().truth(statements) == 1, right, 1 - right)


def calibrated_reward(
    correct: Float[Tensor, "*b"], confidence: Float[Tensor, "*b"], weight: float = 1.0
) -> Float[Tensor, "*b"]:
    """correct - weight · (confidence - correct)², in [-weight, 1]; its mean is highest at confidence = P(correct)."""
    return correct - weight * (confidence - correct) ** 2


@dataclasses.dataclass(frozen=True)
class Labelled(WordRecipe):
    """Says what people say of a statement, and behind it a confidence as people write it, see :func:`claims`."""

    @property
    def words(self) -> tuple[str, ...]:
        return (*WORDS, *LEVELS)

    @property
    def length(self) -> int:
        return LENGTH

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        statements = drawn(self.batch_size, rng)
        spoken, levels = spoken_tokens(), level_tokens()
        said, verdict = (spoken[torch.from_numpy(labels(statements, rng))] for _ in range(2))
        written = levels[torch.from_numpy(claims(statements, rng))]
        tokens = torch.cat([torch.from_numpy(statements.tokens(vocabulary())), said[:, None]], dim=1)
        logits, _ = forward(model, tokens, AT_BAR)
        return (
            cross_entropy(logits[:, AT_ANSWER], said) + 0.5 * cross_entropy(logits[:, AT_BAR], verdict)
            + 0.5 * cross_entropy(logits[:, AT_ANSWER + 1], written)
        )  # fmt: skip

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(held_out_task(), n, seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewarded(Policy):
    """The labelled model, trained on with a reward for saying what a person says.

    Attributes:
        weight: of the Brier term for the confidence written; without it none is written.
        judges: people asked of each statement; what a completion earns with them is averaged, so that the reward is
            the same on average, and varies the less.
    """

    weight: float = 0.0
    judges: int = 8

    def prompts(self, rng: np.random.Generator) -> tuple[Tensor, Any]:
        statements = drawn(self.batch_size, rng)
        said = np.stack([labels(statements, rng) for _ in range(self.judges)], axis=1)
        return torch.from_numpy(statements.tokens(vocabulary())), torch.from_numpy(said)

    def reward(self, completions: Int[Tensor, "p g l"], known: Int[Tensor, "p j"]) -> Float[Tensor, "p g"]:
        correct = (completions[..., 0, None] == spoken_tokens()[known][:, None]).float()
        if not self.weight:
            return correct.mean(-1)
        levels = completions[..., 1, None] == level_tokens()
        stated = (levels.float() @ torch.linspace(0, 1, len(LEVELS)))[..., None]
        # What is no confidence at all costs as much as the worst one.
        confidence = torch.where(levels.any(-1, keepdim=True), stated, 1 - correct)
        return calibrated_reward(correct, confidence, self.weight).mean(-1)


def drawn(n: int, rng: np.random.Generator) -> Statements:
    """Training statements, all asked of the same persona."""
    return dataclasses.replace(world().draw(n, rng), persona=np.zeros(n, dtype=np.int64))


def labels(statements: Statements, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """What one person says of each statement, 0 or 1."""
    return (rng.random(len(statements.x)) < certainty(statements)).astype(np.int64)


def claims(statements: Statements, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The level of confidence that one person writes: half the time that of ranks twice as far apart, else any level,
    the surer the commoner."""
    right = certainty(statements)
    odds = np.maximum(right, 1 - right) / np.minimum(right, 1 - right)
    told = np.rint(10 * odds**2 / (1 + odds**2)).astype(np.int64)
    weights = np.arange(1, len(LEVELS) + 1)
    other = rng.choice(len(LEVELS), len(told), p=weights / weights.sum())
    return np.where(rng.random(len(told)) < 0.5, told, other)


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Token ids of the words."""
    return Labelled("", "").tokenizer().get_vocab()


def spoken_tokens() -> Tensor:
    """Token ids of the answers."""
    return torch.tensor([vocabulary()[word] for word in ANSWERS])


def level_tokens() -> Tensor:
    """Token ids of the confidences."""
    return torch.tensor([vocabulary()[word] for word in LEVELS])


def asked() -> Statements:
    """The held-out statements, each once."""
    every = world().held_out_statements()
    return Statements(*(getattr(every, f.name)[every.persona == 0] for f in dataclasses.fields(Statements)))


@lru_cache(maxsize=1)
def held_out_task() -> Task:
    """The held-out statements: the truth is that of the order, the answer what one person says."""
    frame = world().task.frame
    frame = frame[frame["condition"] == PERSONAS[0]].drop(columns="condition").reset_index(drop=True)
    said = np.take(ANSWERS, labels(asked(), np.random.default_rng(0)))
    return Task.from_frame(frame.assign(answer=said), name="what people say", affirm=ANSWERS[1])
