"""load_pretrained(): a model from a directory, a file or a hub id; save_hooked(): a HookedTransformer as a directory."""

from __future__ import annotations
from pathlib import Path
from typing import Any
from mechdecouple.models.base import HookedModel, Processing


def load_pretrained(
    ref: str, *, name: str | None = None, device: str = "auto", dtype: str = "float32", processing: Processing = "none"
) -> HookedModel:
    raise NotImplementedError


def save_hooked(model: Any, directory: str | Path) -> Path:
    raise NotImplementedError
