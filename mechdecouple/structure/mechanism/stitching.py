"""Stitching: whether one model answers when an affine map puts another's activations in the place of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.progress import bar
from mechdecouple.structure.mechanism._affine import AffineMaps, gram
from mechdecouple.structure.mechanism._driving import Side, driving, stretch_of
from mechdecouple.structure.mechanism._values import answers_of, distinct, inputs_of
from mechdecouple.structure.mechanism.holdout import By, Holdout, hold_out
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.stitched import Direction, Scores, Stitching

_MOST_POINTS = 8
_LEAST_TEST, _MOST_TEST, _MOST_USED = 10, 128, 1000
_MOST_NUMBERS = 2**27
"""Most numbers of one model's activations held at once: half a gigabyte."""


@dataclasses.dataclass(frozen=True, eq=False)
class StitchingPlan:
    """What is going to be stitched, and its cost; making it runs no model."""

    points_a: tuple[str, ...]
    points_b: tuple[str, ...]
    holdout: Holdout
    seed: int

    @property
    def passes(self) -> int:
        """Item passes: both models and their twins with fresh weights on all items that are used, then every pair of
        layers and three controls a layer, both ways, on the test items."""
        return 4 * len(self.holdout.used) + _drives(self.points_a, self.points_b) * len(self.holdout.test)


def plan_stitching(
    rig_a: Rig,
    rig_b: Rig,
    points_a: Sequence[str] | None = None,
    points_b: Sequence[str] | None = None,
    *,
    by: By = "values",
    budget: int = 12_000,
    seed: int = 0,
) -> StitchingPlan:
    """Choose hook points and items so that stitching takes at most ``budget`` item passes.

    Raises:
        MismatchError: the rigs hold other items. InputError: too few items or groups, or a budget that is too small.
    """
    _check_aligned(rig_a, rig_b)
    points = _points(rig_a, points_a), _points(rig_b, points_b)
    n_used = min(len(rig_a), _MOST_USED, budget // 16, _fitting(rig_a, points[0]), _fitting(rig_b, points[1]))
    n_test = min((budget - 4 * n_used) // _drives(*points), _MOST_TEST)
    if n_test < _LEAST_TEST:
        needed = 4 * n_used + _LEAST_TEST * _drives(*points)
        raise InputError(
            f"budget {budget} tests {max(n_test, 0)} items at {len(points[0])} x {len(points[1])} hook points; "
            f"expected at least {_LEAST_TEST}: give {needed} passes or fewer points"
        )
    answer = answers_of(rig_a)
    inputs = {**inputs_of(rig_a), **{f"{k} ({rig_b.name})": v for k, v in inputs_of(rig_b).items()}}
    held = hold_out(distinct(inputs), answer, rig_a.task.groups, by=by, n_test=n_test, n_used=n_used, seed=seed)
    return StitchingPlan(points[0], points[1], held, seed)


def stitch(
    rig_a: Rig,
    rig_b: Rig,
    points_a: Sequence[str] | None = None,
    points_b: Sequence[str] | None = None,
    *,
    by: By = "values",
    budget: int = 12_000,
    seed: int = 0,
    progress: bool = False,
) -> Stitching:
    """Drive each model by the other through affine maps from every hook point of one to every hook point of the other.

    Maps are fitted on fit items and tried on items whose inputs and answers they never saw (see `hold_out`): else a
    table of the inputs, or a stream that already holds the answer, could be turned into any other one. What such
    look-ups give all the same is measured by two controls: the source with fresh weights, which knows its inputs and
    has learned nothing (its items shuffled would know not even these and always look harmless), and the right answer's
    name. What the map and the held-out values allow at best is measured by stitching the target to itself.

    Args:
        points_a, points_b: default: the stream after every layer (thinned to 8), and inside layers where there are
            few. What bypasses a hook point is not driven, which shows as controls that do well. Prompts are driven at
            all their tokens together; where they differ in length, at as many of the last ones as the shortest has.
        by: ``groups`` holds out groups of items only: what it gives more than ``values`` was looked up.
        budget: most item passes; `plan_stitching` says how many it will be.

    Raises:
        MismatchError: the rigs hold other items. InputError: see `plan_stitching`.
    """
    plan = plan_stitching(rig_a, rig_b, points_a, points_b, by=by, budget=budget, seed=seed)
    held = plan.holdout
    sides = [Side(rig, points, held.used, seed) for rig, points in ((rig_a, plan.points_a), (rig_b, plan.points_b))]
    names = answers_of(rig_a)[held.used]
    answers = gram(torch.from_numpy((names[:, None] == np.unique(names)).astype(np.float64)))
    given = _given(sides, answers.to(sides[0].grams), held.within())
    tests = np.searchsorted(held.used, held.test)
    with bar(total=_drives(plan.points_a, plan.points_b) - 2, desc="stitching", progress=progress) as meter:
        forward = _driven(sides[0], sides[1], given[1], tests, meter)
        backward = _driven(sides[1], sides[0], given[0], tests, meter)
    notes = tuple(note for side in sides for note in side.notes)
    return Stitching(forward, backward, held, sum(side.passes for side in sides), notes)


def _given(sides: Sequence[Side], answers: Tensor, held: Holdout) -> list[list[Tensor]]:
    """For each side and hook point [s + 3, n, u], the weights of its used items in what it is given on the test items:
    from each layer of the other side, from itself, from the other side with fresh weights at the layer that fits best,
    and from the answer."""
    sources = torch.cat([*(side.grams for side in sides), *(side.fresh for side in sides), answers[None]])
    sizes = [len(side.points) for side in sides]
    of_a, of_b, fresh_a, fresh_b, _ = np.split(np.arange(len(sources)), np.cumsum([*sizes, *sizes]))
    answer = len(sources) - 1
    roles = ((of_a, of_b, fresh_b), (of_b, of_a, fresh_a))
    given = [
        [torch.zeros(n + 3, len(held.test), sources.shape[1], device=sources.device) for _ in side.points]
        for side, n in zip(sides, sizes[::-1], strict=True)
    ]
    for fold in held.folds:
        maps = AffineMaps(sources, fold)
        rows, columns = torch.as_tensor(np.searchsorted(held.test, fold.test)), torch.as_tensor(fold.fit)
        for given_here, (own, layers, fresh) in zip(given, roles, strict=True):
            for out, target in zip(given_here, own.tolist(), strict=True):
                n, tried = len(layers), [*layers.tolist(), target, answer, *fresh.tolist()]
                penalty, score = maps.choose(target, tried)
                chosen = [*range(n + 1), n + 2 + int(score[n + 2 :].argmax()), n + 1]
                for place, i in enumerate(chosen):
                    out[place, rows[:, None], columns] = maps.weights(target, tried[i], penalty[i]).to(out)
    return given


def _driven(source: Side, target: Side, given: Sequence[Tensor], tests: np.ndarray, meter: tqdm) -> Direction:
    rig, n = target.rig.select(tests), len(source.points)
    clean = rig.clean
    correct, error = np.zeros((2, n + 3, len(target.points), len(tests)))
    stretch = None if target.stretch is None else target.stretch.select(tests)
    for t, (point, weights) in enumerate(zip(target.points, given, strict=True)):
        for s, one in enumerate(weights):
            made = rig.read(driving(point, one @ target.values[point], stretch))
            correct[s, t], error[s, t] = made.correct, np.nansum((made.values - clean.values) ** 2, axis=1)
            meter.update()
    target.count(rig)
    score = Scores(rig.task.groups)
    accuracy = score.mean(correct)
    return Direction(
        source.rig.name, target.rig.name, source.points, target.points,
        accuracy=accuracy[:n], kept=score.share(error[:n], clean), random=accuracy[n + 1], answer=accuracy[n + 2],
        ceiling=accuracy[n], clean=score.mean(clean.correct),
    )  # fmt: skip


def _points(rig: Rig, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        rig.model.check_hook_points(given)
        return tuple(map(str, given))
    model, points = rig.model, rig.model.layer_points
    if model.input_kind == "array":
        points = points[:-1] or points
    middles = [p for p in model.hook_points if p in points or p.endswith(".hook_resid_mid")]
    if len(middles) <= _MOST_POINTS:
        return tuple(middles)
    thin = np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).round().astype(int)
    return tuple(points[int(i)] for i in thin)


def _fitting(rig: Rig, points: Sequence[str]) -> int:
    """How many items' activations are held at once."""
    stretch = stretch_of(rig)
    if stretch is None:
        return len(rig)
    return max(100, _MOST_NUMBERS // (stretch.length * sum(rig.model.width(point) for point in points)))


def _check_aligned(rig_a: Rig, rig_b: Rig) -> None:
    a, b = rig_a.task.ids, rig_b.task.ids
    if len(a) != len(b) or (a != b).any():
        row = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        raise MismatchError(
            f"models {rig_a.name!r} and {rig_b.name!r} are rigged on other items from row {row + 1} on: "
            "stitching needs the same items in the same order"
        )


def _drives(points_a: Sequence[str], points_b: Sequence[str]) -> int:
    """How often a test item runs: every pair, a self-stitch and two controls a layer, both ways, and once clean."""
    s, t = len(points_a), len(points_b)
    return 2 * s * t + 3 * (s + t) + 2
