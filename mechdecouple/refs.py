"""References: what a user types for a model or a task, and what it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel, load_pretrained, wrap
from mechdecouple.models.load import pick_device
from mechdecouple.tasks import Task


def load(
    ref: Any, *, name: str | None = None, tokenizer: Any = None, fold_ln: bool = False, device: str = "cpu",
    dtype: str = "float32",
) -> HookedModel:  # fmt: skip
    """A model from whatever stands for one.

    Args:
        ref: a Hugging Face directory or hub id, which may name a branch, tag or commit (``org/name@revision``); a
            directory with a TransformerLens ``config.json`` and safetensors; a TransformerLens ``.pt`` state dict with
            its config beside it; ``zoo:NAME`` or ``zoo:NAME@SEED``;
            ``package.module:factory``, your own function that returns a ``torch.nn.Module`` (it is imported and
            called); or an object: a ``HookedTransformer``, a Hugging Face model, any ``torch.nn.Module``, a
            ``HookedModel``.
        name: label in tables and figures; the last part of ``ref`` when absent.
        tokenizer: for objects that do not carry one.
        fold_ln: fold LayerNorm weights into the layers that read them.
        device: ``cpu``, ``cuda`` or ``auto``; objects stay where they are.
        dtype: ``float32``, ``float16`` or ``bfloat16``; objects keep theirs.

    Raises:
        ModelError: nothing answers to ``ref``, its weights are incomplete or not finite, or it does not support
            ``fold_ln``.
    """
    processing = "fold_ln" if fold_ln else "none"
    if not isinstance(ref, str | Path):
        return wrap(ref, name=name, tokenizer=tokenizer, processing=processing)
    ref = str(ref)
    if ref.startswith("zoo:"):
        from mechdecouple import zoo

        model = zoo.load(*_zoo(ref), processing=processing)
        model.name = name or model.name
        return _placed(model, device, dtype)
    return load_pretrained(ref, name=name, tokenizer=tokenizer, device=device, dtype=dtype, processing=processing)


def load_task(ref: Any, **options: Any) -> Task:
    """A task from a table file, ``zoo:NAME``, a DataFrame, a ``datasets.Dataset`` or a Task.

    Args:
        options: those of :meth:`mechdecouple.Task.from_file`.

    Raises:
        TaskError: the table cannot be used; the message names row and column.
    """
    options = {key: value for key, value in options.items() if _is_given(value)}
    named = isinstance(ref, str) and ref.startswith("zoo:")
    if options and (named or isinstance(ref, Task)):
        key, value = next(iter(options.items()))
        raise InputError(f"option {key} = {value!r} is for tables; {ref!r} is a task already: leave it out")
    if isinstance(ref, Task):
        return ref
    if named:
        from mechdecouple import zoo

        return zoo.task(_zoo(ref)[0])
    if isinstance(ref, str | Path):
        return Task.from_file(ref, **options)
    if hasattr(ref, "iloc"):
        return Task.from_frame(ref, **options)
    return Task.from_dataset(ref, **options)


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str | dict) and not value)


def _placed(model: HookedModel, device: str, dtype: str) -> HookedModel:
    chosen, number = pick_device(device), getattr(torch, dtype)
    if chosen != model.device or number != model.dtype:
        module: Any = model.module
        silent = {"print_details": False} if hasattr(module, "cfg") else {}
        for place in (number, chosen):
            module.to(place, **silent)
    return model


def _zoo(ref: str) -> tuple[str, int]:
    name, _, seed = ref.removeprefix("zoo:").partition("@")
    if seed and not seed.isdecimal():
        raise InputError(f"{ref!r}: the seed after @ must be a whole number, found {seed!r}")
    return name, int(seed or 0)
