"""Recipe: a small model that can be trained anywhere, with the task on which its right answer is known."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mechdecouple.models import build
from mechdecouple.progress import bar as progress_bar
from mechdecouple.tasks import Task
from mechdecouple.zoo.bottleneck import bar
from mechdecouple.zoo.words import word_tokenizer

N_LAYERS = 3
RESIDUALS = tuple(f"blocks.{i}.hook_resid_post" for i in range(N_LAYERS))
READ = RESIDUALS[1]
"""The deepest hook point at the end of a statement that a later position still reads."""


@dataclasses.dataclass(frozen=True)
class Recipe(ABC):
    """How one model of the zoo is trained.

    Attributes:
        name, description: as in ``mechdecouple zoo list``.
        steps, batch_size, learning_rate, weight_decay: of AdamW, with a short warm-up and a cosine decay to 2 %.
    """

    name: str
    description: str
    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What the model is built from: fields of the ``HookedTransformerConfig``, or sizes of a plain module."""

    @abstractmethod
    def blank(self, seed: int = 0) -> Any:
        """The model before training, with what is held in it."""

    def hold(self, model: Any) -> None:
        """Write again, after each step of the optimiser, what training must not move."""
        return

    def heads(self) -> nn.Module:
        """Auxiliary read-outs trained along with the model and thrown away (may have no parameters)."""
        return nn.Identity()

    @abstractmethod
    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        """Loss on a batch of its own, ``progress`` (0 … 1) of the way through the training."""

    @abstractmethod
    def task(self, n: int | None = None, seed: int = 0) -> Task:
        """The items it is judged on: all of them, or a seeded sample of ``n``."""

    def train(self, seed: int = 0, progress: bool = True) -> Any:
        """The trained model: the same weights for the same seed, machine and versions."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return self._train(seed, progress)
        finally:
            torch.set_num_threads(threads)

    def _train(self, seed: int, progress: bool) -> Any:
        model, heads, rng = self.blank(seed).train(), self.heads(), np.random.default_rng(seed)
        optimiser = torch.optim.AdamW(
            [*model.parameters(), *heads.parameters()], lr=self.learning_rate, weight_decay=self.weight_decay,
            betas=(0.9, 0.98), fused=True
        )  # fmt: skip
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._pace)
        with (
            torch.enable_grad(),
            progress_bar(range(self.steps), progress=progress, desc=f"train {self.name}", unit="step") as steps,
        ):
            for step in steps:
                loss = self.loss(model, heads, step / self.steps, rng)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                self.hold(model)
        round_half(model)
        return model.eval()

    def _pace(self, step: int) -> float:
        return min(1.0, (step + 1) / 50) * max(0.02, 0.5 * (1 + float(np.cos(np.pi * step / self.steps))))


@dataclasses.dataclass(frozen=True)
class WordRecipe(Recipe):
    """A small transformer with LayerNorm that reads prompts of whole words, some positions barred from others."""

    @property
    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """The vocabulary."""

    @property
    def barred(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Positions that cannot attend, and those they cannot attend to: none."""
        return (), ()

    @property
    def length(self) -> int:
        """Tokens of the longest prompt."""
        return 8

    @property
    def config(self) -> dict[str, Any]:
        """Fields of the ``HookedTransformerConfig``."""
        return {
            "n_layers": N_LAYERS, "d_model": 64, "n_heads": 4, "d_head": 16, "d_mlp": 128, "n_ctx": self.length,
            "d_vocab": len(self.tokenizer()), "act_fn": "relu", "normalization_type": "LN",
            "positional_embedding_type": "shortformer", "model_name": self.name,
        }  # fmt: skip

    def tokenizer(self) -> Any:
        return word_tokenizer(self.words, length=self.length)

    def blank(self, seed: int = 0) -> Any:
        """The HookedTransformer before training, bottleneck included."""
        model = build(self.config, seed=seed, tokenizer=self.tokenizer())
        bar(model, *self.barred)
        return model

    def hold(self, model: Any) -> None:
        bar(model, *self.barred)


def forward(model: Any, tokens: Tensor, position: int) -> tuple[Tensor, list[Tensor]]:
    """Logits ``[n, t, v]`` and the residual stream ``[n, d]`` at one position after each layer, with gradients."""
    found: dict[str, Tensor] = {}

    def keep(x: Tensor, hook: Any) -> None:
        found[hook.name] = x[:, position]

    logits = model.run_with_hooks(tokens, fwd_hooks=[(name, keep) for name in RESIDUALS])
    return logits, [found[name] for name in RESIDUALS]


def round_half(model: Any) -> None:
    """Round all parameters to what float16 can hold, in place: what is stored is then what was trained."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().to(parameter.dtype))


def sample(task: Task, n: int | None, seed: int) -> Task:
    """``n`` items drawn without replacement, in the task's order; all of them where ``n`` is None or not smaller."""
    if n is None or n >= len(task):
        return task
    return task.select(np.sort(np.random.default_rng(seed).choice(len(task), n, replace=False)))
