"""untrained(): the same architecture with fresh weights, the baseline of whatever a probe finds."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from mechdecouple.errors import ModelError
from mechdecouple.models.base import HookedModel
from mechdecouple.models.bridge import BridgeModel, build_bridge
from mechdecouple.models.build import build
from mechdecouple.models.hooked_transformer import HookedTransformerModel
from mechdecouple.models.huggingface import HuggingFaceModel
from mechdecouple.models.module import PlainModule
from mechdecouple.models.quiet import quiet


def untrained(model: HookedModel, seed: int = 0) -> HookedModel:
    """A model that has seen no data: same architecture, tokenizer and hook points, weights drawn anew.

    HookedTransformers and Hugging Face models are initialised as their libraries do it from the model's config; a
    constraint that lives in the weights alone is not redrawn. In plain modules each submodule's own
    ``reset_parameters`` is called; parameters of others are drawn from a normal with the mean and spread of their
    non-zero entries. There, entries that are exactly zero stay so: a mask is part of the architecture. The model given
    is not changed, nor is torch's global random state.

    Raises:
        ModelError: a kind of model that is not known here, or one that cannot be built from its config.
    """
    name = f"{model.name} (untrained)"
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        if isinstance(model, HookedTransformerModel):
            twin = _hooked(model, seed)
            return HookedTransformerModel(twin, name=name, tokenizer=model.tokenizer, processing=model.processing)
        if isinstance(model, HuggingFaceModel):
            twin = _from_config(model)
            return HuggingFaceModel(twin, name=name, tokenizer=model.tokenizer, head=model.head)  # pyright: ignore
        if isinstance(model, BridgeModel):
            return build_bridge(
                _from_config(model),
                name=name,
                tokenizer=model.tokenizer,
                head=model.head,
                ref="",
                processing=model.processing,
            )
        if isinstance(model, PlainModule):
            device = model.device
            return PlainModule(_redrawn(copy.deepcopy(model.module).cpu()).to(device), name=name)
    raise ModelError(f"model {model.name!r} is a {type(model).__name__}: its weights cannot be drawn anew")


def _hooked(model: HookedModel, seed: int) -> Any:
    module: Any = model.module
    config = copy.deepcopy(module.cfg)
    # A seed or tokenizer of the config's own would set the global random state, or be looked for on the hub.
    config.seed, config.tokenizer_name, config.init_weights, config.device = None, None, True, "cpu"
    twin: Any = build(config, seed, model.tokenizer)
    return twin.to(model.dtype, print_details=False).to(model.device, print_details=False)


def _from_config(model: HookedModel) -> Any:
    module: Any = model.module
    try:
        twin = type(module)(copy.deepcopy(module.config))
    except Exception as error:  # the constructor may be anyone's code
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{type(module).__name__} cannot be built from its config ({type(error).__name__}: {reason}): "
            "its untrained copy is not to be had"
        ) from error
    return twin.to(model.device, model.dtype).eval()


@torch.no_grad()
def _redrawn(module: nn.Module) -> nn.Module:
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        before = [p.detach().clone() for p in own]
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        for p, old in zip(own, before, strict=True):
            kept = old != 0
            if not callable(reset) and p.is_floating_point() and kept.any():
                values = old[kept].float()
                p.copy_(values.mean() + values.std(correction=0) * torch.randn(p.shape))
            p.mul_(kept)
    return module
