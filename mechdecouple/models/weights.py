"""Weights of a module: by name, replaced while a pass runs, and which of their axes number filters."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from mechdecouple.errors import ModelError

_HOOKED_AXES = {
    "W_E": (0,), "W_pos": (0,), "W_token_type": (0,), "W_Q": (0, 2), "W_K": (0, 2), "W_V": (0, 2), "W_O": (2,),
    "W_in": (1,), "W_gate": (1,), "W_out": (1,), "W_U": (1,), "W": (1,),
}  # fmt: skip
_INPUT_FIRST = ("Conv1D", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
"""Kinds of layer whose weight is [in, out, ...]; ``Conv1D`` is that of GPT-2 in transformers."""


def named_weights(module: nn.Module) -> dict[str, Tensor]:
    """The floating-point parameters by name; a tied one once, under its first name."""
    return {name: p for name, p in module.named_parameters() if p.is_floating_point()}


@contextlib.contextmanager
def replaced(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other tensors in the place of named parameters, of all that are tied to one of them too; gradients flow.

    Raises:
        ModelError: an unknown name, another shape, or a recurrent layer, which keeps its weights elsewhere too.
    """
    known = dict(module.named_parameters())
    for name, tensor in weights.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ModelError(f"there is no parameter {name!r}{f': did you mean {close[0]!r}?' if close else ''}")
        if tensor.shape != known[name].shape:
            shapes = tuple(tensor.shape), tuple(known[name].shape)
            raise ModelError(f"parameter {name!r}: given shape {shapes[0]}, expected {shapes[1]}")
    new = {id(known[name]): tensor for name, tensor in weights.items()}
    held: list[tuple[dict, str, nn.Parameter]] = []
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            raise ModelError(
                f"the weights of a recurrent layer ({type(part).__name__}) cannot be replaced for one pass"
            )
        own = part._parameters
        held += [(own, name, p) for name, p in own.items() if p is not None and id(p) in new]
    try:
        for own, name, parameter in held:
            own[name] = new[id(parameter)]
        yield
    finally:
        for own, name, parameter in held:
            own[name] = parameter


def filter_axes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The axes of each weight that number its filters, the weights into one output unit each, however it is stored.

    Embeddings: the token. Parameters without filters have no entry: those of one dimension, and biases of any.
    """
    axes: dict[str, tuple[int, ...]] = {}
    for path, part in module.named_modules():
        hooked = type(part).__module__.startswith("transformer_lens.components")
        for name, parameter in part.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            if parameter.ndim < 2 or not parameter.is_floating_point() or name.startswith(("b_", "bias")):
                continue
            known = _HOOKED_AXES.get(name.lstrip("_")) if hooked else None
            axes[full] = known or ((1,) if type(part).__name__ in _INPUT_FIRST else (0,))
    return axes
