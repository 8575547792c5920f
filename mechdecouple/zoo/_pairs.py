"""Pairs of symbols and what they make: the one-layer transformer without LayerNorm that learns a table, and its task.

A prompt is two tokens, a and b, and the answer at the second is the entry of the table.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mechdecouple.models import build
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import Recipe, sample

_HELD_OUT, _SPLIT_SEED = 0.2, 4000


@dataclasses.dataclass(frozen=True)
class PairRecipe(Recipe):
    """A one-layer transformer (4 heads, ReLU, both tokens see each other) that learns a table.

    Attributes:
        uniform: attention is held uniform, by queries held at zero: no head can choose where to look.
        span: names of the functions of the answer that the logits may be made of; empty for all. The unembedding is
            kept in their span.
        d_model, d_mlp: widths.
    """

    steps: int = 1500
    weight_decay: float = 2.0
    uniform: bool = False
    span: tuple[int | str, ...] = ()
    d_model: int = 96
    d_mlp: int = 96

    @property
    @abstractmethod
    def table(self) -> Int[np.ndarray, "v v"]:
        """The answer to each pair."""

    @abstractmethod
    def functions(self) -> Float[np.ndarray, "v k"]:
        """Orthonormal functions of the answer that `span` names."""

    @property
    def fitted(self) -> Bool[np.ndarray, "v v"]:
        """Which pairs are trained on."""
        return fitted(len(self.table))

    @property
    def config(self) -> dict[str, Any]:
        v = len(self.table)
        return {
            "n_layers": 1, "d_model": self.d_model, "n_heads": 4, "d_head": self.d_model // 4, "d_mlp": self.d_mlp,
            "n_ctx": 2, "d_vocab": v, "d_vocab_out": v, "act_fn": "relu", "normalization_type": None,
            "attention_dir": "bidirectional", "model_name": self.name,
        }  # fmt: skip

    def blank(self, seed: int = 0) -> Any:
        model = build(self.config, seed=seed)
        self.hold(model)
        return model

    @torch.no_grad()
    def hold(self, model: Any) -> None:
        if self.uniform:
            for parameter in (model.blocks[0].attn.W_Q, model.blocks[0].attn.b_Q):
                parameter.zero_()
        if self.span:
            for parameter in (model.unembed.W_U, model.unembed.b_U):
                parameter.copy_(parameter @ self.projection)

    @cached_property
    def projection(self) -> Float[Tensor, "v v"]:
        """Onto the functions that `span` names."""
        basis = torch.from_numpy(self.functions()).float()
        return basis @ basis.T

    def loss(self, model: Any, heads: Any, progress: float, rng: np.random.Generator) -> Tensor:
        a, b = np.nonzero(self.fitted)
        return cross_entropy(pair_logits(model)[a, b], torch.from_numpy(self.table[a, b]))


@lru_cache(maxsize=8)
def fitted(v: int) -> Bool[np.ndarray, "v v"]:
    """Four fifths of the pairs of v symbols, the same for every recipe and seed."""
    rank = np.random.default_rng(_SPLIT_SEED).permutation(v * v).reshape(v, v)
    return rank >= _HELD_OUT * v * v


def pair_logits(model: Any) -> Float[Tensor, "v v o"]:
    """The logits at the second token of every pair of symbols, with gradients.

    What depends on one token alone (queries, keys, what a head carries from it to the output) is computed once a
    token, and nothing for the first position: a fifth of the work of running the model.
    """
    attention, mlp = model.blocks[0].attn, model.blocks[0].mlp
    first, second = (model.embed.W_E + position for position in model.pos_embed.W_pos)

    def heads(x: Tensor, name: str) -> Tensor:
        return torch.einsum("vd,hdk->vhk", x, getattr(attention, f"W_{name}")) + getattr(attention, f"b_{name}")

    carried = [torch.einsum("vhk,hkd->vhd", heads(x, "V"), attention.W_O) for x in (first, second)]
    query, scale = heads(second, "Q") / model.cfg.d_head**0.5, "bhk,ahk->abh"
    to_first, to_second = torch.einsum(scale, query, heads(first, "K")), (query * heads(second, "K")).sum(-1)
    weight = torch.sigmoid(to_first - to_second)  # of the first token, [a, b, h]
    stream = second + attention.b_O + carried[1].sum(1) - torch.einsum("abh,bhd->abd", weight, carried[1])
    stream = stream + torch.einsum("abh,ahd->abd", weight, carried[0])
    stream = stream + torch.relu(stream @ mlp.W_in + mlp.b_in) @ mlp.W_out + mlp.b_out
    return stream @ model.unembed.W_U + model.unembed.b_U


def pair_task(table: Int[np.ndarray, "v v"], name: str, columns: dict[str, Any], n: int | None, seed: int) -> Task:
    """Every pair of a table, in order: tokens, answer and all symbols as options.

    Args:
        columns: further columns of the task, each [v, v].
    """
    v = len(table)
    a, b = (x.ravel() for x in np.indices(table.shape))
    frame = pd.DataFrame(
        {
            "id": [f"p{x:02d}+{y:02d}" for x, y in zip(a, b, strict=True)],
            "tokens": np.stack([a, b], axis=1).tolist(),
            "choices": [[str(c) for c in range(v)]] * v**2,
            "answer": table.ravel().astype(str),
            **{key: np.asarray(values).ravel() for key, values in columns.items()},
        }
    )
    return sample(Task.from_frame(frame, name=name), n, seed)
