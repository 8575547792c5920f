"""CompareConfig: every option of a comparison, frozen; one set of names for Python, command line and config file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mechdecouple.errors import InputError

Family = Literal[
    "structure",
    "controls",
    "similarity",
    "robustness",
    "weights",
    "ancestry",
    "sae",
    "beliefs",
    "mechanism",
    "faithfulness",
    "use",
]
FAMILIES: tuple[Family, ...] = get_args(Family)
USUAL: tuple[Family, ...] = tuple(family for family in FAMILIES if family not in ("mechanism", "faithfulness"))
"""What is measured unless asked otherwise: the others take tens of thousands of passes of single items."""


def _option(default: Any, description: str, **limits: Any) -> Any:
    return Field(default, description=description, **limits)


class CompareConfig(BaseModel):
    """Options of :func:`mechdecouple.compare`; each field has its ``description``, unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = _option(
        0.02, "largest difference of performance that still counts as equal", gt=0, allow_inf_nan=False
    )
    alpha: float = _option(0.05, "level of the equal-accuracy test", gt=0, le=0.2)
    seed: int = _option(0, "seed of every random choice", ge=0)
    device: str = _option("cpu", "where the models run: cpu, cuda or auto", pattern=r"^(cpu|auto|mps|cuda(:\d+)?)$")
    dtype: Literal["float32", "float16", "bfloat16"] = _option(
        "float32", "number format of the models and of stored activations"
    )
    performance: Literal["choice", "generation", "loss", "class", "score"] | None = _option(
        None, "what 'equally accurate' is measured in; read off the task's columns when absent"
    )
    honest: str | None = _option(None, "level of the condition column in which the model is asked for the truth")
    affirm: str | None = _option(None, "the choice that asserts a statement; read off truth and answer when absent")
    inputs: str | None = _option(
        None, "array file (.npy, .npz, .safetensors) with the inputs of models that take tensors"
    )
    columns: dict[str, str] = _option({}, "your names for the task's columns, as canonical=yours (prompt=statement)")
    template: str | None = _option(None, "text with {prompt} put around each prompt: few-shot examples, instructions")
    system: str | None = _option(None, "system text put before each prompt")
    chat: bool = _option(False, "apply the tokenizer's chat template")
    length_normalise: bool = _option(False, "score a choice by its log-likelihood per token")
    max_new_tokens: int = _option(16, "longest generation, where answers are generated", ge=1)
    position: str = _option("last", "token read: last, mean, all, or a position_* column of the task")
    hook_points: tuple[str, ...] | None = _option(
        None, "hook points to look at; every layer's residual stream when absent"
    )
    hook_points_b: tuple[str, ...] | None = _option(None, "the same for model B, where its names differ")
    alignment: Literal["depth", "similarity"] = _option(
        "depth",
        "how layers of models of unequal depth are paired: by relative depth, or in order by similarity, for which a "
        "fifth of the groups is spent and kept out of structure, similarity, robustness and features",
    )
    families: tuple[Family, ...] = _option(
        USUAL,
        "measurements to make; all but mechanism and faithfulness when absent, which take thousands of further forward "
        "passes",
    )
    fold_ln: bool = _option(False, "fold LayerNorm weights into the layers that read them, in both models")
    seeds_a: tuple[str, ...] = _option(
        (), "further runs of A's recipe, to set a difference against the spread of seeds"
    )
    seeds_b: tuple[str, ...] = _option((), "further runs of B's recipe")
    sae_hook_point: str | None = _option(None, "hook point of A for the sparse autoencoders; mid-depth when absent")
    sae_width: int | None = _option(
        None, "latents of each sparse autoencoder; by the width of the model when absent", ge=4
    )
    sae_k: int | None = _option(None, "active latents an item; by the width of the model when absent", ge=1)
    blocks: int = _option(20, "blocks of the delete-a-group jackknife", ge=5, le=200)
    bootstrap: int = _option(1000, "resamples of the group bootstrap", ge=200)
    permutations: int = _option(200, "draws of the permutation nulls", ge=19)
    probe_items: int = _option(512, "items on which the models are intervened on (noise, ablation)", ge=32)
    batch_tokens: int = _option(8192, "padded tokens in one forward pass", ge=1)


def make_config(options: Mapping[str, Any]) -> CompareConfig:
    """A config from a mapping.

    Raises:
        InputError: an unknown name or a value out of range, in one line.
    """
    try:
        return CompareConfig(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "config"
        if first["type"] == "extra_forbidden":
            from difflib import get_close_matches

            close = get_close_matches(name, CompareConfig.model_fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known options: {', '.join(CompareConfig.model_fields)}"
            raise InputError(f"unknown option {name!r}; {hint}") from None
        raise InputError(f"option {name} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def read_config(path: str | Path) -> dict[str, Any]:
    """The options in a TOML, YAML or JSON file, not yet checked.

    Raises:
        InputError: the file is missing, of another kind, or does not parse to a table of options.
    """
    path = Path(path)
    readers = {".toml": tomllib.loads, ".json": json.loads, ".yaml": _yaml, ".yml": _yaml}
    if path.suffix not in readers:
        raise InputError(f"config {str(path)!r}: the kind {path.suffix!r} is unknown; use .toml, .yaml or .json")
    try:
        options = readers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config {str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"config {str(path)!r} does not parse: {reason}") from None
    if not isinstance(options, dict):
        raise InputError(f"config {str(path)!r} holds a {type(options).__name__}; expected a table of options")
    return options


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
