"""Models that studies train: made once a seed, kept in the user's cache, and shared between studies."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from mechdecouple.models import HookedModel, wrap
from mechdecouple.progress import bar
from mechdecouple.zoo import store
from mechdecouple.zoo.recipe import Recipe

WORKERS = min(2, os.cpu_count() or 1)


def directory() -> Path:
    """Where trained models are kept: beside the zoo's."""
    return store.cache_directory().parent / "studies"


def trained(recipe: Recipe, seed: int, progress: bool = False) -> HookedModel:
    """The model of a recipe and seed: read from the cache, or trained on one thread and kept there."""
    return wrap(raw(recipe, seed, progress), name=f"{recipe.name}@{seed}", ref=f"study:{recipe.name}@{seed}")


def raw(recipe: Recipe, seed: int, progress: bool = False) -> torch.nn.Module:
    """The same as a torch module, to train on from."""
    model = store.read(recipe, seed, store.SHIPPED) or store.read(recipe, seed, store.cache_directory())
    model = model or store.read(recipe, seed, directory())
    if model is None:
        model = recipe.train(seed, progress)
        try:
            store.write(model, recipe, seed, directory())
        except OSError as error:
            warnings.warn(
                f"{directory()} cannot be written ({error.strerror}): {recipe.name} is not kept", stacklevel=2
            )
    return model


def train_all(wanted: Iterable[tuple[Recipe, int]], progress: bool = True) -> None:
    """Train what is not in the cache yet, two models at a time; a killed run goes on with the models that lack.

    Recipes that start from other recipes' models come after them.
    """
    todo = [(recipe, seed) for recipe, seed in dict.fromkeys(wanted) if not _there(recipe, seed)]
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    with (
        bar(total=len(todo), progress=progress, desc="training", unit="model") as shown,
        ProcessPoolExecutor(WORKERS, context, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        for wave in _waves(todo):
            for _ in pool.map(_train, wave):
                shown.update()


def _train(one: tuple[Recipe, int]) -> None:
    raw(*one)


def _there(recipe: Recipe, seed: int) -> bool:
    return any(store.read(recipe, seed, place) for place in (store.SHIPPED, store.cache_directory(), directory()))


def _waves(todo: list[tuple[Recipe, int]]) -> list[list[tuple[Recipe, int]]]:
    """Models that depend on none of the others first."""
    left, waves = list(todo), []
    while left:
        wave = [(r, s) for r, s in left if (getattr(r, "start", None), s) not in left]
        waves.append(wave)
        left = [one for one in left if one not in wave]
    return waves
