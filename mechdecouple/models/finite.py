"""Weights must be finite: a model with NaN in it computes nothing, and says so late."""

from __future__ import annotations

from typing import Any

import torch

from mechdecouple.errors import ModelError


def check_finite(state: dict[str, Any], where: object) -> None:
    """Raise a `ModelError` naming the first parameter that holds NaN or infinity."""
    for key, tensor in state.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = "NaN" if torch.isnan(tensor).any() else "infinity"
            raise ModelError(f"{where}: parameter {key!r} holds {bad}; expected finite weights: the file is damaged")
