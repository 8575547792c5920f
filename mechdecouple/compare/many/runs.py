"""Runs: the models of a comparison of many, looked at once to check them and read once, one at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mechdecouple.behavior import Answers
from mechdecouple.behavior.answers import LossUnit
from mechdecouple.compare import robustness
from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.inside import Inside
from mechdecouple.compare.labels import Labels
from mechdecouple.compare.pairing import choose_points, comparability
from mechdecouple.compare.preflight import check_items, check_reading
from mechdecouple.compare.side import Side, make_side
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.models import HookedModel
from mechdecouple.refs import load
from mechdecouple.stats import Replicates
from mechdecouple.tasks import Task

MAX_ROWS = 1024
"""Rows on which distances of runs are measured; activations of so many are kept of each run."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """A run that is to be read: its label, arm and reference, and the hook points at the sites."""

    label: str
    arm: str
    ref: Any
    points: tuple[str, ...] = ()

    def load(self, config: CompareConfig) -> HookedModel:
        return load(self.ref, fold_ln=config.fold_ln, device=config.device, dtype=config.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What is kept of a run that was read.

    Attributes:
        points: its hook point at each site; active: whether the answers depend on each.
        inside: structure at the hook points; tolerance: ε90 at the hook points to which noise was added (None where
            it is undefined), with the reason where none was.
        acts: [n, d] activations at each site on rows sampled alike for all runs; ids, groups: [n] of these rows.
    """

    label: str
    answers: Answers
    points: tuple[str, ...]
    active: tuple[bool, ...]
    inside: Inside | None
    labels: Labels
    tolerance: Mapping[str, Replicates | None]
    no_tolerance: str
    acts: tuple[np.ndarray, ...]
    ids: np.ndarray
    groups: np.ndarray


@dataclasses.dataclass(frozen=True)
class Look:
    """What a first look at all runs gave: slots with their hook points, notes, and what made each model."""

    slots: tuple[Slot, ...]
    notes: tuple[str, ...]
    models: dict[str, dict[str, Any]]
    loss_unit: LossUnit


def check_first(arms: Mapping[str, Sequence[Any]], task: Task, config: CompareConfig) -> Look:
    """Load every run in turn and refuse what could only fail after minutes.

    Hook points are those of the run with the fewest; to each of them every other run's nearest in depth is paired.

    Raises:
        InputError: runs that cannot be compared, a run with the weights of another, or options that do not fit.
    """
    check_items(task)
    if task.scores is not None:
        raise InputError(f"task {task.name!r} brings the scores of two models; many runs need answers to read")
    refs = [(arm, ref) for arm, runs in arms.items() for ref in runs]
    notes: list[str] = []
    facts, depths, points = [], [], []
    first: HookedModel | None = None
    for arm, ref in refs:
        model = Slot("", arm, ref).load(config)
        first = first or model
        notes += comparability(first, model, config) if model is not first else []
        found = choose_points(model, config.hook_points)
        check_reading(model, task, found, config, slot="a")
        facts.append(model.provenance())
        points.append(found)
        depths.append([model.depth(p) for p in found])
    _refuse_copies(refs, facts)
    fewest = depths[int(np.argmin([len(d) for d in depths]))]
    sites = [_aligned(fewest, own, names) for own, names in zip(depths, points, strict=True)]
    labels = _labels(arms, [str(fact["name"]) for fact in facts])
    slots = [Slot(label, arm, ref, at) for label, (arm, ref), at in zip(labels, refs, sites, strict=True)]
    tokenizers = {fact["tokenizer_hash"] for fact in facts}
    unit: LossUnit = "byte" if len(tokenizers) > 1 and task.prompts is not None else "token"
    return Look(tuple(slots), tuple(dict.fromkeys(notes)), dict(zip(labels, facts, strict=True)), unit)


def read_run(
    slot: Slot,
    model: HookedModel,
    task: Task,
    config: CompareConfig,
    noisy: Sequence[int],
    unit: LossUnit,
    progress: bool,
) -> Run:
    """Read one run; ``noisy`` are the sites at which noise is added. Nothing of the model itself is kept."""
    points = tuple(dict.fromkeys(slot.points))
    side = make_side(model, task, points, config, slot="a", loss_unit=unit, store=None, progress=progress)
    sample = _sample(len(side.rows), config.seed)
    acts = side.structural.select(sample)
    tolerance, reason = _tolerance(side, [slot.points[i] for i in noisy]) if noisy else ({}, "")
    return Run(
        label=slot.label,
        answers=side.answers,
        points=slot.points,
        active=tuple(side.active(p) for p in slot.points),
        inside=side.inside if "structure" in config.families else None,
        labels=side.labels,
        tolerance=tolerance,
        no_tolerance=reason,
        acts=tuple(acts[p].copy() for p in slot.points) if "similarity" in config.families else (),
        ids=acts.ids,
        groups=side.labels.groups[sample],
    )


def check_rows(runs: Sequence[Run]) -> None:
    """Refuses runs whose sampled rows are not the same.

    Raises:
        MismatchError: names the first run that differs.
    """
    for run in runs[1:]:
        if not np.array_equal(run.ids, runs[0].ids):
            raise MismatchError(f"runs {runs[0].label!r} and {run.label!r} have activations of different rows")


def _tolerance(side: Side, points: Sequence[str]) -> tuple[dict[str, Replicates | None], str]:
    if side.subject is None or side.gradients is None:
        return {}, side.answers.reason or "there are no answers to disturb"
    if side.answers.performance not in ("choice", "class"):
        return {}, f"answers read as {side.answers.unit} have no options whose logits say what the read-out uses"
    found: dict[str, Replicates | None] = {}
    for point in dict.fromkeys(p for p in points if side.active(p)):
        curve = robustness.noise_curve(side.subject, point, side.gradients.outputs[point], side.config.seed)
        value = robustness.tolerance(side.subject, curve)
        found[point] = value if np.isfinite(value.value) else None
    return found, ""


def _sample(n: int, seed: int) -> np.ndarray:
    if n <= MAX_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, MAX_ROWS, replace=False))


def _aligned(fewest: Sequence[float], own: Sequence[float], names: tuple[str, ...]) -> tuple[str, ...]:
    """A hook point for each depth of ``fewest``: one to one where there are equally many, else the nearest."""
    if len(fewest) == len(own):
        return names
    gap = np.abs(np.subtract.outer(fewest, own))
    return tuple(names[i] for i in gap.argmin(axis=1))


def _labels(arms: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[str]:
    """The models' own names where they tell the runs apart, else ``arm[0]``, ``arm[1]`` …"""
    if len(set(names)) == len(names) and not set(names) & set(arms):
        return list(names)
    return [f"{arm}[{i}]" for arm, runs in arms.items() for i in range(len(runs))]


def _refuse_copies(refs: Sequence[tuple[str, Any]], facts: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for (arm, _), fact in zip(refs, facts, strict=True):
        if fact["weight_hash"] in seen:
            other, where = seen[fact["weight_hash"]]
            raise InputError(
                f"run {fact['name']!r} of arm {arm!r} has the weights of {other!r} in arm {where!r}; a copy is no "
                "second run: leave it out"
            )
        seen[fact["weight_hash"]] = str(fact["name"]), arm
