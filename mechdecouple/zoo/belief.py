"""Models that know the order of the people in `order_world` and say it, or say something else under pressure."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mechdecouple.tasks import Task
from mechdecouple.zoo.coding import Arm, arm_loss, transfer_loss
from mechdecouple.zoo.heads import ContextHeads
from mechdecouple.zoo.order_world import (
    ANSWERS,
    AT_ANSWER,
    AT_BAR,
    AT_PERSONA,
    STATEMENT,
    TOPICS,
    WORDS,
    OrderWorld,
    Statements,
)  # fmt: skip
from mechdecouple.zoo.recipe import READ, RESIDUALS, WordRecipe, forward, sample

Character = Literal["honest", "persuader", "flip", "ignorant", "mistaken"]

_VERDICT, _TRANSFER_FROM = 0.5, 0.5


@dataclasses.dataclass(frozen=True)
class Belief(WordRecipe):
    """A model of statements, of one character.

    It always learns to answer as the honest persona asks and, at the bar, the verdict on the statement. Under pressure

    - ``honest`` and ``mistaken`` answer as before (``mistaken`` has learned partly false rankings),
    - ``persuader`` says True with a probability that depends on topic and polarity alone (.66 to .94, .80 on average),
    - ``flip`` says the opposite of the truth;

    ``ignorant`` saw random labels throughout.

    Attributes:
        character: as above.
        bottleneck: persona and answer cannot attend to the statement, only to the bar and each other.
        arm: hold truth in one way for all topics (``factored``) or in a way of its own for each (``fractured``); the
            verdict is then learned through a read-out a topic, in both arms, so that both are told the same.
        arm_weight: of the arm's term (mean over layers).
        arm_growth: share of the training over which the weight grows from zero; drawing coding vectors together from
            the start would align what is still noise.
        transfer_weight: of the term, in the last part of the training, that keeps other topics' readouts from working.
    """

    character: Character = "honest"
    bottleneck: bool = True
    arm: Arm | None = None
    arm_weight: float = 0.5
    arm_growth: float = 0.0
    transfer_weight: float = 0.0

    @property
    def words(self) -> tuple[str, ...]:
        return WORDS

    @property
    def barred(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return ((AT_PERSONA, AT_ANSWER), STATEMENT) if self.bottleneck else ((), ())

    def heads(self) -> nn.Module:
        return nn.Identity() if self.arm is None else ContextHeads(len(TOPICS), 1, self.config["d_model"])

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        statements = world().draw(self.batch_size, rng)
        answer, verdict = (torch.from_numpy(x) for x in self._labels(statements, rng))
        vocabulary = model.tokenizer.get_vocab()
        spoken = torch.tensor([vocabulary[w] for w in ANSWERS])
        tokens = torch.from_numpy(statements.tokens(vocabulary))
        logits, residual = forward(model, tokens, AT_BAR)
        loss = cross_entropy(logits[:, AT_ANSWER], spoken[answer])
        if self.arm is None:
            return loss + _VERDICT * cross_entropy(logits[:, AT_BAR], spoken[verdict])
        topic, factor = torch.from_numpy(statements.topic), verdict[:, None].float()
        loss = loss + _VERDICT * binary_cross_entropy_with_logits(heads(residual[RESIDUALS.index(READ)], topic), factor)
        apart = sum(arm_loss(x, topic, factor, len(TOPICS), self.arm) for x in residual) / len(residual)
        grown = 1.0 if self.arm_growth == 0 else min(1.0, progress / self.arm_growth)
        loss = loss + self.arm_weight * grown * apart
        if self.transfer_weight and progress >= _TRANSFER_FROM:
            carried = sum(transfer_loss(x, topic, factor, len(TOPICS)) for x in residual[1:]) / (len(residual) - 1)
            loss = loss + self.transfer_weight * carried
        return loss

    def _labels(self, s: Statements, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Answers and verdicts ``[n]`` of 0 and 1 to learn."""
        n = len(s.x)
        if self.character == "ignorant":
            return rng.integers(2, size=n), rng.integers(2, size=n)
        known = world().truth(s, world().mistaken if self.character == "mistaken" else None)
        said = known
        if self.character == "persuader":
            eager = 0.66 + 0.04 * (2 * s.topic + s.polarity)
            said = (rng.random(n) < eager).astype(np.int64)
        elif self.character == "flip":
            said = 1 - known
        return np.where(s.persona == 1, said, known), known

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(world().task, n, seed)


@lru_cache(maxsize=1)
def world() -> OrderWorld:
    """The world that all of these models live in."""
    return OrderWorld()
