"""Hugging Face transformers, decoders and encoders, run as they are with plain forward hooks."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.models.base import Head, HookedModel
from mechdecouple.models.batch import Batch
from mechdecouple.models.bridge import BridgeModel, build_bridge
from mechdecouple.models.components import Place, adapter_for, boundary_places, inner_names
from mechdecouple.models.recorder import Recorder


class HuggingFaceModel(HookedModel):
    """A Hugging Face model with hook points named as in TransformerLens.

    Hook points at module boundaries (residual stream, outputs of attention and MLP, normalisations) are read from the
    raw model by plain hooks, at the speed of the raw model. Those inside a component (``attn.hook_pattern``,
    ``mlp.hook_post``) run through a TransformerBridge around a copy of the model, made when first needed.
    """

    input_kind = "tokens"

    def __init__(
        self, model: Any, *, name: str, tokenizer: Any = None, ref: str = "", head: Head | str = "auto"
    ) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise ModelError(f"{type(model).__name__} is an encoder-decoder; expected a decoder or an encoder alone")
        self._module = model.eval()
        self.name, self.ref, self.architecture, self.tokenizer = name, ref, type(model).__name__, tokenizer
        self.head = head_of(model) if head == "auto" else head  # pyright: ignore
        self.max_length, self.vocab_size = _max_length(model.config, tokenizer), model.config.vocab_size
        self._accepts = frozenset(inspect.signature(model.forward).parameters)
        adapter = adapter_for(model)
        self._places = {p.name: p for p in boundary_places(model, adapter)}
        self._widths = self._trace()
        n_blocks = sum(p.endswith(".hook_resid_post") for p in self._widths)
        self.hook_points = _with_inner(tuple(self._widths), inner_names(adapter, n_blocks))
        post = [f"blocks.{i}.hook_resid_post" for i in range(n_blocks)]
        self.layer_points = tuple(p for p in ("blocks.0.hook_resid_pre", *post) if p in self._widths)

    @property
    def module(self) -> nn.Module:
        return self._module

    @cached_property
    def inner(self) -> BridgeModel:
        """The same model behind a TransformerBridge, for the hook points inside components."""
        return build_bridge(
            self._module, name=self.name, tokenizer=self.tokenizer, head=self.head, ref=self.ref, processing="none"
        )

    def _width(self, hook_point: str) -> int:
        return self._widths[hook_point] if hook_point in self._widths else self.inner.width(hook_point)

    def _run(self, batch: Batch, recorder: Recorder, logits: bool) -> Tensor | None:
        if any(n not in self._places for n in recorder.names):
            self.inner.check_hook_points(recorder.names)
            return self.inner._run(batch, recorder, logits)
        handles = [_attach(self._places[n], recorder) for n in recorder.names]
        try:
            return self._call(batch, logits)
        finally:
            for handle in handles:
                handle.remove()

    def _call(self, batch: Batch, logits: bool) -> Tensor | None:
        assert batch.mask is not None
        given: dict[str, Any] = {
            "input_ids": batch.tokens,
            "attention_mask": batch.mask.to(torch.long) if batch.padded else None,
        }
        if "use_cache" in self._accepts:
            given["use_cache"] = False
        out = self._module(**given)
        return out.logits if logits else None

    def _trace(self) -> dict[str, int]:
        """Width of every boundary that carries one tensor per token once a pass, in forward order."""
        widths: dict[str, int] = {}
        calls: dict[str, int] = {}

        def look(name: str, tensor: Tensor) -> Tensor:
            calls[name] = calls.get(name, 0) + 1
            if tensor.ndim == 3:
                widths.setdefault(name, tensor.shape[-1])
            return tensor

        handles = [_attach(p, look) for p in self._places.values()]
        try:
            with torch.no_grad():
                self._call(Batch(tokens=torch.zeros((1, 1), dtype=torch.long, device=self.device)), logits=False)
        finally:
            for handle in handles:
                handle.remove()
        return {n: w for n, w in widths.items() if calls[n] == 1}


def head_of(model: Any) -> Head:
    """What the model's logits mean, by the auto class that lists it; None where it has no language-modelling head."""
    from transformers.models.auto import modeling_auto as auto

    name = type(model).__name__
    if name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return "lm"
    if name in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
        return "mlm"
    return None


def _attach(place: Place, recorder: Any) -> Any:
    if place.side == "out":

        def after(_module: nn.Module, _args: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return recorder(place.name, output)
            return (recorder(place.name, output[0]), *output[1:])

        return place.module.register_forward_hook(after)

    def before(_module: nn.Module, args: tuple, kwargs: dict) -> Any:
        if args:
            return (recorder(place.name, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": recorder(place.name, kwargs["hidden_states"])}

    return place.module.register_forward_pre_hook(before, with_kwargs=True)


def _with_inner(points: tuple[str, ...], inner: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Boundary points with those inside attention and MLP put before the output of their part."""
    full: list[str] = []
    for point in points:
        prefix, _, last = point.rpartition(".")
        part = {"hook_attn_out": "attn", "hook_mlp_out": "mlp"}.get(last)
        if part is not None:
            full.extend(f"{prefix}.{part}.{n}" for n in inner.get(part, ()))
        full.append(point)
    return tuple(full)


def _max_length(config: Any, tokenizer: Any) -> int | None:
    known = [getattr(config, n, None) for n in ("max_position_embeddings", "n_positions")]
    known.append(getattr(tokenizer, "model_max_length", None))
    lengths = [int(n) for n in known if isinstance(n, int | float) and 0 < n < 10**9]
    return min(lengths, default=None)


def wrap_huggingface(
    model: Any, *, name: str, tokenizer: Any = None, processing: Any = "none", ref: str = "", head: Head | str = "auto"
) -> HookedModel:
    """Wrap with the asked weight processing; folded weights run through a TransformerBridge around a copy."""
    if processing == "none":
        return HuggingFaceModel(model, name=name, tokenizer=tokenizer, ref=ref, head=head)
    what = head_of(model) if head == "auto" else head
    return build_bridge(model, name=name, tokenizer=tokenizer, head=what, ref=ref, processing=processing)  # pyright: ignore
