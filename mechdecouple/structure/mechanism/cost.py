"""Cost: what comparing two mechanisms will take, stated before it runs."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.structure.mechanism.counterfactuals import declared
from mechdecouple.structure.mechanism.interchange_map import default_points, map_cost
from mechdecouple.structure.mechanism.portrait import LIMIT, common_limit, compared_on, portrait_cost
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.stitching import plan_stitching
from mechdecouple.tasks import Task

BUDGET = 40_000
"""Item passes of a pair of models: some two minutes on two cores for six layers of width 256 and 16 tokens."""
_PROFILE, _STITCHING, _INTERCHANGE = 0.25, 0.25, 0.08
"""Shares of the budget: of each model's profile, of stitching, of each model's interchange."""
SWAPPED = 64
"""Items that concepts are swapped on."""
_TIMED, _POINTS = 16, 5


@dataclasses.dataclass(frozen=True)
class Shares:
    """Item passes that the parts of a comparison may take, within a budget for the pair."""

    budget: int

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InputError(f"budget is {self.budget}: expected item passes for both models, {BUDGET} say")

    @property
    def profile(self) -> int:
        return int(_PROFILE * self.budget)

    @property
    def stitching(self) -> int:
        return int(_STITCHING * self.budget)

    @property
    def interchange(self) -> int:
        return int(_INTERCHANGE * self.budget)


@dataclasses.dataclass(frozen=True)
class MechanismCost:
    """What a comparison takes at most.

    Attributes:
        passes: part of the comparison -> item passes, one item once through one model each.
        seconds: all of them, by how long a few items took; NaN where they were not timed.
        left_out: part -> why it will not be measured.
    """

    passes: Mapping[str, int]
    seconds: float
    left_out: Mapping[str, str]

    @property
    def total(self) -> int:
        return sum(self.passes.values())

    @property
    def sentence(self) -> str:
        time = "" if np.isnan(self.seconds) else f", about {_duration(self.seconds)}"
        return f"{self.total:,} item passes at most{time}"

    def frame(self) -> pd.DataFrame:
        """One row a part."""
        rows = [{"part": part, "passes": n, "reason": ""} for part, n in self.passes.items()]
        rows += [{"part": part, "passes": 0, "reason": reason} for part, reason in self.left_out.items()]
        return pd.DataFrame(rows, columns=["part", "passes", "reason"])

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.frame().to_html(index=False, border=0)}"


def mechanism_cost(
    model_a: HookedModel,
    model_b: HookedModel,
    task: Task,
    *,
    seeds_a: Sequence[HookedModel] = (),
    seeds_b: Sequence[HookedModel] = (),
    limit: int = LIMIT,
    budget: int = BUDGET,
    seed: int = 0,
    timed: bool = True,
) -> MechanismCost:
    """What `compare_mechanisms` takes at most with the same arguments.

    Args:
        timed: read a few items with both models to say how long it will take.

    Raises:
        InputError: answers without options, or a budget that does not hold a causal profile.
    """
    if task.performance not in ("choice", "class"):
        raise InputError(
            f"task {task.name!r} is read as {task.performance!r}: mechanisms are compared where answers are among "
            "options or classes"
        )
    rigs, shares = (Rig(model_a, task), Rig(model_b, task)), Shares(budget)
    a, b = (compared_on(rig, seed) for rig in rigs)
    limit = common_limit((model_a, model_b), task, limit=limit, budget=shares.profile, seed=seed)
    passes = {
        f"profile and signatures of {'AB'[i]}": portrait_cost(rig, limit=limit, budget=shares.profile)
        for i, rig in enumerate((a, b))
    }
    left_out = {}
    try:
        passes["stitching"] = plan_stitching(
            a, b, stitched_points(model_a), stitched_points(model_b), budget=shares.stitching, seed=seed
        ).passes
    except InputError as error:
        left_out["stitching"] = str(error)
    if declared(task):
        for name, rig in zip("AB", rigs, strict=True):
            n = len(default_points(rig.model))
            passes[f"interchange of {name}"] = map_cost(task, n, budget=shares.interchange, limit=SWAPPED)
    else:
        left_out["interchange"] = "no concepts are declared"
    if seeds_a or seeds_b:
        each = [(rig, len(seeds)) for rig, seeds in ((a, seeds_a), (b, seeds_b))]
        of_seeds = sum(portrait_cost(rig, limit=limit, budget=shares.profile, whole=False) * n for rig, n in each)
        passes["seeds"] = of_seeds + passes.get("stitching", 0) * sum(n > 0 for _, n in each)
    seconds = _seconds((a, b), passes) if timed else float("nan")
    return MechanismCost(passes, seconds, left_out)


def stitched_points(model: HookedModel) -> tuple[str, ...]:
    """Where the whole state of a model is held, at most five places over its depth: the stream between its layers'
    parts, or the layers of a plain module but its answer."""
    stream = [p for p in model.hook_points if p in model.layer_points or p.endswith(".hook_resid_mid")]
    points = stream if model.input_kind == "tokens" else list(default_points(model))
    keep = np.unique(np.linspace(0, len(points) - 1, min(len(points), _POINTS)).round().astype(int))
    return tuple(points[i] for i in keep)


def _seconds(rigs: Sequence[Rig], passes: Mapping[str, int]) -> float:
    """Each part by its own model's time, those of both by their mean."""
    few = [rig.select(np.arange(min(_TIMED, len(rig)))) for rig in rigs]
    for rig in few:
        _ = rig.clean  # the first reading takes longer
        rig.passes, rig.seconds = 0, 0.0
        rig.read()
    each = {name: rig.seconds_per_pass for name, rig in zip("AB", few, strict=True)}
    mean = sum(each.values()) / len(each)
    return sum(n * each.get(part.split()[-1], mean) for part, n in passes.items())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
