"""HookedTransformers on disk: directories, TransformerLens state dicts, and the older format of the grokking papers."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mechdecouple.errors import ModelError
from mechdecouple.models.build import build
from mechdecouple.models.configs import find_config, read_config
from mechdecouple.models.finite import check_finite

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

_REBUILT = ("mask", "IGNORE", "rotary_sin", "rotary_cos")
_UNSAVED = ("device", "n_params", "tokenizer_name", "n_devices", "seed")
State = dict[str, Tensor]


def load_hooked(weights: Path, *, device: torch.device, dtype: torch.dtype) -> HookedTransformer:
    """A HookedTransformer from a weights file and the config beside it; its tokenizer too where one lies there.

    Raises:
        ModelError: no config, a config or state dict of unknown format, parameters missing, misshapen or not finite.
    """

    config_path = find_config(weights)
    if config_path is None:
        raise ModelError(
            f"{weights}: no config beside it; expected config.json, config.yaml or config_{weights.stem}.json with the "
            "fields of a HookedTransformerConfig"
        )
    state = {k: v for k, v in read_state(weights).items() if not _rebuilt(k)}
    fields = read_config(config_path)
    for key in ("model", "cfg", "config"):
        if isinstance(fields.get(key), dict) and "d_model" in fields[key]:
            fields = fields[key]
    check_finite(state, weights)
    if "attn_coeff" in fields and "n_ctx" not in fields:
        state, fields = _modernise(state, fields, weights)
    coefficient = float(fields.pop("attn_coeff", 1.0))
    model = build({**_known_fields(fields, config_path), "dtype": torch.float32})
    _fill(model, state, weights)
    model = model.to(dtype, print_details=False).to(device, print_details=False)
    if coefficient != 1.0:
        blend_attention(model, coefficient)
    if (weights.parent / "tokenizer.json").is_file():
        from mechdecouple.models.huggingface_files import load_tokenizer

        model.tokenizer = load_tokenizer(str(weights.parent), local=True)
    return model


def save_hooked(model: Any, directory: str | Path) -> Path:
    """Write a HookedTransformer (or its wrapper) as ``config.json``, ``model.safetensors`` and its tokenizer's files.

    Either all files appear in the directory or none; `load_pretrained` reads it back.

    Raises:
        ModelError: not a HookedTransformer, one with permanent hooks (they are no weights, and would be lost), or the
            directory cannot be written.
    """
    from safetensors.torch import save_file

    model = getattr(model, "module", model)
    if not hasattr(model, "cfg") or not hasattr(model, "hook_dict"):
        raise ModelError(f"cannot save {type(model).__name__} in this format; expected a HookedTransformer")
    target = Path(directory)
    fields = {k: _plain(v) for k, v in model.cfg.to_dict().items() if k not in _UNSAVED and v is not None}
    fields["normalization_type"] = model.cfg.normalization_type
    if (coefficient := getattr(model, "attention_coefficient", 1.0)) != 1.0:
        fields["attn_coeff"] = coefficient
    elif hooked := [name for name, point in model.hook_dict.items() if any(h.is_permanent for h in point.fwd_hooks)]:
        raise ModelError(
            f"cannot save a HookedTransformer with a permanent hook at {hooked[0]!r}: it is no weight and would be lost"
        )
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if not _rebuilt(k)}
    try:
        target.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=target))
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}: choose another directory") from error
    try:
        save_file(state, scratch / "model.safetensors")
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(scratch)
        (scratch / "config.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for file in sorted(scratch.iterdir()):
            os.replace(file, target / file.name)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}: choose another directory") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def read_state(path: Path) -> State:
    """Tensors by name from ``.safetensors``, or from ``.pt`` without running any code that it might carry."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what cannot be read raises
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = " ".join(str(error).split())[:120]
        raise ModelError(
            f"{path}: not a readable state dict of tensors ({first}): save it with torch.save(state_dict)"
        ) from None
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: expected a state dict (names to tensors), got {type(state).__name__}")
    return dict(state)


def blend_attention(model: HookedTransformer, coefficient: float) -> None:
    """Make every attention pattern ``c * softmax + (1 - c)`` over the tokens that may be attended to, for good.

    This is the attention rate of arXiv:2306.17844: at 0 every token is summed with weight one.
    """
    for block in model.blocks:
        seen: dict[str, Tensor] = {}

        def remember(tensor: Tensor, *, hook: Any, seen: dict[str, Tensor] = seen) -> None:
            seen["open"] = tensor > -torch.inf

        def blend(tensor: Tensor, *, hook: Any, seen: dict[str, Tensor] = seen) -> Tensor:
            return coefficient * tensor + (1 - coefficient) * seen.pop("open").to(tensor.dtype)

        block.attn.hook_attn_scores.add_perma_hook(remember)
        block.attn.hook_pattern.add_perma_hook(blend)
    model.attention_coefficient = coefficient  # pyright: ignore


def _modernise(state: State, fields: dict[str, Any], weights: Path) -> tuple[State, dict[str, Any]]:
    """The format of the grokking papers' code, without LayerNorm or mask, in today's shapes.

    There ``W_E`` is ``[d_model, vocab]``, ``W_Q``, ``W_K``, ``W_V`` are ``[head, d_head, d_model]``, ``W_O`` is
    ``[d_model, head * d_head]``, ``W_in`` and ``W_out`` are transposed, and no causal mask is applied whatever the
    config's ``attention_dir`` says (arXiv:2306.17844, its ``train-main.py``).
    """
    try:
        d_model, d_vocab = state["embed.W_E"].shape
        n_heads, d_head, _ = state["blocks.0.attn.W_Q"].shape
        n_ctx, n_layers = len(state["pos_embed.W_pos"]), sum(k.endswith("attn.W_Q") for k in state)
        d_mlp = len(state["blocks.0.mlp.W_in"])
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{weights}: expected a transformer state dict with embed.W_E and attn.W_Q; {error} is missing"
        ) from None
    new: State = {}
    for key, value in state.items():
        last = key.rpartition(".")[2]
        if last in ("W_Q", "W_K", "W_V"):
            value = value.transpose(1, 2)
        elif last == "W_O":
            value = value.reshape(d_model, n_heads, d_head).permute(1, 2, 0)
        elif last in ("W_E", "W_in", "W_out"):
            value = value.T
        new[key] = value.contiguous()
    zeros = {
        "attn.b_Q": (n_heads, d_head),
        "attn.b_K": (n_heads, d_head),
        "attn.b_V": (n_heads, d_head),
        "attn.b_O": (d_model,),
    }
    for i in range(n_layers):
        new |= {f"blocks.{i}.{k}": torch.zeros(shape) for k, shape in zeros.items()}
    new["unembed.b_U"] = torch.zeros(new["unembed.W_U"].shape[1])
    config = {
        "n_layers": n_layers, "d_model": d_model, "n_ctx": n_ctx, "d_head": d_head, "n_heads": n_heads, "d_mlp": d_mlp,
        "d_vocab": d_vocab, "d_vocab_out": new["unembed.W_U"].shape[1],
        "act_fn": str(fields.get("act_fn", "relu")).lower(),
        "normalization_type": None, "attention_dir": "bidirectional", "attn_coeff": fields["attn_coeff"],
    }  # fmt: skip
    return new, config


def _known_fields(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields that a HookedTransformerConfig has; others may only be there if they are switched off."""
    from transformer_lens import HookedTransformerConfig

    known = {f.name for f in dataclasses.fields(HookedTransformerConfig)}
    if missing := [k for k in ("n_layers", "d_model", "n_ctx", "act_fn") if k not in fields]:
        raise ModelError(
            f"{path}: not a HookedTransformer config, {missing[0]!r} is missing; "
            "expected n_layers, d_model, n_ctx, act_fn, ..."
        )
    if odd := [k for k, v in fields.items() if k not in known and v not in (None, False, "")]:
        raise ModelError(f"{path}: unknown field {odd[0]!r}; expected the fields of a HookedTransformerConfig")
    return {k: v for k, v in fields.items() if k in known and k not in _UNSAVED}


def _fill(model: HookedTransformer, state: State, where: Path) -> None:
    own = {k: v for k, v in model.state_dict().items() if not _rebuilt(k)}
    if missing := sorted(own.keys() - state.keys()):
        raise ModelError(
            f"{where}: parameter {missing[0]!r} is missing; the config and the weights belong to different models"
        )
    if odd := sorted(state.keys() - own.keys()):
        raise ModelError(
            f"{where}: parameter {odd[0]!r} is not in the config's model; the two belong to different models"
        )
    for key, value in own.items():
        if value.shape != state[key].shape:
            raise ModelError(
                f"{where}: parameter {key!r} has shape {tuple(state[key].shape)}; "
                f"the config asks for {tuple(value.shape)}"
            )
    model.load_state_dict(state, strict=False)


def _rebuilt(key: str) -> bool:
    return key.rpartition(".")[2] in _REBUILT


def _plain(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value.item() if hasattr(value, "item") else value
