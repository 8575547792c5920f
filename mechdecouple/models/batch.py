"""What goes into a forward pass and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from mechdecouple.errors import ModelError


@dataclasses.dataclass
class Batch:
    """One batch of items.

    Attributes:
        tokens: ``[b, t]`` int64 token ids, padded on the right; None for tensor inputs.
        mask: ``[b, t]`` bool, True on real tokens; None for tensor inputs.
        array: ``[b, ...]`` float inputs of a plain module; None for token models.
    """

    tokens: Tensor | None = None
    mask: Tensor | None = None
    array: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.array is None):
            raise ModelError("a Batch holds either tokens or array: give exactly one of the two")
        if self.tokens is not None and self.mask is None:
            self.mask = torch.ones_like(self.tokens, dtype=torch.bool)

    def __len__(self) -> int:
        given = self.array if self.tokens is None else self.tokens
        assert given is not None
        return len(given)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        batch = Batch(*(x if x is None else moved(x, device) for x in (self.tokens, self.mask, self.array)))
        # Known from here on: to ask the device would be to wait until it has done all that was asked of it before.
        batch.__dict__["padded"] = self.padded
        return batch

    @cached_property
    def padded(self) -> bool:
        """Whether any position is padding; looked at once."""
        return self.mask is not None and not bool(self.mask.all())


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device; from the CPU to CUDA it goes through pinned memory, and nothing waits for it."""
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


Edit = Callable[[Tensor, Batch], Tensor]


@dataclasses.dataclass
class Forward:
    """What one forward pass gave.

    Attributes:
        activations: per captured hook point ``[b, t, d]`` (token models; heads and patterns keep their own trailing
            dimensions) or ``[b, ...]`` (plain modules). Where the hook point was edited too, the values after the edit.
        logits: ``[b, t, v]`` (token models) or ``[b, c]`` (plain modules); None where not asked for or without a head.
    """

    activations: dict[str, Tensor]
    logits: Tensor | None = None
