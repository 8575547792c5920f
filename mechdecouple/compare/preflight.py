"""What would stop a comparison, found before anything runs: no minutes are spent on a job that cannot end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mechdecouple.activations.store import size_text
from mechdecouple.behavior import prepare
from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.faithfulness import explaining
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.mechanism import items
from mechdecouple.compare.pairing import Site
from mechdecouple.errors import InputError, StoreError
from mechdecouple.extract import Plan, plan
from mechdecouple.extract.writer import Writer, is_complete
from mechdecouple.models import HookedModel
from mechdecouple.structure.mechanism.cost import mechanism_cost
from mechdecouple.tasks import Task

_log = logging.getLogger("mechdecouple.compare")


def check_reading(
    model: HookedModel, task: Task, points: Sequence[str], config: CompareConfig, slot: Literal["a", "b"]
) -> Plan:
    """The extraction that is to come; runs one item.

    Raises:
        InputError: the items, the options or the hook points do not fit the model.
    """
    options = {"chat": config.chat, "batch_tokens": config.batch_tokens}
    reading = {"length_normalise": config.length_normalise, "max_new_tokens": config.max_new_tokens}
    prepare(model, task, slot=slot, **reading, **options)
    return plan(model, task, points, config.position, dtype=config.dtype, **options)


def check_items(task: Task) -> None:
    """Refuses a task of which too little is left to compare anything on.

    Raises:
        InputError: fewer than two groups of items are compared: asked honestly, in distribution, held out if declared.
    """
    rows = gate_rows(task)
    n_groups = len(np.unique(task.groups[rows]))
    if n_groups < 2:
        found = f"{int(rows.sum())} of {len(task)} items in {n_groups} group{'s' * (n_groups != 1)}"
        raise InputError(
            f"task {task.name!r} has {found} to compare performance on (honest condition, split test or none); "
            "intervals need two groups: add items, or leave out the column group"
        )


def check_features(config: CompareConfig, sites: Sequence[Site], model: HookedModel, plans: Sequence[Plan]) -> None:
    """Refuses options of the sparse autoencoders that cannot be used.

    Raises:
        InputError: a hook point that is not looked at; more active latents than there are, or than there are values.
    """
    check_named_site(config, sites, model)
    narrowest = min(width for todo in plans for width in todo.hook_points.values())
    if config.sae_k is not None and config.sae_k > narrowest:
        raise InputError(f"sae_k {config.sae_k} is not sparse: activations hold {narrowest} values; lower sae_k")
    if config.sae_k is not None and config.sae_width is not None and config.sae_k > config.sae_width:
        raise InputError(
            f"sae_k {config.sae_k} is more than sae_width {config.sae_width}; lower sae_k or raise sae_width"
        )


def check_named_site(config: CompareConfig, sites: Sequence[Site], model: HookedModel) -> None:
    """Refuses a hook point for the sparse autoencoders that is not looked at.

    Raises:
        InputError: it is no hook point of A that is paired with one of B.
    """
    named, known = config.sae_hook_point, [site.a for site in sites]
    if named is not None and named not in known:
        model.check_hook_points([named])
        raise InputError(f"sae_hook_point {named!r} is not looked at in {model.name}; choose one of {', '.join(known)}")


def state_cost(
    a: HookedModel,
    b: HookedModel,
    task: Task,
    spent: np.ndarray,
    config: CompareConfig,
    seeds: tuple[Sequence[HookedModel], Sequence[HookedModel]],
) -> None:
    """Say what explaining answers and comparing mechanisms will take, where that is asked for; it reads a few items.
    Says nothing where they cannot be compared: the comparison will say why.

    Args:
        spent: [n] items that are left out.
    """
    if task.performance not in ("choice", "class"):
        return
    task = task.select(np.flatnonzero(gate_rows(task) & ~spent))
    if "faithfulness" in config.families:
        total = sum(explaining(model, task, config) for model in (a, b, *seeds[0], *seeds[1]))
        _log.info("explanations of %s and %s: %s item passes at most", a.name, b.name, f"{total:,}")
    if "mechanism" not in config.families:
        return
    options = {"seeds_a": seeds[0], "seeds_b": seeds[1], "limit": items(config), "seed": config.seed}
    try:
        cost = mechanism_cost(a, b, task, **options)
    except InputError:
        return
    _log.info("mechanism of %s and %s: %s", a.name, b.name, cost.sentence)


def check_stores(plans: Sequence[tuple[Plan, Path]]) -> None:
    """Refuses folders that hold other activations, and a disk that cannot hold the new ones.

    Raises:
        StoreError: see :func:`mechdecouple.extract`; the bytes needed are those of all extractions together.
    """
    needed = 0
    for todo, folder in plans:
        if not folder.exists():
            needed += todo.bytes
        elif not is_complete(folder, todo, checksums=False):
            with Writer.at(folder, todo):
                pass
    if not needed:
        return
    first = plans[0][1]
    nearest = next(p for p in (first, *first.absolute().parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    if needed > free:
        raise StoreError(
            f"the activations need {size_text(needed)} ({needed:,} bytes) and {str(nearest)!r} has {free:,} bytes "
            "free: free some space, look at fewer hook points, or use dtype 'bfloat16'"
        )
