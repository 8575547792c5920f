"""What a user can do with either model of the pair: foresee its answers, trust the surest, get more out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mechdecouple.compare.gate import gate_rows
from mechdecouple.errors import InputError
from mechdecouple.faithfulness.measure import drawn
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.usefulness import (
    AURC,
    RECOVERABLE_ACCURACY,
    SIMULATABILITY,
    Found,
    differences,
    recoverable_accuracy,
    risk_coverage,
    seen,
    simulatability,
)

if TYPE_CHECKING:
    from mechdecouple.compare.side import Pair, Side

LIMIT = 2000
"""Most items that surrogates and heads are fitted on and scored on, but for the rest of the last group."""


def use_rows(pair: Pair) -> tuple[list[Measurement], tuple[str, ...]]:
    """Every measure of either model and its paired difference, and what bounds them."""
    rows: list[Measurement] = []
    measures: tuple[tuple[Metric, Callable[[Side], Found | str]], ...] = (
        (SIMULATABILITY, _foreseen), (AURC, _trusted), (RECOVERABLE_ACCURACY, _recovered),
    )  # fmt: skip
    for metric, measure in measures:
        found = []
        for side in (pair.a, pair.b):
            try:
                found.append(measure(side))
            except InputError as error:
                found.append(str(error))
        points = (pair.a.points[-1], pair.b.points[-1]) if measure is _recovered else ("", "")
        for side, own, point in zip((pair.a, pair.b), found, points, strict=True):
            place = {"hook_point": point, "position": side.acts.position if point else ""}
            if isinstance(own, Found):
                rows += [dataclasses.replace(row, **place) for row in own.measurements()]
            else:
                undefined = Estimate.undefined(own, direction=metric.direction)
                rows.append(
                    Measurement(metric=metric.name, family=metric.family, estimate=undefined, model=side.name, **place)
                )
        a, b = found
        if isinstance(a, Found) and isinstance(b, Found):
            place = {"hook_point": points[0], "hook_point_b": points[1]}
            rows += [dataclasses.replace(row, **place) for row in differences(a, b, pair.names)]
    return rows, _notes(pair)


def _foreseen(side: Side) -> Found | str:
    """Simulatability from what the task declares of its items."""
    task, answers = side.task, side.answers
    if answers.answer_text is None:
        return answers.reason or f"answers scored in {answers.unit} are not named, so none can be foreseen"
    features = seen(task)
    if not features:
        return "the task declares nothing that a person sees of its items: columns concept_* would"
    scored, shift = gate_rows(task), task.honest_mask & task.shift_mask
    fit = task.honest_mask & ~task.shift_mask
    fit = fit & (task.split == "fit") if task.split is not None and (fit & (task.split == "fit")).any() else scored
    used = np.flatnonzero(scored | fit | shift)
    used = used[drawn(task.groups[used], LIMIT, side.config.seed)]
    if not scored[used].any():
        return "no item is left in distribution to foresee answers to"
    return simulatability(
        {name: values[used] for name, values in features.items()}, answers.answer_text[used], task.groups[used],
        fit=fit[used], score=scored[used], shift=shift[used], name=side.name, n_blocks=side.config.blocks,
        seed=side.config.seed,
    )  # fmt: skip


def _trusted(side: Side) -> Found | str:
    """Risk and coverage on the gate's items."""
    answers, rows = side.answers, gate_rows(side.task)
    if answers.correct is None or np.isnan(answers.confidence[rows]).any():
        return answers.reason or f"answers scored in {answers.unit} carry no confidence"
    return risk_coverage(
        answers.confidence[rows], answers.correct[rows], side.task.groups[rows], name=side.name,
        n_blocks=side.config.blocks, seed=side.config.seed,
    )  # fmt: skip


def _recovered(side: Side) -> Found | str:
    """A head fitted anew at the last hook point that is looked at."""
    task, answers = side.task, side.answers
    if task.performance not in ("choice", "class") or task.answers is None:
        return answers.reason or f"answers scored in {answers.unit} are not classes that a head could be fitted for"
    if answers.correct is None:
        return answers.reason or "the model gives no answers to hold a new head against"
    if side.acts.position == "all":
        return "a head reads one row an item: use position 'last', 'mean' or a position column"
    rows = side.rows[drawn(task.groups[side.acts.items[side.rows]], LIMIT, side.config.seed)]
    items = side.acts.items[rows]
    right = task.answers[items]
    allowed = None
    if task.choices is not None:
        kinds = np.unique(right)
        allowed = np.array([[kind in task.choices[i] for kind in kinds] for i in items])
    return recoverable_accuracy(
        np.asarray(side.acts[side.points[-1]])[rows], right, answers.correct[items], task.groups[items],
        score=gate_rows(task)[items], allowed=allowed, name=side.name, n_blocks=side.config.blocks,
        seed=side.config.seed,
    )  # fmt: skip


def _notes(pair: Pair) -> tuple[str, ...]:
    side = pair.a
    if side.model.input_kind != "tokens" or side.acts.position == "last" or side.task.performance != "choice":
        return ()
    return (
        f"A head fitted anew reads the activations at {side.acts.position!r}, where they are compared; the models' own "
        "answers are read from the last token, which may hold more or less.",
    )
