"""Two arms of a study, compared seed by seed with the package's own comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from analyses._pool import spread
from analyses._study import Criterion
from mechdecouple.compare import Comparison, compare
from mechdecouple.models import HookedModel
from mechdecouple.tasks import Task

FAMILIES = ("structure", "beliefs")


@dataclasses.dataclass(frozen=True, eq=False)
class Arms:
    """The comparisons of two arms, one a seed."""

    comparisons: tuple[Comparison, ...]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every measurement, with its seed and the arm it is of (``a``, ``b``, or ``a - b``)."""
        tables = []
        for seed, found in enumerate(self.comparisons):
            table = found.frame()
            pair = table["model_b"].ne("")
            arm = np.where(pair, "a - b", np.where(table["model"] == found.a, "a", "b"))
            tables.append(table.assign(arm=arm, seed=seed))
        return pd.concat(tables, ignore_index=True)

    def equal(self, words: str = "equal accuracy") -> Criterion:
        """That the gate shows every pair to be equally accurate."""
        shares = [found.gate.outcome == "equal" for found in self.comparisons]
        margin = self.comparisons[0].gate.margin
        return Criterion.over_seeds(
            "gate", words, shares, 1.0, how=f"equivalence test of each pair at a margin of {margin:g}: a share of seeds"
        )

    def gates(self) -> pd.DataFrame:
        """One row a seed: accuracy of each arm, their difference with its interval, and the outcome."""
        return pd.DataFrame(
            {
                "seed": seed, "outcome": found.gate.outcome, "a": found.gate.a.value, "b": found.gate.b.value,
                "difference": found.gate.difference.value, "low": found.gate.difference.low,
                "high": found.gate.difference.high,
            }
            for seed, found in enumerate(self.comparisons)
        )  # fmt: skip


def compare_arms(
    pairs: Iterable[tuple[HookedModel, HookedModel]], task: Task, *, progress: bool = True, **options: Any
) -> Arms:
    """Compare the models of each seed: the gate, structure, beliefs (unless ``families`` says otherwise) and
    calibration of both."""
    return Arms(tuple(spread(comparing(pairs, task, **options), progress=progress, desc="comparing", unit="pair")))


def comparing(
    pairs: Iterable[tuple[HookedModel, HookedModel]], task: Task, **options: Any
) -> list[Callable[[], Comparison]]:
    """The comparisons of :func:`compare_arms` as jobs."""
    options = {"families": FAMILIES, "progress": False, **options}
    return [partial(compare, a, b, task, **options) for a, b in pairs]
