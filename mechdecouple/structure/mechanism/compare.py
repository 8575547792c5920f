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
    by_answer_piece,
    interchange_piece,
    route_pieces,
    stitching_pieces,
    wrong_options_piece,
)
from mechdecouple.structure.mechanism.cost import BUDGET, SWAPPED, Shares, stitched_points
from mechdecouple.structure.mechanism.counterfactuals import declared
from mechdecouple.structure.mechanism.evidence import Evidence, evidence_frame
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap, interchanges
from mechdecouple.structure.mechanism.portrait import LIMIT, Portrait, common_limit, portray
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.shared_variables import SharedVariables, shared_variables
from mechdecouple.structure.mechanism.signatures.signature import Signature
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
        profiles, signatures: of A and of B.
        stitching: None where it could not be made. interchange: None without concepts.
        passes: item passes it took, seeds included.
    """

    model_a: str
    model_b: str
    task: str
    route: AxisVerdict
    variables: AxisVerdict
    evidence: tuple[Evidence, ...]
    profiles: tuple[CausalProfile, CausalProfile]
    signatures: tuple[Signature, Signature]
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
    limit = common_limit((model_a, model_b), task, limit=limit, budget=Shares(budget).profile, seed=seed)
    given = [(model_a, True), (model_b, True), *((m, False) for m in (*seeds_a, *seeds_b))]
    made = [
        portray(model, task, limit=limit, budget=Shares(budget).profile, seed=seed, whole=whole, progress=progress)
        for model, whole in bar(given, progress=progress, desc="portraits", unit="model")
    ]
    cut = 2 + len(seeds_a)
    return compare_portraits(
        made[0], made[1], seeds_a=made[2:cut], seeds_b=made[cut:], budget=budget, seed=seed, progress=progress
    )


def compare_portraits(
    a: Portrait,
    b: Portrait,
    *,
    seeds_a: Sequence[Portrait] = (),
    seeds_b: Sequence[Portrait] = (),
    budget: int = BUDGET,
    seed: int = 0,
    progress: bool = False,
) -> MechanismComparison:
    """`compare_mechanisms` of models that are portrayed already, on the same task with the same limit and seed."""
    shares, arms = Shares(budget), ((a, *seeds_a), (b, *seeds_b))
    stitching, reason = _stitch(a, b, shares, seed, progress)
    swapped, missing = _interchange(a, b, shares, seed, progress)
    stitched, yardstick = stitching_pieces(stitching, reason), list[Stitching]()
    if stitched[0].defined and stitched[0].distance.low > stitched[0].beyond and all(len(arm) > 1 for arm in arms):
        made = [_stitch(arm[0], arm[1], shares, seed, progress)[0] for arm in arms]
        yardstick = [one for one in made if one is not None]
        stitched = stitching_pieces(stitching, reason, yardstick)
    chance = a.at_chance or b.at_chance
    told = route_pieces(a, b, [pair for arm in arms for pair in itertools.combinations(arm, 2)])
    route = judge("route", told, chance)
    evidence = (
        *told,
        wrong_options_piece(a, b),
        by_answer_piece(a, b, route.answer),
        *stitched,
        interchange_piece(None if swapped is None else swapped.maps, missing),
    )
    passes = sum(portrait.passes for arm in arms for portrait in arm)
    passes += sum(s.passes for s in (stitching, *yardstick) if s is not None)
    passes += 0 if swapped is None else sum(one.passes for one in swapped.maps)
    return MechanismComparison(
        a.name, b.name, a.task.name, route, judge("variables", evidence, chance),
        evidence, (a.profile, b.profile), (a.signature, b.signature), stitching, swapped, passes,
    )  # fmt: skip


def _stitch(a: Portrait, b: Portrait, shares: Shares, seed: int, progress: bool) -> tuple[Stitching | None, str]:
    points = stitched_points(a.rig.model), stitched_points(b.rig.model)
    try:
        return stitch(a.rig, b.rig, *points, budget=shares.stitching, seed=seed, progress=progress), ""
    except InputError as error:
        return None, str(error)


def _interchange(
    a: Portrait, b: Portrait, shares: Shares, seed: int, progress: bool
) -> tuple[Interchanges | None, str]:
    if not declared(a.task):
        return None, "no concepts are declared"
    rigs = (Rig(portrait.rig.model, portrait.task) for portrait in (a, b))
    try:
        one, other = (
            interchanges(rig, budget=shares.interchange, limit=SWAPPED, seed=seed, progress=progress) for rig in rigs
        )
    except InputError as error:
        return None, str(error)
    return Interchanges((one, other)), ""
