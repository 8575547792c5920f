"""wrap(): a model object of any kind as a HookedModel."""

from __future__ import annotations

import copy
import sys
from typing import Any, Literal

from torch import nn

from mechdecouple.errors import ModelError
from mechdecouple.models.base import Head, HookedModel, Processing
from mechdecouple.models.module import PlainModule

PROCESSINGS = ("none", "fold_ln")


def wrap(
    obj: Any,
    name: str | None = None,
    tokenizer: Any = None,
    processing: Processing = "none",
    ref: str = "",
    head: Head | Literal["auto"] = "auto",
) -> HookedModel:
    """A HookedModel around a HookedTransformer, a TransformerBridge, a Hugging Face model, or any torch.nn.Module.

    Args:
        obj: the model; a HookedModel keeps what is not given here.
        name: short name for tables (default: the class name).
        tokenizer: for models that carry none.
        processing: ``"none"``, or ``"fold_ln"`` to fold the gains of each normalisation into the weights that read it.
        ref: what it was loaded from, for provenance.
        head: what a Hugging Face model's logits mean; ``"auto"`` tells by its class, None says that they mean nothing.

    Raises:
        ModelError: not a model, unknown processing, or processing that this kind of model does not allow.
    """
    if processing not in PROCESSINGS:
        raise ModelError(f"unknown processing {processing!r}; expected one of {', '.join(PROCESSINGS)}")
    if isinstance(obj, HookedModel):
        return _again(obj, name, tokenizer, processing, ref)
    if not isinstance(obj, nn.Module):
        raise ModelError(
            f"cannot wrap {type(obj).__name__}; expected a HookedTransformer, a Hugging Face model or an nn.Module"
        )
    name = name or type(obj).__name__
    model: Any = obj
    if _is(obj, "transformer_lens", "HookedTransformer"):
        from mechdecouple.models.hooked_transformer import wrap_hooked

        return wrap_hooked(model, name=name, tokenizer=tokenizer, processing=processing, ref=ref)
    if _is(obj, "transformer_lens.model_bridge", "TransformerBridge"):
        from mechdecouple.models.bridge import wrap_bridge

        return wrap_bridge(model, name=name, tokenizer=tokenizer, processing=processing, ref=ref)
    if _is(obj, "transformers", "PreTrainedModel"):
        from mechdecouple.models.huggingface import wrap_huggingface

        return wrap_huggingface(model, tokenizer=tokenizer, name=name, processing=processing, ref=ref, head=head)
    if processing != "none":
        raise ModelError(
            f"processing {processing!r} is for transformers; {type(obj).__name__} is a plain module: use 'none'"
        )
    return PlainModule(obj, name=name, ref=ref)


def _again(model: HookedModel, name: str | None, tokenizer: Any, processing: Processing, ref: str) -> HookedModel:
    name, ref, tokenizer = name or model.name, ref or model.ref, tokenizer if tokenizer is not None else model.tokenizer
    if processing not in ("none", model.processing):
        if model.processing != "none":
            raise ModelError(
                f"model {model.name!r} has processing {model.processing!r}: load it again for {processing!r}"
            )
        return wrap(model.module, name, tokenizer, processing, ref, model.head)
    same = copy.copy(model)
    same.name, same.ref, same.tokenizer = name, ref, tokenizer
    return same


def _is(obj: Any, module: str, cls: str) -> bool:
    """isinstance without importing: an object of that class exists only if its module was imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(obj, getattr(loaded, cls))
