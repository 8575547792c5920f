"""train_suite: the dictionaries of a grid of architectures, widths and seeds, each judged on rows it has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError
from mechdecouple.results import frame
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.sae.evaluate import Evaluation, evaluate, holdout
from mechdecouple.sae.training import Recipe, train_many

_LISTS = ("hook_points", "architecture", "width", "seeds")


@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """What to train at each hook point: every architecture at every width, once a seed.

    Attributes:
        width, k, steps: see :class:`mechdecouple.sae.Recipe` and :func:`mechdecouple.sae.train`.
        hook_points: all of the source's when absent.
        seeds: of initial weights and of the order of the rows. Seeds are trained apart: seeds that share an order look
            more alike than they are.
        seed: of the choice of held-out rows.
    """

    hook_points: tuple[str, ...] | None = None
    architecture: tuple[str, ...] = ("topk",)
    width: tuple[int | None, ...] = (None,)
    k: int | None = None
    seeds: tuple[int, ...] = (0,)
    steps: int | None = None
    seed: int = 0


def make_suite(options: Mapping[str, Any]) -> Suite:
    """A suite from a mapping; one value may stand for a list of one.

    Raises:
        InputError: an unknown name, in one line.
    """
    known = [field.name for field in dataclasses.fields(Suite)]
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        raise InputError(f"unknown option {unknown!r} of sparse autoencoders; known: {', '.join(known)}")
    listed = {name: _listed(options[name]) for name in _LISTS if name in options}
    return Suite(**{**options, **listed})


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """A dictionary of a suite, the name of its folder, its recipe, and what it does on held-out rows."""

    name: str
    recipe: Recipe
    sae: SparseAutoencoder
    evaluation: Evaluation


def train_suite(
    acts: Activations, groups: np.ndarray, suite: Suite, *, device: str, out: str | Path, progress: bool
) -> Iterator[Judged]:
    """Train on a share of the groups and judge on the rest, seed by seed; dictionaries go to ``out/seed0/000`` on.

    Args:
        groups: of the rows [n].

    Raises:
        InputError, StoreError: as :func:`mechdecouple.sae.train_many`.
    """
    held = holdout(groups, seed=suite.seed)
    for seed in suite.seeds:
        recipes = _recipes(suite, seed, acts.hook_points)
        trained = train_many(
            acts.select(~held), recipes, steps=suite.steps, seed=seed, device=device, out=Path(out) / f"seed{seed}",
            progress=progress,
        )  # fmt: skip
        for number, (recipe, one) in enumerate(zip(recipes, trained, strict=True)):
            found = evaluate(one, acts.select(held), recipe.hook_point, groups=groups[held], seed=suite.seed)
            yield Judged(f"seed{seed}/{number:03d}", recipe, one, found)


def _recipes(suite: Suite, seed: int, known: Sequence[str]) -> list[Recipe]:
    return [
        Recipe(architecture, width, suite.k, seed=seed, hook_point=point)
        for point in (suite.hook_points or known)
        for architecture in suite.architecture
        for width in suite.width
    ]


def suite_frame(one: Judged, model: str, position: str) -> pd.DataFrame:
    """Its measurements, a row each, with columns ``sae`` (its folder) and ``architecture`` before the usual ones."""
    table = frame(one.evaluation.measurements(model, hook_point=one.recipe.hook_point, position=position))
    table.insert(0, "architecture", one.recipe.architecture)
    table.insert(0, "sae", one.name)
    return table
