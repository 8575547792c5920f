"""compare_mechanisms: do two models answer by the same route, and over the same variables?"""

from __future__ import annotations

import dataclasses
import html
import itertools
from collections.abc import Sequence

import pandas as pd

from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.progress import bar
from mechdecouple.results import Measurement, frame
from mechdecouple.structure.mechanism._pieces import (
    interchange_piece,
    route_pieces,
    stitching_piece,
    wrong_options_piece,
)
from mechdecouple.structure.mechanism._portrait import Portrait, compared_on, portray
from mechdecouple.structure.mechanism.cost import BUDGET, LIMIT, SWAPPED, Shares, stitched_points
from mechdecouple.structure.mechanism.counterfactuals import declared
from mechdecouple.structure.mechanism.evidence import Evidence, evidence_frame
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap, interchanges
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.shared_variables import SharedVariables, shared_variables
from mechdecouple.structure.mechanism.stitched import Stitching
from mechdecouple.structure.mechanism.stitching import stitch
from mechdecouple.structure.mechanism.verdict import AxisVerdict, judge
from mechdecouple.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Interchanges:
    """Where answers follow declared concepts, in A and in B, and which of them are variables of both."""

    maps: tuple[InterchangeMap, InterchangeMap]

    @property
    def shared(self) -> SharedVariables:
        return shared_variables(*self.maps)

    def measurements(self) -> list[Measurement]:
        return [row for one in (*self.maps, self.shared) for row in one.measurements()]

    def frame(self) -> pd.DataFrame:
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return self.shared._repr_html_() + "".join(one._repr_html_() for one in self.maps)


@dataclasses.dataclass(frozen=True, eq=False)
class MechanismComparison:
    """Two models on one task: both verdicts and everything they rest on.

    Attributes:
        model_a, model_b, task: names.
        route, variables: the verdict on each axis. evidence: all pieces on both.
        profiles: causal profile of either model.
        signatures: of either model. stitching: None where it could not be made. interchange: None without concepts.
        passes: item passes it took, seeds included.
    """

    model_a: str
    model_b: str
    task: str
    route: AxisVerdict
    variables: AxisVerdict
    evidence: tuple[Evidence, ...]
    profiles: tuple[CausalProfile, CausalProfile]
    stitching: Stitching | None
    interchange: Interchanges | None
    passes: int

    @property
    def sentence(self) -> str:
        return f"{self.route.sentence}. {self.variables.sentence}."

    def frame(self) -> pd.DataFrame:
        """One row a piece of evidence."""
        return evidence_frame(self.evidence)

    def _repr_html_(self) -> str:
        title = html.escape(f"{self.model_a} and {self.model_b} on {self.task}")
        said = "".join(f"<p>{html.escape(v.sentence)}</p>" for v in (self.route, self.variables))
        pieces = "".join(f"<li>{html.escape(piece.sentence)}</li>" for piece in self.evidence)
        return f"<div><b>{title}</b>{said}<ul>{pieces}</ul></div>"


def compare_mechanisms(
    model_a: HookedModel,
    model_b: HookedModel,
    task: Task,
    *,
    seeds_a: Sequence[HookedModel] = (),
    seeds_b: Sequence[HookedModel] = (),
    limit: int = LIMIT,
    budget: int = BUDGET,
    seed: int = 0,
    progress: bool = True,
) -> MechanismComparison:
    """Measure both models and judge them by the rule of `judge`; `mechanism_cost` says beforehand what it takes.

    Args:
        task: items whose answers are among options or classes; declared concepts (``concept_*``) add evidence.
        seeds_a, seeds_b: other seeds of A's and B's recipe: what they differ by is never called another route.
        limit: most items of ablations and gradients.
        budget: most item passes for the pair; each seed takes about a sixth more.

    Raises:
        InputError: answers without options, or a budget that holds no causal profile.
    """
    shares = Shares(budget)
    rigs = Rig(model_a, task), Rig(model_b, task)
    steps = 4 + len(seeds_a) + len(seeds_b)
    passes = 0
    with bar(total=steps, progress=progress, desc=f"{model_a.name} and {model_b.name}", unit="step") as shown:

        def portrait(rig: Rig, whole: bool) -> Portrait:
            nonlocal passes
            made = portray(
                compared_on(rig, seed), limit=limit, budget=shares.profile, seed=seed, whole=whole, progress=progress
            )
            passes += made.passes
            shown.update()
            return made

        a, b = (portrait(rig, True) for rig in rigs)
        arms = [
            [own, *(portrait(Rig(model, task), False) for model in seeds)]
            for own, seeds in ((a, seeds_a), (b, seeds_b))
        ]
        stitching, reason = _stitch(a, b, shares, seed, progress)
        shown.update()
        swapped, missing = _interchange(rigs, shares, seed, progress)
        shown.update()
        stitched = stitching_piece(stitching, reason)
        yardstick: list[Stitching] = []
        if stitched.defined and stitched.distance.low > 0.5 and all(len(arm) > 1 for arm in arms):
            made = [_stitch(arm[0], arm[1], shares, seed, progress)[0] for arm in arms]
            yardstick = [one for one in made if one is not None]
            stitched = stitching_piece(stitching, reason, yardstick)
    pairs = [pair for arm in arms for pair in itertools.combinations(arm, 2)]
    evidence = (
        *route_pieces(a, b, pairs),
        wrong_options_piece(a, b),
        stitched,
        interchange_piece(None if swapped is None else swapped.maps, missing),
    )
    chance = a.at_chance or b.at_chance
    passes += sum(s.passes for s in (stitching, *yardstick) if s is not None)
    passes += 0 if swapped is None else sum(one.passes for one in swapped.maps)
    return MechanismComparison(
        model_a.name, model_b.name, task.name, judge("route", evidence, chance), judge("variables", evidence, chance),
        evidence, (a.profile, b.profile), stitching, swapped, passes,
    )  # fmt: skip


def _stitch(a: Portrait, b: Portrait, shares: Shares, seed: int, progress: bool) -> tuple[Stitching | None, str]:
    points = stitched_points(a.rig.model), stitched_points(b.rig.model)
    try:
        return stitch(a.rig, b.rig, *points, budget=shares.stitching, seed=seed, progress=progress), ""
    except InputError as error:
        return None, str(error)


def _interchange(rigs: tuple[Rig, Rig], shares: Shares, seed: int, progress: bool) -> tuple[Interchanges | None, str]:
    if not declared(rigs[0].task):
        return None, "no concepts are declared"
    try:
        a, b = (
            interchanges(rig, budget=shares.interchange, limit=SWAPPED, seed=seed, progress=progress) for rig in rigs
        )
    except InputError as error:
        return None, str(error)
    return Interchanges((a, b)), ""
