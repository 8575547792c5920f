"""Transformers that read plants, dense or with most weights held at zero (weight-sparse transformers, 2511.13653)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses._glass_boxes.world import AGREES, ANSWERS, AT_ANSWER, LENGTH, WORDS, Plants, draw, plant_task, tokens
from mechdecouple.models import build
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import Recipe
from mechdecouple.zoo.words import word_tokenizer

N_LAYERS = 1
LAST = f"blocks.{N_LAYERS - 1}.hook_resid_post"
TRAINED = 12_000
"""Plants that a model is trained on, whatever kind it is."""
ANNEALED = 0.6
"""Share of the training over which weights are taken away."""


@dataclasses.dataclass(frozen=True)
class Reader(Recipe):
    """Says whether a plant thrives.

    Attributes:
        width: of the residual stream; heads have 16 dimensions, and there are twice as many neurons a layer.
        kept: share of each weight matrix that may differ from zero.
        drawn: seed of the plants that it is trained on.
    """

    width: int = 64
    kept: float = 1.0
    drawn: int = 0

    @property
    def config(self) -> dict[str, Any]:
        return {
            "n_layers": N_LAYERS, "d_model": self.width, "n_heads": max(1, self.width // 16), "d_head": 16,
            "d_mlp": 2 * self.width, "n_ctx": LENGTH, "d_vocab": len(self.tokenizer()), "act_fn": "relu",
            "normalization_type": "RMS", "positional_embedding_type": "standard",
            "model_name": self.name,
        }  # fmt: skip

    def tokenizer(self) -> Any:
        return word_tokenizer(WORDS, length=LENGTH)

    def blank(self, seed: int = 0) -> Any:
        return build(self.config, seed=seed, tokenizer=self.tokenizer())

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        """Cross-entropy of the two answers on plants of the training set, their words in new orders.

        Words that are no answer have no part in it: they would have the output's few weights.
        """
        sparsify(model, share_at(progress, self.kept))
        plants = training_plants(self.drawn)
        rows = rng.integers(len(plants), size=self.batch_size)
        chosen = Plants(plants.features[rows], plants.label[rows])
        logits = model(torch.from_numpy(tokens(chosen, vocabulary(), rng)))[:, AT_ANSWER]
        return cross_entropy(logits[:, spoken_tokens()], torch.from_numpy(chosen.label))

    def train(self, seed: int = 0, progress: bool = True) -> Any:
        """The trained model, its weights as sparse as they are to be."""
        model = super().train(seed, progress)
        sparsify(model, self.kept)
        return model

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        plants = draw(n or 1000, np.random.default_rng(seed), AGREES["train"], new=True)
        return plant_task({"test": plants}, seed=seed)


@lru_cache(maxsize=1)
def training_plants(seed: int) -> Plants:
    """The plants that every kind of model is trained on."""
    return draw(TRAINED, np.random.default_rng([7, seed]), AGREES["train"], new=False)


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Token ids of the words."""
    return Reader("", "").tokenizer().get_vocab()


def spoken_tokens() -> Tensor:
    """Token ids of the answers."""
    return torch.tensor([vocabulary()[word] for word in ANSWERS])


def share_at(progress: float, kept: float) -> float:
    """Share of the weights that are left so far into the training: falls evenly in its logarithm to ``kept``."""
    return kept ** min(1.0, progress / ANNEALED)


def weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weight matrices by name, biases and norms left out."""
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2].startswith("W_"):
            yield name, parameter


def sparsify(model: Any, kept: float) -> None:
    """Write zero into all but the share ``kept`` of each weight matrix that is largest in magnitude, in place."""
    if kept >= 1:
        return
    with torch.no_grad():
        for _, weight in weights(model):
            size = weight.abs().flatten()
            least = size.kthvalue(size.numel() - math.ceil(kept * size.numel()) + 1).values
            weight.mul_(weight.abs() >= least)


def nonzero(model: Any) -> int:
    """Weights that differ from zero."""
    return sum(int(weight.count_nonzero()) for _, weight in weights(model))
