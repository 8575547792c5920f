"""Weights of the zoo on disk: those shipped with the package, and the user's cache of trained ones.

Both hold float16; recipes round to it at the end of a training, so that a model read back equals the one trained.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from mechdecouple.errors import ModelError
from mechdecouple.zoo.recipe import Recipe

SHIPPED = Path(__file__).parent / "weights"


def cache_directory() -> Path:
    """``$MECHDECOUPLE_CACHE``, or ``~/.cache/mechdecouple/zoo``."""
    given = os.environ.get("MECHDECOUPLE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "mechdecouple" / "zoo"


def facts(recipe: Recipe, seed: int) -> dict[str, Any]:
    """What made the weights: the recipe, its model, the seed and the command that trains them again."""
    command = f"mechdecouple zoo train {recipe.name} --seed {seed} --out DIR"
    fields = {key: value for key, value in dataclasses.asdict(recipe).items() if key != "description"}
    return {"command": command, "seed": seed, "recipe": fields, "config": recipe.config}


def shipped_seeds(name: str) -> tuple[int, ...]:
    """Seeds whose weights come with the package."""
    return tuple(sorted(int(path.stem.rpartition("@")[2]) for path in SHIPPED.glob(f"{name}@*.safetensors")))


def write(model: Any, recipe: Recipe, seed: int, directory: Path) -> Path:
    """Write the weights (float16) and their facts; the weights appear whole or not at all.

    Raises:
        OSError: the directory cannot be written.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{recipe.name}@{seed}"
    halves = {name: p.detach().half().contiguous() for name, p in model.named_parameters()}
    text = json.dumps(facts(recipe, seed), indent=1, sort_keys=True) + "\n"
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as scratch:
        save_file(halves, Path(scratch, "weights"))
        Path(scratch, "facts").write_text(text, encoding="utf-8")
        os.replace(Path(scratch, "facts"), directory / f"{stem}.json")
        os.replace(Path(scratch, "weights"), directory / f"{stem}.safetensors")
    return directory / f"{stem}.safetensors"


def read(recipe: Recipe, seed: int, directory: Path) -> Any | None:
    """The HookedTransformer whose weights lie there; None where there are none, or they came from another recipe.

    Raises:
        ModelError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = directory / f"{recipe.name}@{seed}.safetensors"
    if not path.is_file() or not _same(path.with_suffix(".json"), facts(recipe, seed)):
        return None
    model = recipe.blank(seed)
    try:
        halves = load_file(path)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(halves[name])
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path} is damaged ({' '.join(str(error).split())}): delete it to train the model again"
        ) from None
    return model


def _same(path: Path, expected: dict[str, Any]) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(expected))
    except (OSError, ValueError):
        return False
