"""Tape: what passed some hook points while a model read its items, and what may be put in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mechdecouple.models import Batch, Edit

Ablation = Literal["zero", "mean", "resample"]
ABLATIONS: tuple[Ablation, ...] = ("zero", "mean", "resample")


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """One batch of a reading; every reading of a rig has the same ones in the same order.

    Attributes:
        number: its place in the reading.
        items: [b] item of each row; an item fills several rows where its options have several tokens.
        lengths: [b] real tokens of each row; all 1 for tensor inputs.
    """

    number: int
    batch: Batch
    items: Int[np.ndarray, " b"]
    lengths: Int[np.ndarray, " b"]


Plan = Callable[[Chunk], Mapping[str, Edit]]
"""The edits of a batch."""
PATTERNS = (".hook_pattern", ".hook_attn_scores")
"""Hook points that hold pairs of tokens."""


class Tape:
    """Activations at some hook points for every batch of a reading, padding included.

    Args:
        values: hook point -> the activation of each batch in turn, [b, t, ...] or, for tensor inputs, [b, ...].
    """

    def __init__(self, chunks: Sequence[Chunk], values: Mapping[str, Sequence[Tensor]]) -> None:
        self.chunks, self.values = tuple(chunks), {point: tuple(parts) for point, parts in values.items()}
        self._made: dict[tuple[str, Ablation, int], tuple[Tensor, ...]] = {}

    def clean(self, hook_point: str, number: int) -> Tensor:
        """What passed in one batch."""
        return self.values[hook_point][number]

    def reference(self, hook_point: str, kind: Ablation, number: int, seed: int = 0) -> Tensor:
        """What an ablation puts in the place of `clean`, of its shape.

        ``mean``: the mean at each position over the rows of the same length. ``resample``: what another item of that
        length had, each item's used once. A row without another of its length keeps its own: see `alone`.
        """
        key = (hook_point, kind, seed)
        if key not in self._made:
            parts = self.values[hook_point]
            if kind == "zero":
                self._made[key] = tuple(torch.zeros_like(x) for x in parts)
            else:
                self._made[key] = self._replaced(hook_point, kind, seed)
        return self._made[key][number]

    @property
    def alone(self) -> float:
        """Share of rows that no other row has the length of, which mean and resample ablation leave as they are."""
        lengths = np.concatenate([c.lengths for c in self.chunks])
        _, index, counts = np.unique(lengths, return_inverse=True, return_counts=True)
        return float((counts[index] == 1).mean())

    def _replaced(self, hook_point: str, kind: Ablation, seed: int) -> tuple[Tensor, ...]:
        parts, pattern = self.values[hook_point], hook_point.endswith(PATTERNS)
        out = [x.clone() for x in parts]
        where = [(c.number, row) for c in self.chunks for row in range(len(c.items))]
        lengths = np.concatenate([c.lengths for c in self.chunks])
        items = np.concatenate([c.items for c in self.chunks])
        tokens = self.chunks[0].batch.tokens is not None
        rng = np.random.default_rng(seed)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            if len(rows) == 1:
                continue
            real = _real(int(length), pattern) if tokens else ...
            stacked = torch.stack([parts[where[r][0]][where[r][1]][real] for r in rows])
            if kind == "mean":
                given = stacked.double().mean(dim=0).to(stacked.dtype).expand_as(stacked)
            else:
                given = stacked[torch.as_tensor(donors(items[rows], rng))]
            for value, r in zip(given, rows, strict=True):
                number, row = where[r]
                out[number][row][real] = value
        return tuple(out)


def donors(items: Int[np.ndarray, " r"], rng: np.random.Generator) -> Int[np.ndarray, " r"]:
    """For each of r rows another to take from, each used once: of another item wherever no item fills half the rows."""
    _, item, counts = np.unique(items, return_inverse=True, return_counts=True)
    order = np.argsort(rng.permutation(len(counts))[item], kind="stable")
    out = np.empty_like(order)
    out[order] = np.roll(order, -(int(counts.max()) % len(items) or 1))
    return out


def _real(length: int, pattern: bool) -> Any:
    """Index of the real positions of one row: [t, ...] of the stream, [h, t, t] of a pattern."""
    return (slice(None), slice(length), slice(length)) if pattern else slice(length)
