"""The hooks' side of a forward pass: apply edits, keep what is asked for, stop when all of it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mechdecouple.errors import ModelError
from mechdecouple.models.batch import Batch, Edit


class EarlyStop(BaseException):
    """Raised inside a hook once everything asked for is captured; never leaves `HookedModel.forward`."""


class Recorder:
    """Edits, stores, and stops one forward pass.

    Each kind of model calls ``recorder(name, tensor)`` at the hook points in ``names`` and goes on with the result.
    """

    def __init__(self, batch: Batch, capture: Sequence[str], edits: Mapping[str, Edit], stop: bool) -> None:
        self.batch, self.edits, self.stop = batch, edits, stop
        self.names = list(dict.fromkeys([*capture, *edits]))
        self.activations: dict[str, Tensor] = {}
        self._capture = frozenset(capture)
        self._seen: set[str] = set()

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        if name in self._seen:
            raise ModelError(
                f"hook point {name!r} runs more than once in a forward pass, so its name is ambiguous: "
                "give each use its own submodule, or leave it out"
            )
        self._seen.add(name)
        edit = self.edits.get(name)
        if edit is not None:
            edited = edit(tensor, self.batch)
            if edited.shape != tensor.shape:
                raise ModelError(
                    f"the edit at {name!r} returned shape {tuple(edited.shape)}; expected {tuple(tensor.shape)}: "
                    "an edit keeps the shape of what it is given"
                )
            tensor = edited.to(tensor.dtype)
        if name in self._capture:
            self.activations[name] = tensor
            if self.stop and len(self.activations) == len(self._capture):
                raise EarlyStop
        return tensor

    def check_complete(self) -> None:
        missing = [n for n in self.names if n not in self._seen]
        if missing:
            raise ModelError(f"hook point {missing[0]!r} was not reached in this forward pass: leave it out")
