"""Models that studies train: made once a seed, kept in the user's cache, and shared between studies."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

import torch

from analyses._pool import workers
from mechdecouple.models import HookedModel, wrap
from mechdecouple.progress import bar
from mechdecouple.zoo import store
from mechdecouple.zoo.recipe import Recipe


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

    A recipe that starts from another's model waits for it.
    """
    left = [(recipe, seed) for recipe, seed in dict.fromkeys(wanted) if not _there(recipe, seed)]
    if not left:
        return
    running: dict[Future[None], tuple[Recipe, int]] = {}
    with bar(total=len(left), progress=progress, desc="training", unit="model") as shown, workers() as pool:
        while left or running:
            lacking = [*left, *running.values()]
            ready = [(recipe, seed) for recipe, seed in left if (getattr(recipe, "start", None), seed) not in lacking]
            running |= {pool.submit(_train, *one): one for one in ready}
            left = [one for one in left if one not in ready]
            for trained_one in wait(running, return_when=FIRST_COMPLETED).done:
                trained_one.result()
                del running[trained_one]
                shown.update()


def _train(recipe: Recipe, seed: int) -> None:
    raw(recipe, seed)


def _there(recipe: Recipe, seed: int) -> bool:
    return any(store.read(recipe, seed, place) for place in (store.SHIPPED, store.cache_directory(), directory()))
