"""Edits for ``HookedModel.forward(edits=...)``: ablate, add noise, patch, steer, splice, project out.

Each factory returns a function of ``(tensor, batch)``. ``positions`` says where it applies: None (everywhere), ``[b]``
integers (one token of each item of the batch), or ``[b, t]`` bools. What lies elsewhere stays bit-identical.

Activations are ``[b, t, ..., d]`` for token models and ``[b, ...]`` for plain modules (there, only ``positions=None``).
``values`` may be one vector ``[d]`` for all, one per item ``[b, d]``, or have the shape of the activation itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.models import Batch, Edit

Positions = Tensor | np.ndarray | Sequence[int] | None


def ablate(
    kind: Literal["zero", "mean", "resample"] = "zero",
    values: Tensor | np.ndarray | None = None,
    positions: Positions = None,
) -> Edit:
    """Replace activations by zero, by a mean ``[d]`` (``mean``), or by those of other items ``[b, d]`` (``resample``).

    Raises:
        InputError: unknown kind, or values missing for ``mean`` and ``resample`` (or given for ``zero``).
    """
    if kind not in ("zero", "mean", "resample"):
        raise InputError(f"unknown ablation {kind!r}; expected zero, mean or resample")
    if (values is None) != (kind == "zero"):
        raise InputError(f"ablation {kind!r} takes {'no values' if kind == 'zero' else 'values: give them'}")
    if values is None:
        return _edit(positions, lambda x, _: torch.zeros_like(x))
    return patch(values, positions)


def add_noise(scale: float | Tensor | np.ndarray, generator: torch.Generator, positions: Positions = None) -> Edit:
    """Add Gaussian noise of standard deviation ``scale`` (one number, or one a feature ``[d]``).

    The draws come from ``generator`` on its own device, so the same seed gives the same noise on any device.
    """

    def change(x: Tensor, _: Callable[[Tensor], Tensor]) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=torch.float32)
        return x + (noise.to(x.device) * torch.as_tensor(scale, device=x.device)).to(x.dtype)

    return _edit(positions, change)


def patch(values: Tensor | np.ndarray, positions: Positions = None) -> Edit:
    """Replace activations by ``values``, e.g. those of another run."""
    return _edit(positions, lambda x, fit: fit(torch.as_tensor(values)).to(x.dtype).expand_as(x))


def steer(vector: Tensor | np.ndarray, scale: float = 1.0, positions: Positions = None) -> Edit:
    """Add ``scale * vector``."""
    return _edit(positions, lambda x, fit: x + scale * fit(torch.as_tensor(vector)).to(x.dtype))


def splice(fn: Callable[[Tensor], Tensor], positions: Positions = None) -> Edit:
    """Replace activations by ``fn`` of them, e.g. an SAE's reconstruction; ``fn`` keeps the shape ``[..., d]``."""
    return _edit(positions, lambda x, _: fn(x))


def project_out(
    directions: Tensor | np.ndarray, mean: Tensor | np.ndarray | None = None, positions: Positions = None
) -> Edit:
    """Remove the span of ``directions`` (``[d]`` or ``[k, d]``) about ``mean`` (``[d]``; default the origin).

    Raises:
        InputError: the directions hold NaN or are all zero.
    """
    rows = torch.as_tensor(directions).double().reshape(-1, np.shape(directions)[-1])
    if not torch.isfinite(rows).all() or not rows.any():
        raise InputError(
            "cannot project out directions that are all zero or not finite; expected [d] or [k, d] numbers"
        )
    _, singular, basis = torch.linalg.svd(rows, full_matrices=False)
    basis = basis[singular > singular[0] * 1e-10]

    def change(x: Tensor, _: Callable[[Tensor], Tensor]) -> Tensor:
        q = basis.to(x.device, x.dtype)
        centre = 0.0 if mean is None else torch.as_tensor(mean).to(x.device, x.dtype)
        return x - ((x - centre) @ q.T) @ q

    return _edit(positions, change)


def _edit(positions: Positions, change: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Edit:
    """``change(picked, fit)`` applied at the positions; ``fit`` makes values broadcast against what was picked."""

    def edit(tensor: Tensor, batch: Batch) -> Tensor:
        if positions is None:
            out = change(tensor, lambda v: _fit(v, tensor))
            return _same_shape(out, tensor)
        where = _index(positions, tensor)
        picked = tensor[where]
        new = _same_shape(change(picked, lambda v: _fit(v, picked)), picked)
        out = tensor.clone()
        out[where] = new
        return out

    return edit


def _index(positions: Positions, tensor: Tensor) -> tuple[Tensor, ...]:
    index = torch.as_tensor(positions, device=tensor.device)
    if index.dtype == torch.bool:
        if tensor.ndim < 3 or index.shape != tensor.shape[:2]:
            raise InputError(
                f"positions of shape {tuple(index.shape)} do not fit activations {tuple(tensor.shape)}; expected [b, t]"
            )
        return (index,)
    if tensor.ndim < 3 or index.shape != tensor.shape[:1]:
        raise InputError(
            f"positions of shape {tuple(index.shape)} do not fit activations {tuple(tensor.shape)}; "
            "expected one token index for each item of the batch"
        )
    if len(index) and (index.min() < 0 or index.max() >= tensor.shape[1]):
        raise InputError(f"position {int(index.max())} is outside the {tensor.shape[1]} tokens of the batch")
    return torch.arange(len(index), device=tensor.device), index.long()


def _fit(values: Tensor, x: Tensor) -> Tensor:
    values = values.to(x.device)
    if 1 < values.ndim < x.ndim and values.shape[0] == x.shape[0] and values.shape[-1] == x.shape[-1]:
        values = values.reshape(x.shape[0], *(1,) * (x.ndim - values.ndim), *values.shape[1:])
    try:
        torch.broadcast_shapes(values.shape, x.shape)
    except RuntimeError:
        raise InputError(
            f"values of shape {tuple(values.shape)} do not fit activations of shape {tuple(x.shape)}"
        ) from None
    return values


def _same_shape(out: Tensor, x: Tensor) -> Tensor:
    if out.shape != x.shape:
        raise InputError(f"an edit gave shape {tuple(out.shape)}; expected {tuple(x.shape)}")
    return out
