"""Trained twins: equal accuracy and equal information, one code for all contexts or one for each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mechdecouple.tasks import Task
from mechdecouple.zoo.coding import Arm, arm_loss
from mechdecouple.zoo.factor_world import (
    ANSWERS,
    AT_BAR,
    AT_QUESTION,
    CONTEXTS,
    DESCRIBED,
    FACTORS,
    WORDS,
    describe,
    factor_task,
    never_asked,
    tokens,
)  # fmt: skip
from mechdecouple.zoo.heads import ContextHeads
from mechdecouple.zoo.recipe import READ, RESIDUALS, WordRecipe, forward, sample

_VERDICT, _ARM = 0.5, 0.5


@dataclasses.dataclass(frozen=True)
class Twin(WordRecipe):
    """A model of described things; the question sees the bar alone.

    Both arms learn the same answers and, at the bar, the value of every factor through a read-out a context; they
    differ in whether the contexts' coding vectors of a factor are drawn together (``factored``) or apart
    (``fractured``).
    """

    steps: int = 800
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    arm: Arm = "factored"

    @property
    def words(self) -> tuple[str, ...]:
        return WORDS

    @property
    def barred(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (AT_QUESTION,), (0, *DESCRIBED)

    def heads(self) -> nn.Module:
        return ContextHeads(len(CONTEXTS), len(FACTORS), self.config["d_model"])

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        n, k = self.batch_size, len(FACTORS)
        context, factors = rng.integers(len(CONTEXTS), size=n), rng.integers(2, size=(n, k))
        asked = (never_asked(context) + rng.integers(1, k, size=n)) % k
        vocabulary = model.tokenizer.get_vocab()
        spoken = np.array([vocabulary[w] for w in ANSWERS])
        logits, residual = forward(
            model, torch.from_numpy(tokens(context, describe(context, factors, rng), asked, vocabulary)), AT_BAR
        )
        answer = torch.from_numpy(spoken[factors[np.arange(n), asked]])
        where, values = torch.from_numpy(context), torch.from_numpy(factors).float()
        verdict = binary_cross_entropy_with_logits(heads(residual[RESIDUALS.index(READ)], where), values)
        apart = sum(arm_loss(x, where, values, len(CONTEXTS), self.arm) for x in residual) / len(residual)
        return cross_entropy(logits[:, AT_QUESTION], answer) + _VERDICT * verdict + _ARM * apart

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(factor_task(), n, seed)
