"""Train sparse autoencoders: one or several on one pass over the rows of an array, a store or a running model."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

import mechdecouple
from mechdecouple.activations import Activations
from mechdecouple.errors import InputError
from mechdecouple.models.load import pick_device
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.sae.training._run import Run
from mechdecouple.sae.training.checkpoint import Checkpoint
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.rows import Feed, Stored, table
from mechdecouple.sae.training.stream import ModelRows, Stream

Source = Float[np.ndarray, "n d"] | Activations | ModelRows


def train(
    source: Source,
    hook_point: str | None = None,
    *,
    architecture: str = "topk",
    width: int | None = None,
    k: int | None = None,
    l1: float = 2.0,
    steps: int | None = None,
    batch_size: int = 256,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    model: str = "",
    out: str | Path | None = None,
    progress: bool = False,
) -> SparseAutoencoder:
    """Fit a dictionary of ``width`` directions of which each row uses few.

    Rows are centred (through the decoder bias) and scaled to root-mean-square norm √d, so that the defaults fit any
    model; mean and scale are taken from at most 65,536 rows, recorded and folded into the weights: the SAE reads and
    writes raw activations. The same rows, settings, seed, device and number of threads give the same weights.

    Args:
        source: activations, a row an item or token: an array of any float type (a memory map too), Activations in
            memory or on disk, or :class:`ModelRows` to draw them from a model.
        hook_point: which of the source's, where it has several; for an array, its name for the metadata.
        architecture: topk, batchtopk, matryoshka, jumprelu, standard or gated.
        width: number of latents m; by default 4·d, at most 16,384 and a quarter of the rows (more could store rows).
        k: latents a row (topk), their mean (batchtopk, matryoshka), their target (jumprelu); by default d/8 in 4..32.
        l1: penalty of standard and gated.
        steps: optimiser steps; by default 1,000, or as many as see each row once if that is more.
        batch_size: rows a step (at most n).
        learning_rate: peak rate of Adam; by default 4e-4·√(2¹⁴/m), at most 4e-3 (scaling by 1/√m: 2406.04093).
        seed: of the initial weights and of the order of the rows.
        model: name for the metadata; by default that of the source.
        out: folder for the SAE. A training that was killed goes on from there when called again with the same
            arguments, and ends with the same bytes (on a CPU, with the same packages); a finished one is read.

    Raises:
        InputError: rows that are not finite (named) or all the same, a setting out of range, or diverged training.
        StoreError: ``out`` is in use, cannot be written, or holds something else.

    Example:
        >>> sae = train(activations, "blocks.3.hook_resid_post", k=8, seed=0)  # doctest: +SKIP
        >>> latents = sae.encode(activations["blocks.3.hook_resid_post"])  # doctest: +SKIP
    """
    recipe = Recipe(architecture, width, k, l1, learning_rate, seed, hook_point or "")
    options = {"steps": steps, "batch_size": batch_size, "seed": seed, "device": device, "model": model}
    return _trained(source, [recipe], out=out, names=[""], progress=progress, **options)[0]


def train_many(
    source: Source,
    recipes: Sequence[Recipe],
    *,
    steps: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: str = "cpu",
    model: str = "",
    out: str | Path | None = None,
    progress: bool = False,
) -> list[SparseAutoencoder]:
    """Fit several dictionaries at once: hook points, widths, seeds, architectures, on one pass over the rows.

    Every step reads the same rows at each hook point that a recipe names, once. Each dictionary becomes what
    :func:`train` makes of its recipe with this ``seed`` for the order of the rows. (Dictionaries that differ in
    ``Recipe.seed`` only have seen the same rows in the same order; for two that share nothing but the rows, train
    them apart.)

    Args:
        recipes: what to train; each names its hook point where the source has several.
        seed: of the order of the rows.
        out: folder in which each gets a numbered folder, ``"000"`` on; a killed training goes on as with ``train``.

    Raises:
        InputError, StoreError: as ``train``; also for no recipes.

    Example:
        >>> recipes = [Recipe(seed=0, hook_point=h) for h in activations.hook_points]  # doctest: +SKIP
        >>> saes = train_many(activations, recipes, out="saes")  # doctest: +SKIP
    """
    if not recipes:
        raise InputError("no recipe to train; give at least one")
    names = [f"{number:03d}" for number in range(len(recipes))]
    options = {"steps": steps, "batch_size": batch_size, "seed": seed, "device": device, "model": model}
    return _trained(source, recipes, out=out, names=names, progress=progress, **options)


def _trained(
    source: Source,
    recipes: Sequence[Recipe],
    *,
    steps: int | None,
    batch_size: int,
    seed: int,
    device: str,
    model: str,
    out: str | Path | None,
    names: Sequence[str],
    progress: bool,
) -> list[SparseAutoencoder]:
    for name, value, least in (("steps", steps, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise InputError(f"{name} is {value}, expected at least {least}")
    device = str(pick_device(device))
    recipes = [replace(recipe, hook_point=_hook_point(source, recipe.hook_point)) for recipe in recipes]
    hook_points = tuple(dict.fromkeys(recipe.hook_point for recipe in recipes))
    feed = _feed(source, hook_points, batch_size=batch_size, seed=seed, device=device, progress=progress)
    batch_size = min(batch_size, feed.n)
    steps = max(1000, math.ceil(feed.n / batch_size)) if steps is None else steps
    recipes = [recipe.filled(feed.n, feed.widths[recipe.hook_point]) for recipe in recipes]

    origin = _origin(feed)
    made = {"steps": steps, "batch_size": batch_size, "order_seed": seed, "source": origin}
    settings = {
        "recipes": [asdict(recipe) for recipe in recipes], **made, "model": model, "hashes": feed.fingerprint,
    }  # fmt: skip
    arithmetic = {"device": device, "threads": torch.get_num_threads(), "versions": _versions()}
    with contextlib.ExitStack() as held:
        checkpoint = None
        if out is not None:
            checkpoint = held.enter_context(Checkpoint.at(Path(out), settings, names, arithmetic))
        if checkpoint and (finished := checkpoint.finished):
            return finished
        state = checkpoint.read() if checkpoint else None
        run = Run(feed, recipes, steps=steps, batch_size=batch_size, device=device, state=state)
        del state  # as large as the run itself
        run.go(checkpoint, progress=progress)
        saes = []
        for trainer in run.trainers:
            hook_point = trainer.recipe.hook_point
            sample = {"sample_rows": run.moments[hook_point].rows}
            named = {"model_name": model or origin["model"].get("name"), "hook_name": hook_point or None}
            saes.append(trainer.finish({**named, "mechdecouple": made | sample}))
        if checkpoint:
            checkpoint.finish(saes)
        return saes


def _hook_point(source: Source, named: str) -> str:
    """The hook point that is meant: the one named, or the only one."""
    if named or not isinstance(source, Activations | ModelRows):
        return named
    if len(source.hook_points) != 1:
        there = ", ".join(source.hook_points) or "all of the model's"
        raise InputError(f"no hook point is named, and there are {there}; name the one to train on")
    return source.hook_points[0]


def _feed(
    source: Source, hook_points: tuple[str, ...], *, batch_size: int, seed: int, device: str, progress: bool
) -> Feed:
    """Where the batches come from. A model whose rows all fit into the pool is run once."""
    if isinstance(source, ModelRows):
        todo = source.plan(hook_points)
        if todo.rows > source.buffer_rows:
            return Stream(todo, source.buffer_rows, batch_size=min(batch_size, todo.rows), seed=seed, device=device)
        source = source.extract(hook_points, progress=progress)
    rows = table(source, hook_points)
    return Stored(rows, batch_size=min(batch_size, rows.n), seed=seed, device=device)


def _origin(feed: Feed) -> dict[str, Any]:
    """What the rows are, for the record: enough to tell another model's, and no more."""
    model, task = feed.about.get("model", {}), feed.about.get("task", {})
    facts = {name: value for name, value in feed.about.items() if name not in ("model", "task")}
    facts["model"] = {name: model[name] for name in ("name", "weight_hash", "processing") if name in model}
    facts["task"] = {name: task[name] for name in ("name", "fingerprint") if name in task}
    return facts


def _versions() -> dict[str, str]:
    lens = importlib.metadata.version("sae-lens")
    return {"mechdecouple": mechdecouple.__version__, "torch": torch.__version__, "sae-lens": lens}
