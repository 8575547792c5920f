"""Series: one measure of the models of one run, in the order of their steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats as sps

from mechdecouple.compare.trends.steps import split_step
from mechdecouple.errors import InputError

PLACE = ("job", "task", "run", "metric", "family", "hook_point", "position", "concept", "context", "against")
NEXT = "the next"
"""What a similarity is against where each checkpoint is compared with the one after it."""
LONGEST = 60
"""Values of a series; of more, neighbours are averaged."""


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One measure along a run.

    Attributes:
        job, task, run, metric, family, hook_point, position, concept, context: what it is of; ``run`` is the reference
            of its models with ``*`` for the step.
        against: of similarities, what the models are compared with: a reference, or ``the next`` checkpoint.
        refs: of the models, in order; steps: their steps, or 0, 1, 2 … where an order was given.
        value, low, high: [t], NaN where undefined; reasons: why, once each.
    """

    job: str
    task: str
    run: str
    metric: str
    family: str
    hook_point: str
    position: str
    concept: str
    context: str
    against: str
    refs: tuple[str, ...]
    steps: Int[np.ndarray, " t"]
    value: Float[np.ndarray, " t"]
    low: Float[np.ndarray, " t"]
    high: Float[np.ndarray, " t"]
    reasons: tuple[str, ...] = ()

    @property
    def defined(self) -> Int[np.ndarray, " n"]:
        """Where it has a value."""
        return np.flatnonzero(np.isfinite(self.value))

    @property
    def error(self) -> Float[np.ndarray, " t"]:
        """Standard error of each value by its own interval; NaN where it has none."""
        return (self.high - self.low) / (2 * float(sps.norm.ppf(0.975)))

    @property
    def of(self) -> str:
        """What of the models it measures, in words."""
        against = {"": "", NEXT: "from one checkpoint to the next"}.get(self.against, f"with {self.against}")
        at = f"at {self.hook_point}" if self.hook_point else ""
        parts = [p for p in (at, self.concept, self.context, against) if p]
        return ", ".join([self.metric.replace("_", " "), *parts]).replace(", at ", " at ", 1)


def make_series(table: pd.DataFrame, order: Sequence[str] | None = None) -> tuple[list[Series], list[str]]:
    """The series in a table of results, and notes on what is in none.

    A model that is in several comparisons counts once, by the first of them.

    Args:
        table: columns of ``mechdecouple.jobs.result_set.COLUMNS``.
        order: references in order, for models whose names hold no step: one run.

    Raises:
        InputError: ``order`` names a model twice, or one that is not in the table.
    """
    rows, missing = _ordered(_rows(table), order)
    notes = [f"{len(missing)} models name no step and are in no series (give order = […]): {_few(missing)}"]
    found = [series for place, own in rows.groupby(list(PLACE), sort=False) for series in _series(place, own)]
    return found, notes if missing else []


def _rows(table: pd.DataFrame) -> Any:
    """Rows about one model, and similarities of a run's models, with the model they move along with (``moves``)."""
    alone = table[(table.model_b == "") & (table.ref != "")]
    alone = alone.assign(moves=alone.ref, against="")
    return pd.concat([alone[alone.metric != "verdict"], *_similarities(table)], ignore_index=True)


def _similarities(table: Any) -> Iterator[pd.DataFrame]:
    """Similarities of pairs that share one model, or that lead from each checkpoint to the next, at one hook point."""
    rows = table[(table.family == "similarity") & (table.ref != "") & (table.ref_b != "")]
    rows = rows[rows.hook_point == rows.hook_point_b]
    for _, own in rows.groupby(["job", "task"], sort=False):
        pairs = list(dict.fromkeys(zip(own.ref, own.ref_b, strict=True)))
        shared = set(pairs[0]).intersection(*map(set, pairs)) if len(pairs) > 1 else set()
        if len(shared) == 1:
            fixed = shared.pop()
            yield own.assign(moves=np.where(own.ref == fixed, own.ref_b, own.ref), against=fixed)
        elif all(one[1] == other[0] for one, other in pairwise(pairs)) and len(pairs) > 1:
            yield own.assign(moves=own.ref_b, against=NEXT)


def _ordered(rows: Any, order: Sequence[str] | None) -> tuple[Any, list[str]]:
    """Rows with their run and step, and the models that have none."""
    known = list(dict.fromkeys(rows.moves))
    if order is not None:
        twice = next((ref for i, ref in enumerate(order) if ref in order[:i]), None)
        strange = next((ref for ref in order if ref not in known), None)
        if twice is not None:
            raise InputError(f"order names {twice!r} twice: name each model once")
        if strange is not None:
            raise InputError(f"order names {strange!r}, of which there are no results; there are {_few(known)}")
    split = {ref: split_step(ref) for ref in known} if order is None else {r: ("", i) for i, r in enumerate(order)}
    rows = rows[rows.moves.isin([ref for ref, (_, step) in split.items() if step is not None])]
    rows = rows.assign(run=rows.moves.map(lambda r: split[r][0]), step=rows.moves.map(lambda r: split[r][1]))
    return rows, [ref for ref in known if order is None and split[ref][1] is None]


def _series(place: Any, rows: Any) -> Iterator[Series]:
    rows = rows.drop_duplicates("moves").sort_values("step", kind="stable")
    if len(rows) < 2:
        return
    # two folders of one step, a/step-1 beside a/step-01, are no series
    rows = rows.drop_duplicates("step")
    groups = np.array_split(np.arange(len(rows)), min(LONGEST, len(rows)))
    numbers = rows[["value", "low", "high"]].to_numpy(float)
    defined = np.isfinite(numbers[:, :1])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.where(defined[g], numbers[g], 0).sum(axis=0) / defined[g].sum(axis=0) for g in groups]
    value, low, high = np.array(means).T
    first = [int(g[0]) for g in groups]
    yield Series(
        *place, refs=tuple(rows.moves.iloc[first]), steps=rows.step.to_numpy(int)[first], value=value, low=low,
        high=high, reasons=tuple(dict.fromkeys(rows.reason[rows.value.isna()])),
    )  # fmt: skip


def _few(refs: Sequence[str]) -> str:
    return ", ".join(refs[:3]) + (f" and {len(refs) - 3} more" if len(refs) > 3 else "")
