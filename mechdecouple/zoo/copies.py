"""Copies that compute the same function with other numbers: in another basis, in another order, or twice over.

A model and its copy do the same in every sense, so a comparison of mechanisms that says 'other' of them is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.errors import ModelError
from mechdecouple.models import build
from mechdecouple.models.hooked_files import blend_attention
from mechdecouple.zoo.routes import Routed, show_only

Kind = Literal["rotated", "permuted", "duplicated"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_ATTENTION = {
    **{f"W_{x}": ("heads", "stream", "inner") for x in "QKV"}, **{f"b_{x}": ("heads", "inner") for x in "QKV"},
    "W_O": ("heads", "inner", "stream"), "b_O": ("stream",),
}  # fmt: skip
_MLP = {"W_in": ("stream", "neurons"), "b_in": ("neurons",), "W_out": ("neurons", "stream"), "b_out": ("stream",)}
_ENDS = {"W_E": ("", "stream"), "W_pos": ("", "stream"), "W_U": ("stream", ""), "b_U": ("",)}
_ROUTED = {
    "embed.weight": ("embedded", ""), "hidden.weight": ("neurons", "embedded"), "hidden.bias": ("neurons",),
    "out.weight": ("stream", "neurons"), "out.bias": ("stream",), "skip.weight": ("stream", "embedded"),
    "skip.bias": ("stream",), "readout.weight": ("", "stream"), "readout.bias": ("",),
}  # fmt: skip
_BASES = ("stream", "embedded")
"""Spaces whose basis is free."""
_INNER = ("compared", "carried")
"""What queries and keys are compared in, and what a head carries to its output."""
_UNITS = ("heads", "neurons")
"""Lists of parts that each act alone."""
_WRITERS = ("W_O", "W_out", "out.weight")
"""Weights by which units write."""
_Change = Callable[[Tensor, int], Tensor]


def copied(model: Any, kind: Kind, seed: int = 0) -> Any:
    """A copy of a HookedTransformer without normalisation (or of a model of `routes`) that gives the same logits but
    for rounding.

    Args:
        model: the module, or a HookedModel around it; it is left as it was.
        kind: ``rotated``: the residual stream, and what each head compares and carries, in another orthonormal basis;
            ``permuted``: dimensions of the stream, heads and neurons in another order; ``duplicated``: each head and
            each neuron twice, both writing half.
        seed: of the basis or order.

    Raises:
        ModelError: the model is of another kind.
    """
    model = getattr(model, "module", model)
    axes = _axes(model)
    if kind == "duplicated":
        return _duplicated(model, axes)
    change, rng = {"rotated": _turn, "permuted": _reorder}[kind], np.random.default_rng(seed)
    out, changes = copy.deepcopy(model), {}
    with torch.no_grad():
        for name, parameter in out.named_parameters():
            value = parameter.double()
            for axis, space in enumerate(axes[name]):
                if space not in changes:
                    changes[space] = change(space, value.shape, axis, rng)
                value = changes[space](value, axis)
            parameter.copy_(value)
    return out


def _turn(space: str, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> _Change:
    """Another orthonormal basis of a space; of what heads compare or carry, one a head."""
    kind = space.partition(" ")[0]
    if kind in _BASES:
        turn = _rotation(rng, shape[axis])
        return lambda x, axis: (x.movedim(axis, -1) @ turn).movedim(-1, axis)
    if kind in _INNER:
        turns = torch.stack([_rotation(rng, shape[axis]) for _ in range(shape[0])])
        return lambda x, axis: torch.einsum("h...k,hkl->h...l", x.movedim(axis, -1), turns).movedim(-1, axis)
    return _nothing


def _reorder(space: str, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> _Change:
    """Another order of the dimensions of a space, or of the units of a list."""
    if space.partition(" ")[0] not in (*_BASES, *_UNITS):
        return _nothing
    order = torch.from_numpy(rng.permutation(shape[axis]))
    return lambda x, axis: x.index_select(axis, order)


def _nothing(x: Tensor, axis: int) -> Tensor:
    return x


def _rotation(rng: np.random.Generator, size: int) -> Float[Tensor, "d d"]:
    return torch.from_numpy(np.linalg.qr(rng.normal(size=(size, size)))[0])


def _duplicated(model: Any, axes: dict[str, tuple[str, ...]]) -> Any:
    out, own = _twice_as_wide(model), dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in out.named_parameters():
            value = own[name]
            for axis, space in enumerate(axes[name]):
                if space.partition(" ")[0] in _UNITS:
                    value = torch.cat([value, value], dim=axis) * (0.5 if name.endswith(_WRITERS) else 1.0)
            parameter.copy_(value)
    return out.eval()


def _twice_as_wide(model: Any) -> Any:
    """A new model with twice the heads and neurons, and with what is held in the attention of this one."""
    if isinstance(model, Routed):
        return Routed(model.way, model.hidden.in_features, 2 * model.hidden.out_features)
    config = copy.deepcopy(model.cfg)
    config.n_heads, config.d_mlp = 2 * config.n_heads, config.d_mlp and 2 * config.d_mlp
    config.n_key_value_heads = None
    out = build(config, tokenizer=model.tokenizer)
    if (coefficient := getattr(model, "attention_coefficient", 1.0)) != 1.0:
        blend_attention(out, coefficient)
    for new, old in zip(out.blocks, model.blocks, strict=True):
        if (seen := getattr(old.attn, "seen", None)) is not None:
            show_only(new.attn, seen)
    return out


def _axes(model: Any) -> dict[str, tuple[str, ...]]:
    """What each axis of each parameter runs over; spaces of a layer carry its number, ``""`` is nothing to change."""
    if isinstance(model, Routed):
        return _ROUTED
    config = getattr(model, "cfg", None)
    if config is None or config.normalization_type is not None or config.positional_embedding_type != "standard":
        raise ModelError(
            f"copies are of HookedTransformers without normalisation, got {type(model).__name__}: its basis or its "
            "order cannot be changed with the function kept"
        )
    axes = {}
    for name, _ in model.named_parameters():
        layer, last = name.split(".")[1] if name.startswith("blocks.") else "", name.rpartition(".")[2]
        spaces = {**_ATTENTION, **_MLP, **_ENDS}.get(last)
        if spaces is None:
            raise ModelError(f"copies know nothing of parameter {name!r}: use a plain attention and MLP model")
        inner = "compared" if last[-1] in "QK" else "carried"
        named = [inner if space == "inner" else space for space in spaces]
        axes[name] = tuple(space if space in ("", "stream") else f"{space} {layer}" for space in named)
    return axes
