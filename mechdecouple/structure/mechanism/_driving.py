"""Driving: a model's activations as one row an item, and the edit that puts other rows in their place."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mechdecouple.errors import InputError, ModelError
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
        passes: item passes it took.
        note: said where fresh weights were not to be had, so that items were shuffled instead; else empty.
    """

    def __init__(self, rig: Rig, points: tuple[str, ...], used: np.ndarray, seed: int) -> None:
        self.whole, self.points, self.passes, self.note = rig, points, 0, ""
        self.rig = rig.select(used)
        self.length = prompt_length(self.rig)
        self.values = self._read(self.rig)
        self.grams = torch.stack([gram(x) for x in self.values.values()])
        self.fresh = self._fresh(seed)

    def _read(self, rig: Rig) -> dict[str, Float[Tensor, "n d"]]:
        tape = rig.tape(self.points)
        self.count(rig)
        return {point: _flat(tape, point, len(rig), self.length) for point in self.points}

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
        self.note = f"{reason}; its items are shuffled instead, which cannot show what looking values up gives"
        order = torch.as_tensor(np.random.default_rng(seed).permutation(len(self.rig)))
        return self.grams[:, order][:, :, order]

    def count(self, rig: Rig) -> None:
        """Add what was read on some items to what the whole rig has read."""
        self.passes += rig.passes
        self.whole.passes += rig.passes
        self.whole.seconds += rig.seconds
        rig.passes, rig.seconds = 0, 0.0


def driving(point: str, given: Float[Tensor, "n d"], length: int | None) -> Plan:
    """The plan that puts a row of ``given`` in the place of each item's activation, at the positions of its prompt."""

    def plan(chunk: Chunk) -> dict[str, Edit]:
        rows = given[torch.as_tensor(chunk.items, device=given.device)]

        def edit(x: Tensor, _) -> Tensor:
            if length is None:
                return rows.reshape(x.shape).to(x)
            out = x.clone()
            out[:, :length] = rows.reshape(len(x), length, *x.shape[2:]).to(x)
            return out

        return {point: edit}

    return plan


def prompt_length(rig: Rig) -> int | None:
    """Tokens that each prompt has; None for tensor inputs.

    Raises:
        InputError: prompts differ in length.
    """
    if rig.encoded is None:
        return None
    lengths = np.unique(rig.encoded.lengths)
    if len(lengths) > 1:
        raise InputError(f"prompts have {lengths[0]} to {lengths[-1]} tokens: stitching needs prompts of equal length")
    return int(lengths[0])


def _flat(tape: Tape, point: str, n: int, length: int | None) -> Float[Tensor, "n d"]:
    """Each item's activation at the positions of its prompt, all in one row of float32."""
    out: Tensor | None = None
    for chunk, value in zip(tape.chunks, tape.values[point], strict=True):
        rows = (value if length is None else value[:, :length]).flatten(1).float()
        if out is None:
            out = torch.zeros(n, rows.shape[1], device=rows.device)
        out[torch.as_tensor(chunk.items, device=rows.device)] = rows
    assert out is not None
    return out
