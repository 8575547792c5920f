"""Cost: the forward passes that a comparison takes at most, part by part, told before it runs.

A pass is one sequence (or one array) once through one model; a backward pass is not counted beside its forward pass.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from mechdecouple.compare.alignment import alignment_rows
from mechdecouple.compare.ancestry.weight_parts import blocks
from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.families import JUDGED
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.mechanism import items as mechanism_items
from mechdecouple.compare.pairing import choose_points, pair
from mechdecouple.compare.side_cost import SideCost
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.structure.mechanism.cost import mechanism_cost
from mechdecouple.tasks import Task

OPENED = 2
"""Items run to learn how wide the activations of a model are: before the comparison, and when they are asked for."""
_STATED = 64
"""Items read to say how long comparing mechanisms will take."""
_HOOK_POINTS = {"structure", "robustness", "weights", "sae"}
_GRADIENTS = {"structure", "similarity", "robustness"}


@dataclasses.dataclass(frozen=True)
class CompareCost:
    """What a comparison takes at most.

    Attributes:
        passes: part of the comparison -> forward passes.
    """

    passes: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.passes.values())

    def frame(self) -> pd.DataFrame:
        """One row a part: part, passes."""
        return pd.DataFrame(list(self.passes.items()), columns=["part", "passes"])

    def _repr_html_(self) -> str:
        total = html.escape(f"{self.total:,} forward passes at most")
        return f"<p>{total}</p>{self.frame().to_html(index=False, border=0)}"


def compare_cost(
    a: HookedModel,
    b: HookedModel,
    task: Task,
    config: CompareConfig,
    *,
    seeds: tuple[Sequence[HookedModel], Sequence[HookedModel]] = ((), ()),
    stored: bool = False,
) -> CompareCost:
    """What :func:`mechdecouple.compare` takes at most with the same models, task and options.

    Args:
        seeds: the models of ``seeds_a`` and of ``seeds_b``.
        stored: whether the activations of A and B are there already.

    Raises:
        InputError: an option that cannot be used with these models and this task; ModelError, TaskError: they do not
            fit together.
    """
    points = choose_points(a, config.hook_points), choose_points(b, config.hook_points_b or config.hook_points)
    n_sites = len(pair(a, points[0], b, points[1]))
    spent = np.zeros(len(task), dtype=bool)
    if config.alignment == "similarity" and len(points[0]) != len(points[1]):
        spent = alignment_rows(task.groups, seed=config.seed)
    families = set(config.families)
    own = [SideCost(model, task, config, names, spent) for model, names in zip((a, b), points, strict=True)]
    further = [
        [SideCost(model, task, config, names, spent) for model in models]
        for models, names in zip(seeds, points, strict=True)
    ]
    judged = {family for family in JUDGED if family in families}
    parts = {
        "answers": sum(int(side.reads.sum()) for side in own),
        "activations": sum(OPENED + (0 if stored else side.extraction) for side in own),
        "hook points": sum(side.hook_points for side in own) if families & _HOOK_POINTS else 0,
        "gradients": sum(side.gradients for side in own) if families & _GRADIENTS else 0,
        "controls": sum(side.controls for side in own) if "controls" in families else 0,
        "robustness": sum(side.noise(n_sites) for side in own) if "robustness" in families else 0,
        "weights": sum(side.weights(n_sites) for side in own) if "weights" in families else 0,
        "ancestry": _grafts(own) if "ancestry" in families else 0,
        "sae": sum(side.autoencoders + side.latents for side in own) if "sae" in families else 0,
        "mechanism": _mechanism(own, config, seeds) if "mechanism" in families else 0,
        "faithfulness": sum(side.explanations for side in own) if "faithfulness" in families else 0,
        "seeds": sum(_relatives(side, more, n_sites, judged) for side, more in zip(own, further, strict=True)),
    }
    return CompareCost({part: passes for part, passes in parts.items() if passes})


def _grafts(own: Sequence[SideCost]) -> int:
    """Each block of one model in the other, both ways; their weights tell later whether they have one ancestor."""
    a, b = own
    if (a.model.architecture, a.model.n_params) != (b.model.architecture, b.model.n_params):
        return 0
    return (1 + len(blocks(a.model))) * (a.once + b.once)


def _mechanism(
    own: Sequence[SideCost], config: CompareConfig, seeds: tuple[Sequence[HookedModel], Sequence[HookedModel]]
) -> int:
    a, b = own
    rows = np.flatnonzero(gate_rows(a.task) & ~a.spent)
    options = {"seeds_a": seeds[0], "seeds_b": seeds[1], "limit": mechanism_items(config), "seed": config.seed}
    try:
        cost = mechanism_cost(a.model, b.model, a.task.select(rows), timed=False, **options)
    except InputError:
        return 0
    return cost.total + _STATED


def _relatives(side: SideCost, more: Sequence[SideCost], n_sites: int, judged: Collection[str]) -> int:
    """Further seeds of one recipe: each is read, and every two of the recipe's models are held against each other."""
    passes = sum(OPENED + int(one.reads.sum()) + one.extraction for one in more)
    if _HOOK_POINTS.intersection(judged):
        passes += sum(one.hook_points for one in more)
    if _GRADIENTS.intersection(judged):
        passes += sum(one.gradients for one in more)
    if "robustness" in judged:
        passes += sum(x.noise(n_sites) + y.noise(n_sites) for x, y in combinations([side, *more], 2))
    if "faithfulness" in judged:
        passes += sum(one.explanations for one in more)
    if "sae" in judged and more:
        # The site is chosen for every two models, so that the first may need dictionaries at further ones.
        passes += sum(x.autoencoders + y.autoencoders for x, y in combinations([side, *more], 2))
    return passes
