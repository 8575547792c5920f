"""One task and the same variables by several routes: MLPs forced through or around their hidden layer, transformers
under attention masks that leave one way from the symbols to the answer.

Each of 27 symbols is worth 0, 1 or 2 red and as many blue points; the answer to two symbols is the total of each
colour, one of 25 options. The readout is never trained: it takes two numbers, from two directions drawn by the seed,
and the logits to learn are those it gives for the two totals. So whatever the route, red and blue totals arrive.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from mechdecouple.models import build
from mechdecouple.tasks import Task
from mechdecouple.zoo._pairs import fitted
from mechdecouple.zoo.recipe import Recipe, sample

V, OPTIONS = 27, 25
"""Symbols, and totals (red, blue) as options."""
RELAY, ASK = V, V + 1
"""Tokens behind the two symbols: a place to carry information through, and the place of the answer."""

_WORLD_SEED, _SHARPNESS = 5000, 4.0
_POINTS = np.stack(np.divmod(np.random.default_rng(_WORLD_SEED).permutation(V) % 9, 3), axis=1)
"""[27, 2] red and blue points of each symbol; three symbols have the same."""

Way = Literal["through", "around"]
Path = Literal["direct", "early", "relay"]
_READS: dict[Path, tuple[int, int]] = {"direct": (1, 3), "early": (0, 3), "relay": (0, 2)}
"""Layer and position (2: relay, 3: ask) at which the symbols are read; all else sees the relay token alone."""


def totals() -> Float[np.ndarray, "27 27 2"]:
    """Red and blue total of each pair of symbols."""
    return (_POINTS[:, None] + _POINTS).astype(np.float64)


@lru_cache(maxsize=4)
def points_task(n: int | None = None, seed: int = 0, tensors: bool = False) -> Task:
    """All 729 pairs of symbols, as tokens or as one-hot inputs [n, 54].

    The concepts are the symbols (a, b), the points of each (red_a, …) and the totals (red, blue).
    """
    a, b = (x.ravel() for x in np.indices((V, V)))
    red, blue = totals().reshape(-1, 2).astype(int).T
    answer = 5 * red + blue
    frame = pd.DataFrame({"id": [f"p{x:02d}+{y:02d}" for x, y in zip(a, b, strict=True)], "answer": answer})
    if not tensors:
        fixed = np.broadcast_to((RELAY, ASK), (len(a), 2))
        frame["tokens"] = np.column_stack([a, b, fixed]).tolist()
        frame["choices"] = [[str(c) for c in range(OPTIONS)]] * len(a)
        frame["answer"] = answer.astype(str)
    values = {"a": a, "b": b, "red": red, "blue": blue}
    for which, symbol in (("a", a), ("b", b)):
        values |= {f"red_{which}": _POINTS[symbol, 0], f"blue_{which}": _POINTS[symbol, 1]}
    frame = frame.assign(**{f"concept_{key}": column for key, column in values.items()})
    if not tensors:
        return sample(Task.from_frame(frame, name="points of two symbols"), n, seed)
    inputs = np.concatenate([np.eye(V)[a], np.eye(V)[b]], axis=1)
    return sample(Task.from_frame(frame, name="points of two symbols", performance="class", inputs=inputs), n, seed)


def readout(width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weight [width, 25] and bias [25] that give an option the less, the further it lies from the totals that they
    take from two orthonormal directions."""
    rng = np.random.default_rng([_WORLD_SEED, seed])
    directions = np.linalg.qr(rng.normal(size=(width, 2)))[0]
    weight, bias = _reading()
    return torch.tensor(_SHARPNESS * directions @ weight).float(), torch.tensor(_SHARPNESS * bias).float()


def _reading() -> tuple[Float[np.ndarray, "2 25"], Float[np.ndarray, " 25"]]:
    """From totals to what is half the squared distance to an option's, less what all options share."""
    options = np.stack(np.divmod(np.arange(OPTIONS), 5), axis=1)
    return options.T.astype(np.float64), -np.square(options).sum(axis=1) / 2


class Routed(nn.Module):
    """``[n, 54]`` two one-hot symbols to ``[n, 25]`` logits, through a hidden layer or around it.

    Hook points: ``embed``, ``hidden``, ``act``, ``out`` (the way through), ``skip`` (the way around), ``stream`` (where
    they meet) and ``readout``. The way that is shut is multiplied by zero, in training and ever after.

    Args:
        way: the one that is open; d_model, d_hidden: widths.
    """

    def __init__(self, way: Way, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.way: Way = way
        self.embed = nn.Linear(2 * V, d_model, bias=False)
        self.hidden, self.act, self.out = nn.Linear(d_model, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_model)
        self.skip = nn.Linear(d_model, d_model)
        self.stream = Sum()
        self.readout = nn.Linear(d_model, OPTIONS)

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.embed(x)
        through, around = self.out(self.act(self.hidden(embedded))), self.skip(embedded)
        return self.readout(self.stream(through * float(self.way == "through"), around * float(self.way == "around")))


class Sum(nn.Module):
    """The sum of two tensors, as a place of its own."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@dataclasses.dataclass(frozen=True)
class WayRecipe(Recipe):
    """An MLP with one way open."""

    steps: int = 400
    learning_rate: float = 1e-2
    way: Way = "through"

    @property
    def config(self) -> dict[str, Any]:
        return {"way": self.way, "d_model": 24, "d_hidden": 48}

    def blank(self, seed: int = 0) -> Routed:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Routed(**self.config)
        _hold_readout(model.readout.weight, model.readout.bias, seed, transposed=True)
        return model.eval()

    def loss(self, model: Any, heads: Any, progress: float, rng: np.random.Generator) -> Tensor:
        a, b, aims = _aims()
        inputs = torch.from_numpy(np.concatenate([np.eye(V)[a], np.eye(V)[b]], axis=1)).float()
        return mse_loss(model(inputs) / _SHARPNESS, aims)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return points_task(n, seed, tensors=True)


@dataclasses.dataclass(frozen=True)
class PathRecipe(Recipe):
    """A transformer of two layers of attention alone, uniform over what a mask lets through: one path."""

    steps: int = 400
    learning_rate: float = 1e-2
    path: Path = "direct"

    @property
    def config(self) -> dict[str, Any]:
        return {
            "n_layers": 2, "d_model": 32, "n_heads": 2, "d_head": 16, "n_ctx": 4, "d_vocab": V + 2,
            "d_vocab_out": OPTIONS, "attn_only": True, "normalization_type": None, "attention_dir": "bidirectional",
            "model_name": self.name,
        }  # fmt: skip

    def blank(self, seed: int = 0) -> Any:
        model = build(self.config, seed=seed)
        _hold_readout(model.unembed.W_U, model.unembed.b_U, seed)
        for block, seen in zip(model.blocks, mask(self.path), strict=True):
            show_only(block.attn, seen)
        self.hold(model)
        return model

    @torch.no_grad()
    def hold(self, model: Any) -> None:
        for block in model.blocks:
            for parameter in (block.attn.W_Q, block.attn.b_Q):
                parameter.zero_()

    def loss(self, model: Any, heads: Any, progress: float, rng: np.random.Generator) -> Tensor:
        a, b, aims = _aims()
        tokens = torch.from_numpy(np.column_stack([a, b, np.full_like(a, RELAY), np.full_like(a, ASK)]))
        return mse_loss(model(tokens)[:, -1] / _SHARPNESS, aims)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return points_task(n, seed)


def mask(path: Path) -> Bool[np.ndarray, "layers 4 4"]:
    """Which position [query] sees which [key] in each layer of a path."""
    seen = np.zeros((2, 4, 4), dtype=bool)
    seen[:, :, 2] = True
    layer, reader = _READS[path]
    seen[layer, reader] = (True, True, False, False)
    return seen


def show_only(attention: Any, seen: Bool[np.ndarray, "q k"]) -> None:
    """Keep an attention layer of a HookedTransformer from seeing anything else, for good."""
    hidden = torch.from_numpy(~seen)

    def cover(scores: Tensor, *, hook: Any) -> Tensor:
        here = hidden[: scores.shape[-2], : scores.shape[-1]]
        return scores.masked_fill(here.to(scores.device), -torch.inf)

    attention.hook_attn_scores.add_perma_hook(cover)
    attention.seen = seen


def _hold_readout(weight: Tensor, bias: Tensor, seed: int, transposed: bool = False) -> None:
    width = weight.shape[1] if transposed else weight.shape[0]
    given, constant = readout(width, seed)
    with torch.no_grad():
        weight.copy_(given.T if transposed else given)
        bias.copy_(constant)
    weight.requires_grad_(False)
    bias.requires_grad_(False)


@lru_cache(maxsize=1)
def _aims() -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[Tensor, "n 25"]]:
    """The pairs trained on, and their logits in units of the sharpness."""
    a, b = np.nonzero(fitted(V))
    weight, bias = _reading()
    return a, b, torch.tensor(totals()[a, b] @ weight + bias).float()
