"""load_pretrained(): a model from a directory, a file, a hub id, or a Python factory."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import torch

from mechdecouple.errors import ModelError
from mechdecouple.models.base import HookedModel, Processing
from mechdecouple.models.configs import find_config, read_config
from mechdecouple.models.finite import check_finite
from mechdecouple.models.hub import parse_hub
from mechdecouple.models.wrap import PROCESSINGS, wrap

_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WEIGHTS = (".pt", ".pth", ".safetensors")


def load_pretrained(
    ref: str | Path,
    *,
    name: str | None = None,
    processing: Processing = "none",
    device: str = "auto",
    dtype: str = "float32",
    tokenizer: Any = None,
) -> HookedModel:
    """Load a model.

    Args:
        ref: one of
            a Hugging Face directory or hub id, which may name a revision: ``org/name@branch`` (a tag, a commit);
            a TransformerLens directory (``config.json`` or ``.yaml`` with ``model.safetensors``);
            a ``.pt`` or ``.safetensors`` state dict in TransformerLens's format (also the older one of the grokking
            papers) with its config beside it (``config.json``, ``config.yaml``, ``config_NAME.json`` for
            ``model_NAME.pt``);
            ``package.module:factory``, which imports and calls your own code for a torch.nn.Module.
        name: short name for tables (default: the last part of the ref).
        processing: ``"none"`` or ``"fold_ln"``, see `wrap`.
        device: ``"auto"`` (the GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...
        dtype: float32, float64, bfloat16 or float16.
        tokenizer: takes the place of the one stored with the model.

    Raises:
        ModelError: the ref does not exist or is of no known kind, weights are missing, misshapen or not finite.
    """
    ref = str(ref)
    if processing not in PROCESSINGS:
        raise ModelError(f"unknown processing {processing!r}; expected one of {', '.join(PROCESSINGS)}")
    if dtype not in _DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; expected one of {', '.join(_DTYPES)}")
    place: dict[str, Any] = {"device": pick_device(device), "dtype": _DTYPES[dtype]}
    path = Path(ref).expanduser()
    given, name = name, name or path.stem if path.is_file() else name or path.name or ref
    head: Any = "auto"
    if path.is_file():
        if path.suffix not in _WEIGHTS:
            raise ModelError(f"{ref}: a model file ends in {', '.join(_WEIGHTS)}; got {path.suffix or 'no ending'!r}")
        from mechdecouple.models.hooked_files import load_hooked

        obj = load_hooked(path, **place)
    elif path.is_dir():
        obj, tokenizer, head = _from_directory(path, tokenizer, place)
    elif factory := re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", ref):
        obj = _from_factory(factory[1], factory[2]).to(**place)
    elif (hub := parse_hub(ref)) is not None and path.suffix not in _WEIGHTS:
        from mechdecouple.models.huggingface_files import load_huggingface

        obj, stored, head = load_huggingface(hub.repo, local=False, revision=hub.revision, **place)
        name = given or hub.name
        tokenizer = tokenizer or stored
    else:
        raise ModelError(f"{ref}: no such file or directory")
    return wrap(obj, name=name, tokenizer=tokenizer, processing=processing, ref=ref, head=head)


def pick_device(device: str) -> torch.device:
    """``"auto"`` as the GPU where there is one; otherwise the named device, which must exist."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    return chosen


def _from_directory(path: Path, tokenizer: Any, place: dict[str, Any]) -> tuple[Any, Any, Any]:
    config = find_config(path)
    if config is None:
        raise ModelError(f"{path}: no config.json or config.yaml in this directory; expected one beside the weights")
    fields = read_config(config)
    if "model_type" in fields or "architectures" in fields:
        from mechdecouple.models.huggingface_files import load_huggingface

        obj, stored, head = load_huggingface(str(path), local=True, **place)
        return obj, tokenizer or stored, head
    from mechdecouple.models.hooked_files import load_hooked

    weights = sorted(p for p in path.iterdir() if p.suffix in _WEIGHTS)
    chosen = [p for p in weights if p.name == "model.safetensors"] or weights
    if len(chosen) != 1:
        names = ", ".join(p.name for p in chosen[:3]) or "none"
        raise ModelError(
            f"{path}: expected model.safetensors or a single weights file, found {names}: name the file itself"
        )
    model = load_hooked(chosen[0], **place)
    return model, tokenizer, "auto"


def _from_factory(module: str, factory: str) -> torch.nn.Module:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        made = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise ModelError(f"{module}:{factory} cannot be imported: {error}") from error
    except Exception as error:  # the user's own code may raise anything
        raise ModelError(f"{module}:{factory} failed with {type(error).__name__}: {error}; mend the factory") from error
    if not isinstance(made, torch.nn.Module):
        raise ModelError(f"{module}:{factory} returned {type(made).__name__}; expected a torch.nn.Module")
    check_finite(made.state_dict(), f"{module}:{factory}")
    return made
