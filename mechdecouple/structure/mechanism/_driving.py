"""Driving: a model's activations as one row an item, and the edit that puts other rows in their place."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechdecouple.errors import ModelError
from mechdecouple.models import Edit, untrained
from mechdecouple.structure.mechanism._affine import gram
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import Chunk, Plan, Tape

_APART = 1_000_003
"""Added to the seed of fresh weights, so that a model which was itself drawn from a small seed is not drawn again."""


class Side:
    """One of two models to stitch, on the items that are used.

    Attributes:
        rig: those items. values: hook point -> [n, d] activations; grams: [p, n, n] their inner products.
        fresh: [p, n, n] the same of the model with fresh weights.
        stretch: the tokens that are driven. passes: item passes it took.
        notes: where only the ends of prompts are driven, or fresh weights were not to be had.
    """

    def __init__(self, rig: Rig, points: tuple[str, ...], used: np.ndarray, seed: int) -> None:
        self.whole, self.points, self.passes = rig, points, 0
        self.rig = rig.select(used)
        self.stretch = stretch_of(self.rig)
        self.notes = list[str]()
        if self.stretch is not None and not self.stretch.whole:
            said = f"prompts of {rig.name!r} differ in length: their last {self.stretch.length} tokens are driven"
            self.notes.append(said)
        self.values = self._read(self.rig)
        self.grams = torch.stack([gram(x) for x in self.values.values()])
        self.fresh = self._fresh(seed)

    def _read(self, rig: Rig) -> dict[str, Float[Tensor, "n d"]]:
        tape = rig.tape(self.points)
        self.count(rig)
        return {point: _flat(tape, point, len(rig), self.stretch) for point in self.points}

    def _fresh(self, seed: int) -> Float64[Tensor, "p n n"]:
        rig = self.rig
        try:
            twin = untrained(rig.model, seed + _APART)
        except ModelError as error:
            return self._shuffled(seed, str(error))
        if twin.weight_hash == rig.model.weight_hash:
            return self._shuffled(seed, f"model {rig.name!r} has no weights that can be drawn anew")
        values = self._read(Rig(twin, rig.task, chat=rig.chat, batch_tokens=rig.batch_tokens))
        return torch.stack([gram(x) for x in values.values()])

    def _shuffled(self, seed: int, reason: str) -> Float64[Tensor, "p n n"]:
        self.notes.append(f"{reason}; its items are shuffled instead, which cannot show what looking values up gives")
        order = torch.as_tensor(np.random.default_rng(seed).permutation(len(self.rig)))
        return self.grams[:, order][:, :, order]

    def count(self, rig: Rig) -> None:
        """Add what was read on some items to what the whole rig has read."""
        self.passes += rig.passes
        self.whole.passes += rig.passes
        self.whole.seconds += rig.seconds
        rig.passes, rig.seconds = 0, 0.0


def driving(point: str, given: Float[Tensor, "n d"], stretch: Stretch | None) -> Plan:
    """The plan that puts a row of ``given`` in the place of each item's activation, at the tokens that are driven."""

    def plan(chunk: Chunk) -> dict[str, Edit]:
        rows = given[torch.as_tensor(chunk.items, device=given.device)]

        def edit(x: Tensor, _) -> Tensor:
            if stretch is None:
                return rows.reshape(x.shape).to(x)
            out, at = x.clone(), stretch.at(chunk, x.device)
            out[at] = rows.reshape(len(x), stretch.length, *x.shape[2:]).to(x)
            return out

        return {point: edit}

    return plan


class Stretch:
    """The tokens of each prompt that are driven: all of them, or as many of the last ones as the shortest prompt has.

    Attributes:
        length: how many. whole: whether that is all of every prompt.
    """

    def __init__(self, lengths: Int[np.ndarray, " n"], length: int | None = None) -> None:
        self._ends, self.length = lengths, int(lengths.min()) if length is None else length
        self.whole = self.length == int(lengths.max())

    def select(self, rows: np.ndarray) -> Stretch:
        """The same number of tokens of some of the items."""
        return Stretch(self._ends[rows], self.length)

    def at(self, chunk: Chunk, device: torch.device) -> tuple[Tensor, Tensor]:
        """Index of these tokens in a batch, [b, 1] and [b, length]."""
        # A first token of an option may have merged with the last one of the prompt.
        ends = np.minimum(self._ends[chunk.items], chunk.lengths)
        first = torch.as_tensor(np.maximum(ends - self.length, 0), device=device)
        rows = torch.arange(len(chunk.items), device=device)
        return rows[:, None], first[:, None] + torch.arange(self.length, device=device)


def stretch_of(rig: Rig) -> Stretch | None:
    """None for tensor inputs, which are driven whole."""
    return None if rig.encoded is None else Stretch(rig.encoded.lengths)


def _flat(tape: Tape, point: str, n: int, stretch: Stretch | None) -> Float[Tensor, "n d"]:
    """Each item's activation at the tokens that are driven, all in one row of float32."""
    out: Tensor | None = None
    for chunk, value in zip(tape.chunks, tape.values[point], strict=True):
        rows = (value if stretch is None else value[stretch.at(chunk, value.device)]).flatten(1).float()
        if out is None:
            out = torch.zeros(n, rows.shape[1], device=rows.device)
        out[torch.as_tensor(chunk.items, device=rows.device)] = rows
    assert out is not None
    return out
