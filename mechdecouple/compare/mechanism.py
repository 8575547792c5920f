"""Mechanism of the pair: whether both come to their answers by the same parts, and over the same variables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.side import Pair
from mechdecouple.compare.verdict import Verdict
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.structure.mechanism.compare import MechanismComparison, compare_portraits
from mechdecouple.structure.mechanism.evidence import AXES, Evidence, evidence_frame
from mechdecouple.structure.mechanism.options import no_options
from mechdecouple.structure.mechanism.portrait import LIMIT, common_limit, portray
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.signatures import Signature, contrast
from mechdecouple.structure.mechanism.verdict import AxisVerdict

ABLATION = "resample"
"""The ablation whose shares are drawn: it leaves activations as the network knows them."""
SEED = "seed of {}"
"""Context of the rows of a further seed of A's or B's recipe."""

DISTANCE = Metric(
    name="mechanism_distance",
    family="mechanism",
    title="distance of two mechanisms",
    measures="how far two models lie apart by one piece of evidence on how they come to their answers",
    range="[0, 1] for most pieces, see each",
    null="0: alike; the margin up to which it does not count stands in the table of evidence",
)
"""Rows of evidence: ``concept`` names the piece, ``context`` the axis it speaks on."""


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """What a comparison keeps of the mechanisms of the pair; see ``Comparison``."""

    verdicts: tuple[Verdict, ...]
    rows: list[Measurement]
    parts: pd.DataFrame
    evidence: pd.DataFrame
    notes: tuple[str, ...] = ()


def find_mechanism(pair: Pair, progress: bool) -> Mechanism:
    """Compare the mechanisms of the pair on the items whose answers are compared; further seeds of either recipe say
    what counts as apart."""
    reason = unanswerable(pair)
    if reason:
        return nothing(pair.names, reason)
    side, config = pair.a, pair.a.config
    left = np.isin(np.arange(len(side.task)), side.acts.items[side.rows])
    task = side.task.select(np.flatnonzero(gate_rows(side.task) & left))
    try:
        limit = common_limit((side.model, pair.b.model), task, limit=items(config), seed=config.seed)
        options = {"limit": limit, "seed": config.seed, "progress": progress}
        a, b = (portray(model, task, **options) for model in (side.model, pair.b.model))
        seeds = [[portray(model, task, whole=False, **options) for model in own] for own in pair.seeds]
        found = compare_portraits(a, b, seeds_a=seeds[0], seeds_b=seeds[1], seed=config.seed, progress=progress)
    except InputError as error:
        return nothing(pair.names, str(error))
    return kept(found, [[seed.signature for seed in own] for own in seeds])


def items(config: CompareConfig) -> int:
    """Most items of ablations."""
    return min(LIMIT, config.probe_items)


def unanswerable(pair: Pair) -> str:
    """Why the mechanisms cannot be compared: a model that does not choose among options; empty where they can."""
    for side in (pair.a, pair.b):
        if side.subject is None:
            return f"{side.name}: {side.untestable}"
        reason = no_options(side.answers, side.task)
        if reason:
            return f"{side.name}: {reason}"
    return ""


def nothing(names: tuple[str, str], reason: str) -> Mechanism:
    """What stands in a comparison whose mechanisms cannot be compared."""
    undefined = Estimate.undefined(reason)
    row = Measurement(
        metric=DISTANCE.name, family=DISTANCE.family, estimate=undefined, model=names[0], model_b=names[1]
    )
    verdicts = tuple(Verdict(axis, "pair", None, f"{axis.capitalize()} not compared: {reason}.") for axis in AXES)
    return Mechanism(verdicts, [row], pd.DataFrame(), pd.DataFrame(), (f"Mechanisms were not compared: {reason}.",))


def kept(found: MechanismComparison, seeds: Sequence[Sequence[Signature]] = ((), ())) -> Mechanism:
    """What a comparison keeps of a comparison of mechanisms.

    Args:
        seeds: signatures of further seeds of A's and of B's recipe.
    """
    names = found.model_a, found.model_b
    rows = [row for profile in found.profiles for row in part_rows(profile)]
    rows += [row for own in found.signatures for row in own.measurements()]
    rows += [row for side, own in zip("ab", seeds, strict=True) for row in seed_rows(own, side)]
    rows += contrast(*found.signatures, seed=0).measurements()
    rows += [] if found.stitching is None else found.stitching.measurements()
    rows += [] if found.interchange is None else [_at_token(row) for row in found.interchange.measurements()]
    rows += [distance_row(piece, names) for piece in found.evidence]
    return Mechanism(
        tuple(axis_verdict(verdict, names) for verdict in (found.route, found.variables)),
        rows,
        pd.concat([profile.frame() for profile in found.profiles], ignore_index=True),
        evidence_frame(found.evidence),
    )


def part_rows(profile: CausalProfile) -> list[Measurement]:
    """A profile's measurements with the part as the concept; parts that were only attributed are left out."""
    return [
        dataclasses.replace(row, concept=row.position, position="")
        for row in profile.measurements()
        if math.isfinite(row.estimate.value)
    ]


def _at_token(row: Measurement) -> Measurement:
    """A row with the token in its context where it is of one token alone."""
    return row if row.position in ("", "all", "last") else dataclasses.replace(row, context=f"token {row.position}")


def seed_rows(seeds: Sequence[Signature], side: str) -> list[Measurement]:
    """Signatures of further seeds of a recipe: ``context`` says whose, and the model is named apart from the pair."""
    return [
        dataclasses.replace(row, model=f"{seed.model} (seed {i + 1} of {side.upper()})", context=SEED.format(side))
        for i, seed in enumerate(seeds)
        for row in seed.measurements()
    ]


def distance_row(piece: Evidence, names: tuple[str, str]) -> Measurement:
    """A piece of evidence as a measurement of the pair."""
    return Measurement(
        metric=DISTANCE.name, family=DISTANCE.family, estimate=piece.distance, model=names[0], model_b=names[1],
        concept=piece.name, context=piece.axis,
    )  # fmt: skip


def axis_verdict(found: AxisVerdict, names: tuple[str, str]) -> Verdict:
    """The verdict on one axis as one of the comparison: flagged where the two are not the same."""
    flagged = {"same": False, "other": True, "cannot tell": None}[found.answer]
    pieces = (*found.evidence_for, *found.evidence_against, *found.silent)
    sentence = f"{found.sentence[:1].upper()}{found.sentence[1:].rstrip('.')}."
    return Verdict(
        found.axis, "pair", flagged, sentence,
        evidence=tuple(distance_row(piece, names) for piece in pieces),
        flags={piece.name: {"same": False, "other": True, "": None}[piece.says] for piece in pieces},
        speaks_for=sentences(found.evidence_for),
        speaks_against=sentences(found.evidence_against),
        silent=sentences(found.silent),
    )  # fmt: skip


def sentences(pieces: Iterable[Evidence]) -> tuple[str, ...]:
    return tuple(piece.sentence for piece in pieces)


def chosen(parts: Any) -> Any:
    """Of a table of parts, the rows of the ablation that is drawn: resampling, else the last that was made."""
    if not len(parts):
        return parts
    made = list(dict.fromkeys(parts.ablation))
    return parts[parts.ablation == (ABLATION if ABLATION in made else made[-1])]
