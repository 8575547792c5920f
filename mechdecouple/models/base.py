"""HookedModel: one face for every kind of model."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.models.batch import Batch, Edit, Forward
from mechdecouple.models.hashing import hash_state, hash_tokenizer
from mechdecouple.models.recorder import EarlyStop, Recorder
from mechdecouple.models.weights import filter_axes, named_weights, replaced

Head = Literal["lm", "mlm", "class"] | None
Processing = Literal["none", "fold_ln"]


class HookedModel(ABC):
    """A model whose inner activations can be read and edited by name.

    Attributes:
        name: short name used in tables; ref: what it was loaded from (empty for objects).
        architecture: class name of the model, e.g. ``"GPT2LMHeadModel"``.
        input_kind: ``"tokens"`` or ``"array"``.
        tokenizer: a Hugging Face tokenizer, or None; max_length: longest input in tokens, or None;
            vocab_size: token ids lie below it (None where unknown).
        head: what the output means: ``"lm"`` (next token), ``"mlm"`` (masked token), ``"class"``, or None where the
            model expresses nothing.
        processing: ``"none"`` or ``"fold_ln"`` (the gains of each normalisation folded into the weights that read it).
        hook_points: every name that can be captured or edited, in forward order.
        layer_points: the default ones: embedding and residual stream after each layer; for plain modules those that own
            parameters or are activation functions.
    """

    name: str
    ref: str = ""
    architecture: str
    input_kind: Literal["tokens", "array"]
    tokenizer: Any = None
    max_length: int | None = None
    vocab_size: int | None = None
    head: Head = None
    processing: Processing = "none"
    hook_points: tuple[str, ...]
    layer_points: tuple[str, ...]

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The module that holds the weights as loaded."""

    @abstractmethod
    def _run(self, batch: Batch, recorder: Recorder, logits: bool) -> Tensor | None:
        """Run the model, calling ``recorder`` at each of ``recorder.names``; logits where asked for."""

    @abstractmethod
    def _width(self, hook_point: str) -> int:
        """`width` of a known hook point."""

    # -- running ------------------------------------------------------------------------------------------------------

    def forward(
        self,
        batch: Batch,
        *,
        capture: Sequence[str] = (),
        edits: Mapping[str, Edit] | None = None,
        logits: bool = True,
    ) -> Forward:
        """Run one batch.

        With ``logits=False`` the pass ends right after the deepest captured hook point. ``edits`` maps a hook point to
        a function of ``(tensor, batch)`` returning the tensor to go on with; captured values are those after the edit.
        Gradients flow unless the caller switched them off.

        Raises:
            ModelError: unknown hook point, wrong kind of input, or logits asked of a model without a head.
        """
        self.check_hook_points([*capture, *(edits or ())])
        if (batch.tokens is None) != (self.input_kind == "array"):
            given = "an array" if batch.tokens is None else "tokens"
            raise ModelError(f"model {self.name!r} takes {self.input_kind}, not {given}")
        if logits and self.head is None and not capture:
            raise ModelError(f"model {self.name!r} ({self.architecture}) has no head: it gives no logits")
        logits = logits and self.head is not None
        if not logits and not capture:
            return Forward({})
        recorder = Recorder(batch.to(self.device), tuple(capture), edits or {}, stop=not logits)
        try:
            out = self._run(recorder.batch, recorder, logits)
        except EarlyStop:
            return Forward(recorder.activations)
        recorder.check_complete()
        return Forward(recorder.activations, out)

    def logits_with(self, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The logits that the model would give with these weights in the place of its own; gradients flow to them.

        Args:
            parameters: some or all of ``named_parameters``, by name.

        Raises:
            ModelError: unknown names, shapes that differ, a model without a head, or one whose weights cannot be
                replaced.
        """
        with replaced(self.module, parameters):
            logits = self.forward(batch).logits
        assert logits is not None
        return logits

    def check_hook_points(self, names: Iterable[str]) -> None:
        """Raise a `ModelError` that names the first unknown hook point and those spelled like it."""
        known = self._known
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, self.hook_points, n=3, cutoff=0.4)
                hint = (
                    f"did you mean {', '.join(close)}?" if close else f"it has e.g. {', '.join(self.layer_points[:3])}"
                )
                raise ModelError(f"model {self.name!r} has no hook point {name!r}: {hint}")

    def width(self, hook_point: str) -> int:
        """Features per token (heads flattened), or per item for plain modules (all but the batch dimension).

        Raises:
            ModelError: unknown hook point, or one that holds pairs of tokens (attention patterns) and has no features.
        """
        self.check_hook_points([hook_point])
        if hook_point.endswith((".hook_pattern", ".hook_attn_scores")):
            raise ModelError(f"hook point {hook_point!r} holds pairs of tokens, not features: choose another one")
        return self._width(hook_point)

    def depth(self, hook_point: str) -> float:
        """Fraction of the network that lies before the hook point, in [0, 1].

        Transformers: the embedding is 0, the residual stream after layer i of L is (i + 1) / L, points inside a layer
        lie in between by their order in the pass, and everything behind the last layer is 1. Plain modules:
        rank / (n - 1).
        """
        self.check_hook_points([hook_point])
        return self._depths[hook_point]

    def named_parameters(self) -> dict[str, Tensor]:
        """The floating-point weights by name, tied ones once."""
        return named_weights(self.module)

    def filter_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of each weight that number its filters, the weights into one output unit; see ``models.weights``."""
        return filter_axes(self.module)

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    @cached_property
    def n_params(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    @cached_property
    def weight_hash(self) -> str:
        """sha256 of the weights as loaded: names, shapes, dtypes and bytes, sorted by name."""
        return hash_state(self.module)

    @cached_property
    def tokenizer_hash(self) -> str:
        """sha256 of the tokenizer's full serialisation; empty without a tokenizer."""
        return hash_tokenizer(self.tokenizer)

    def provenance(self) -> dict[str, Any]:
        """What made this model's numbers, ready for JSON."""
        return {
            "name": self.name,
            "ref": self.ref,
            "architecture": self.architecture,
            "head": self.head,
            "processing": self.processing,
            "n_params": self.n_params,
            "weight_hash": self.weight_hash,
            "tokenizer_hash": self.tokenizer_hash,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "versions": {p: _version(p) for p in ("torch", "transformers", "transformer-lens")},
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.architecture}, {len(self.hook_points)} hook points>"

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.hook_points)

    @cached_property
    def _depths(self) -> dict[str, float]:
        if self.input_kind == "array":
            last = max(len(self.hook_points) - 1, 1)
            return {p: i / last for i, p in enumerate(self.hook_points)}
        return _layer_depths(self.hook_points)


def _layer_depths(hook_points: Sequence[str]) -> dict[str, float]:
    layer_of = {p: int(m[1]) for p in hook_points if (m := re.match(r"blocks\.(\d+)\.", p))}
    n_layers = 1 + max(layer_of.values(), default=-1)
    inner: dict[int, list[str]] = {}
    for point, layer in layer_of.items():
        inner.setdefault(layer, []).append(point)
    depths, behind = {}, False
    for point in hook_points:
        if point not in layer_of:
            depths[point] = 1.0 if behind else 0.0
            continue
        behind = True
        layer, name = layer_of[point], point.split(".", 2)[2]
        rank = {"hook_resid_pre": 0.0, "hook_in": 0.0, "hook_resid_post": 1.0, "hook_out": 1.0}.get(name)
        if rank is None:
            rank = (inner[layer].index(point) + 1) / (len(inner[layer]) + 1)
        depths[point] = (layer + rank) / n_layers
    return depths


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
