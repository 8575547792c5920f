"""Small models whose right answer is known: recipes that train in minutes, and readouts planted in closed form.

``zoo:NAME`` (or ``zoo:NAME@SEED``) stands for a model wherever a reference is taken, and for its task.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from mechdecouple.errors import ModelError
from mechdecouple.models import HookedModel, save_hooked, wrap
from mechdecouple.models.base import Processing
from mechdecouple.tasks import Task
from mechdecouple.zoo import store
from mechdecouple.zoo.planted import DESCRIPTIONS, planted, planted_task
from mechdecouple.zoo.recipes import RECIPES, find

__all__ = ["Demo", "demo", "export", "load", "names", "task", "train"]


@dataclasses.dataclass(frozen=True)
class Demo:
    """A comparison that needs nothing but the package: references of both models and the task, and options."""

    a: str
    b: str
    task: str
    options: dict[str, Any]


def demo() -> Demo:
    """Two models of equal honest accuracy that differ in structure and in belief."""
    options = {
        "position": "position_statement",
        "families": ("structure", "similarity", "robustness", "sae", "beliefs"),
    }
    return Demo("zoo:demo-tidy", "zoo:demo-fractured", "zoo:demo-tidy", options)


def names() -> list[tuple[str, str, bool]]:
    """Name, one line on it, and whether it is there without training (shipped or built), in the order of the list."""
    trained = [(name, recipe.description, 0 in store.shipped_seeds(name)) for name, recipe in RECIPES.items()]
    return trained + [(name, text, True) for name, text in DESCRIPTIONS.items()]


def train(name: str, seed: int = 0, progress: bool = True) -> Any:
    """Train a recipe: the HookedTransformer, the same for the same seed and machine.

    Raises:
        ModelError: no recipe of that name.
    """
    return find(name).train(seed, progress)


def load(name: str, seed: int = 0, progress: bool = True, processing: Processing = "none") -> HookedModel:
    """A model of the zoo: built, shipped with the package, from the user's cache, or trained now and cached.

    The cache is ``$MECHDECOUPLE_CACHE`` or ``~/.cache/mechdecouple/zoo``; where it cannot be written the model is
    trained each time.

    Raises:
        ModelError: no model of that name, or its file is damaged.
    """
    label = name if seed == 0 else f"{name}@{seed}"
    if name in DESCRIPTIONS:
        return wrap(planted(name, seed), name=label, ref=f"zoo:{label}", processing=processing)
    recipe, cache = find(name), store.cache_directory()
    model = store.read(recipe, seed, store.SHIPPED) or store.read(recipe, seed, cache)
    if model is None:
        model = recipe.train(seed, progress)
        try:
            store.write(model, recipe, seed, cache)
        except OSError as error:
            warnings.warn(f"{cache} cannot be written ({error.strerror}): {label} is not kept", stacklevel=2)
    return wrap(model, name=label, ref=f"zoo:{label}", processing=processing)


def task(name: str, n: int | None = None, seed: int = 0) -> Task:
    """The task of a model: all its items, or a seeded sample of ``n``. Models of one family share it.

    Raises:
        ModelError: no model of that name.
    """
    return planted_task(n, seed) if name in DESCRIPTIONS else find(name).task(n, seed)


def export(name: str, directory: str | Path, seed: int = 0) -> Path:
    """Write a trained model (``config.json``, ``model.safetensors``, tokenizer) and its task (``task.csv``) into a
    directory.

    Raises:
        ModelError: no trained model of that name, one that is more than its weights in that format (a plain module,
            or under an attention mask), or the directory cannot be written.
    """
    items = find(name).task().frame
    target = save_hooked(load(name, seed), directory)
    table = items.assign(choices=["|".join(options) for options in items["choices"]])
    if "tokens" in items:
        table["tokens"] = [" ".join(map(str, tokens)) for tokens in items["tokens"]]
    try:
        table.to_csv(target / "task.csv", index=False)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}: choose another directory") from error
    return target
