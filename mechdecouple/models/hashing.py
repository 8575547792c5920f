"""Hashes of weights and tokenizers, for provenance."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn


def hash_state(module: nn.Module) -> str:
    """sha256 over the sorted state dict: name, shape, dtype and bytes of each tensor, one tensor at a time."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b"")  # pyright: ignore
    return digest.hexdigest()


def hash_tokenizer(tokenizer: Any) -> str:
    """sha256 of a tokenizer's rules: its own serialisation where it has one, else its vocabulary; empty for None."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = json.dumps({k: str(v) for k, v in tokenizer.special_tokens_map.items()}, sort_keys=True)
    chat = str(getattr(tokenizer, "chat_template", None) or "")
    return hashlib.sha256("\0".join([rules, special, chat]).encode()).hexdigest()
