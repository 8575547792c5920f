"""Weight parts: the weights of any model by the component that they belong to, under TransformerLens's names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mechdecouple.models import HookedModel
from mechdecouple.models.bridge import BridgeModel
from mechdecouple.models.components import adapter_for
from mechdecouple.models.hooked_transformer import HookedTransformerModel
from mechdecouple.models.huggingface import HuggingFaceModel

BEFORE, BEHIND = "embed", "unembed"
"""What stands before the first block of a transformer, and what stands behind the last."""
_EMBEDDINGS = ("embed", "pos_embed", "token_type_embed", "embed_ln")
_BRIDGE = "._original_component"


def weights(model: HookedModel) -> dict[str, list[Tensor]]:
    """Part -> its weights, matrices [m, n] (heads and kernels flattened) and vectors, in the order of the model.

    Parts of transformers are ``embed``, ``blocks.0.attn.q``, ``blocks.0.mlp.in``, ``unembed`` and so on, with fused
    queries, keys and values taken apart; those of plain modules are the submodules that own parameters. Weights that
    are tied stand under the first part that has them.
    """
    names, found = _Names(model), {}
    fused = names.fused()
    with torch.no_grad():
        for name, tensor in model.module.named_parameters():
            part = names.part(name)
            if part in fused:
                found.update(_apart(part, names, fused[part]))
            else:
                found.setdefault(part, []).append(_flat(model, name, tensor.detach()))
    return found


def blocks(model: HookedModel) -> dict[str, tuple[str, ...]]:
    """Block -> names of its parameters and buffers: what is grafted as a whole.

    Transformers: ``embed`` (all that stands before the first block), each ``blocks.i``, and ``unembed`` (all that
    stands behind the last). Plain modules: each submodule that owns parameters.
    """
    names = _Names(model)
    found: dict[str, list[str]] = {}
    owning = {_module_of(name) for name, _ in model.module.named_parameters()}
    for name, tensor in (*model.module.named_parameters(), *model.module.named_buffers()):
        if tensor.is_floating_point() and _module_of(name) in owning:
            found.setdefault(_block_of(model, names.part(name)), []).append(name)
    return {block: tuple(own) for block, own in found.items()}


class _Names:
    """The parts of one model.

    Attributes:
        places: path of a module in the raw model, see `bare` -> the part's name; empty where paths are names already.
    """

    def __init__(self, model: HookedModel) -> None:
        self.model = model
        self.adapter: Any = None
        self.places: dict[str, str] = {}
        if isinstance(model, HuggingFaceModel | BridgeModel):
            self.adapter = model._bridge.adapter if isinstance(model, BridgeModel) else adapter_for(model.module)
            self._prefix = f"{getattr(model.module, 'base_model_prefix', '')}."
            self._walk(self.adapter.components, "", "", [self.bare(n) for n, _ in model.module.named_parameters()])

    def bare(self, path: str) -> str:
        """A path without what a Bridge puts in, and as it is in the body alone."""
        return path.replace(_BRIDGE, "").removeprefix(self._prefix)

    def part(self, parameter: str) -> str:
        """The part that a parameter belongs to."""
        if self.adapter is not None:
            path = self.bare(parameter)
            known = next((p for p in _prefixes(path) if p in self.places), None)
            if known is None:
                return _module_of(path)
            rest = _module_of(path)[len(known) :]
            return self.places[known] + rest
        module, _, leaf = parameter.rpartition(".")
        if isinstance(self.model, HookedTransformerModel):
            match = re.fullmatch(r"_?[Wb]_([A-Za-z]+)", leaf)
            return f"{module}.{match[1].lower()}" if match and module.startswith("blocks.") else module
        return module or type(self.model.module).__name__

    def fused(self) -> dict[str, nn.Module]:
        """Parts that hold queries, keys and values in one -> the attention module they belong to."""
        if not isinstance(self.model, HuggingFaceModel):
            return {}
        parts = {_module_of(path): part for path, part in self.places.items() if part.endswith(".attn.qkv")}
        modules = ((self.bare(path), module) for path, module in self.model.module.named_modules())
        return {parts[path]: module for path, module in modules if path in parts}

    def _walk(self, components: Any, path: str, part: str, names: list[str]) -> None:
        for key, component in components.items():
            own = self.bare(".".join(p for p in (path, component.name) if p))
            at = [(own, f"{part}{key}")]
            if component.is_list_item:
                numbers = {int(name[len(own) + 1 :].split(".")[0]) for name in names if name.startswith(f"{own}.")}
                at = [(f"{own}.{i}", f"{part}{key}.{i}") for i in sorted(numbers)]
            for where, name in at:
                if component.name is not None:
                    self.places[where] = name
                self._walk(component.submodules, where, f"{name}.", names)


def _apart(part: str, names: _Names, attention: nn.Module) -> dict[str, list[Tensor]]:
    linear = names.adapter.components["blocks"].submodules["attn"].split_qkv_matrix(attention)
    return {
        f"{part.removesuffix('qkv')}{letter}": [t.detach() for t in (one.weight, one.bias) if t is not None]
        for letter, one in zip("qkv", linear, strict=True)
    }


def _block_of(model: HookedModel, part: str) -> str:
    if model.input_kind == "array":
        return part
    match = re.match(r"blocks\.\d+", part)
    if match:
        return match[0]
    return BEFORE if part.split(".")[0] in _EMBEDDINGS else BEHIND


def _module_of(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _prefixes(path: str) -> Iterator[str]:
    """The path without its last name, without its last two, and so on."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _flat(model: HookedModel, name: str, tensor: Tensor) -> Tensor:
    """A matrix for weights, a vector for biases and gains."""
    leaf = name.rpartition(".")[2]
    if isinstance(model, HookedTransformerModel) and tensor.ndim > 1:
        if leaf.lstrip("_").startswith("b_"):
            return tensor.flatten()
        if tensor.ndim == 3:
            # heads first: queries, keys and values [h, d, k] read the stream, outputs [h, k, d] write to it
            return tensor.flatten(0, 1) if leaf.endswith("_O") else tensor.transpose(0, 1).flatten(1)
    return tensor if tensor.ndim < 2 else tensor.flatten(1)
