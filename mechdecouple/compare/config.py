"""CompareConfig: every option of a comparison, frozen; the same names in Python, on the command line and in a config file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mechdecouple.errors import InputError

Family = Literal["structure", "similarity", "robustness", "sae", "beliefs"]
FAMILIES: tuple[Family, ...] = ("structure", "similarity", "robustness", "sae", "beliefs")


class CompareConfig(BaseModel):
    """Options of :func:`mechdecouple.compare`; unknown names are refused.

    Attributes:
        performance: what 'equally accurate' is measured in; read off the task's columns when absent.
        honest: level of the task's ``condition`` column in which the model is asked for the truth.
        affirm: the choice that asserts a statement; read off the task's ``truth`` and ``answer`` when absent.
        inputs: array file with the inputs of models that take tensors.
        columns: the task's column names, canonical name to name in the file.
        template: text with ``{prompt}`` put around each prompt (few-shot examples, instructions).
        system: system text, for ``chat``.
        chat: apply the tokenizer's chat template.
        length_normalise: score a choice by its log-likelihood per token.
        position: ``last``, ``mean``, ``all``, or a ``position_*`` column of the task.
        hook_points, hook_points_b: where to look; for model B its own names where they differ from A's.
        families: which measurements to make.
        margin: largest difference of performance that still counts as equal.
        alpha: level of the tests.
        fold_ln: fold LayerNorm weights into the next layer, in both models.
        seeds_a, seeds_b: further runs of each model's recipe, to set a difference against the spread of seeds.
        sae_hook_point, sae_width, sae_k: where the sparse autoencoders are trained, their latents, active latents an item.
        blocks: blocks of the delete-a-group jackknife; bootstrap, permutations: resamples of the group bootstrap and of the nulls.
        probe_items: items on which interventions are run (noise, ablation).
        batch_tokens: padded tokens in one forward pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    performance: Literal["choice", "generation", "loss", "class", "score"] | None = None
    honest: str | None = None
    affirm: str | None = None
    inputs: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    template: str | None = None
    system: str | None = None
    chat: bool = False
    length_normalise: bool = False
    position: str = "last"
    hook_points: tuple[str, ...] | None = None
    hook_points_b: tuple[str, ...] | None = None
    families: tuple[Family, ...] = FAMILIES
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.02
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    fold_ln: bool = False
    seeds_a: tuple[str, ...] = ()
    seeds_b: tuple[str, ...] = ()
    sae_hook_point: str | None = None
    sae_width: Annotated[int, Field(ge=4)] | None = None
    sae_k: Annotated[int, Field(ge=1)] = 8
    blocks: Annotated[int, Field(ge=5, le=200)] = 20
    bootstrap: Annotated[int, Field(ge=200)] = 1000
    permutations: Annotated[int, Field(ge=19)] = 200
    probe_items: Annotated[int, Field(ge=32)] = 512
    batch_tokens: Annotated[int, Field(ge=1)] = 8192


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
