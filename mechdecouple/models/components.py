"""Where TransformerLens's hook points lie in a raw Hugging Face model, read from its architecture adapters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

from mechdecouple.errors import ModelError

_STREAM = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
_INNER = {
    "attn": ("hook_q", "hook_k", "hook_v", "hook_attn_scores", "hook_pattern", "hook_z"),
    "mlp": ("hook_pre", "hook_post"),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A hook point at a module's boundary: its name, the module, and which side of it."""

    name: str
    module: nn.Module
    side: Literal["in", "out"]


def adapter_for(model: Any) -> Any:
    """TransformerLens's architecture adapter for a Hugging Face model.

    Raises:
        ModelError: TransformerLens has none for this architecture.
    """
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.sources import build_bridge_config_from_hf

    config = build_bridge_config_from_hf(model.config, adapter_architecture(model), "external", model.dtype)
    adapter = ArchitectureAdapterFactory.select_architecture_adapter(config)
    adapter.prepare_model(model)
    return adapter


def adapter_architecture(model: Any) -> str:
    """The architecture name under which TransformerLens knows this model; a bare body counts as the full model."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformer_lens.model_bridge.sources.transformers import determine_architecture_from_hf_config

    name = type(model).__name__
    if name in SUPPORTED_ARCHITECTURES:
        return name
    try:
        return determine_architecture_from_hf_config(model.config)
    except ValueError:
        raise ModelError(
            f"TransformerLens has no adapter for {name} (model type {model.config.model_type!r}): "
            "its hook points are unknown; wrap it as a plain nn.Module, or choose a supported architecture"
        ) from None


def boundary_places(model: nn.Module, adapter: Any) -> list[Place]:
    """Hook points that are a module's input or output in the raw model, blocks in order."""
    places = []
    for key, component in adapter.components.items():
        module = _resolve(model, component.name)
        if module is None:
            continue
        if not component.is_list_item:
            if key in ("embed", "embed_ln", "ln_final"):
                places.append(Place(f"{key}.hook_out", module, "out"))
            continue
        assert isinstance(module, nn.ModuleList)
        for i, block in enumerate(module):
            places.extend(_block_places(f"{key}.{i}", block, component, post_norm=not _pre_norm(adapter)))
    names = {p.name: p for p in places}
    embed = names.get("embed_ln.hook_out") or names.get("embed.hook_out")
    kept = [p for p in places if not p.name.startswith("embed")]
    return [Place("hook_embed", embed.module, "out"), *kept] if embed else kept


def inner_names(adapter: Any, n_blocks: int) -> dict[str, tuple[str, ...]]:
    """Per part (``attn``, ``mlp``): names of hook points inside it, which only a TransformerBridge can reach."""
    block = adapter.components.get("blocks")
    if block is None:
        return {}
    found = {}
    for part, names in _INNER.items():
        component = block.submodules.get(part)
        if component is not None:
            found[part] = tuple(n for n in names if n in component.hook_aliases or hasattr(component, n))
    return found


def _block_places(prefix: str, block: nn.Module, component: Any, post_norm: bool) -> Iterator[Place]:
    for alias in _STREAM:
        target = component.hook_aliases.get(alias)
        if not isinstance(target, str) or (alias == "hook_resid_mid" and post_norm):
            continue
        *path, side = target.split(".")
        if not path and not component.hook_out_is_single_residual_stream:
            continue
        module = _descend(block, component, path)
        if module is not None:
            yield Place(f"{prefix}.{alias}", module, "in" if side == "hook_in" else "out")
    for name, part in component.submodules.items():
        if "Normalization" in type(part).__name__ and (module := _descend(block, component, [name])) is not None:
            yield Place(f"{prefix}.{name}.hook_out", module, "out")


def _descend(module: nn.Module, component: Any, path: list[str]) -> nn.Module | None:
    """Follow TransformerLens part names from a block to the module behind them; None where there is none of its own."""
    found: nn.Module | None = module
    for part in path:
        component = component.submodules.get(part)
        if component is None or found is None:
            return None
        if component.name is not None:
            found = _resolve(found, component.name)
        elif part == path[-1]:
            return None
    return found


def _resolve(model: nn.Module, path: str | None) -> nn.Module | None:
    """The submodule at a dotted path, also when the model is the bare body of the one the path was written for."""
    if path is None:
        return None
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for candidate in (path, path.removeprefix(prefix)):
        try:
            return model.get_submodule(candidate)
        except AttributeError:
            continue
    return None


def _pre_norm(adapter: Any) -> bool:
    return bool(getattr(adapter, "supports_fold_ln", True))
