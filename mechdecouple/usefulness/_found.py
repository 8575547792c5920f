"""Found: what is measured of a user's side of one model, as replicates that pair with those of another model."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Cell:
    """One metric of one model.

    Attributes:
        concept: which surrogate; context: on which items, or at which coverage.
        replicates: None where it is undefined, with the ``reason``.
    """

    metric: Metric
    replicates: Replicates | None = None
    null: float = math.nan
    concept: str = ""
    context: str = ""
    reason: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        return self.metric.name, self.concept, self.context

    def estimate(self) -> Estimate:
        """With the reason where it, or its interval, is undefined."""
        if self.replicates is None or not math.isfinite(self.replicates.value):
            why = self.reason or "undefined on these items"
            return Estimate.undefined(why, null=self.null, direction=self.metric.direction)
        return self.replicates.estimate(self.metric, null=self.null, reason=self.reason)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """Measurements of one model, ``name``."""

    name: str
    cells: tuple[Cell, ...]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells)

    def estimate(self, metric: Metric, concept: str = "", context: str = "") -> Estimate:
        """One of the numbers.

        Raises:
            InputError: it was not measured.
        """
        for cell in self.cells:
            if cell.place == (metric.name, concept, context):
                return cell.estimate()
        known = "; ".join(" ".join(part for part in cell.place if part) for cell in self.cells)
        asked = " ".join(part for part in (metric.name, concept, context) if part)
        raise InputError(f"{asked!r} was not measured of {self.name}; there is {known}")

    def measurements(self) -> list[Measurement]:
        return [
            Measurement(
                metric=cell.metric.name, family=cell.metric.family, estimate=cell.estimate(), model=self.name,
                concept=cell.concept, context=cell.context,
            )
            for cell in self.cells
        ]  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """One row a number, see ``mechdecouple.results.frame``."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "concept", "context", "value", "low", "high", "null", "n", "reason"]]
        return f"<div><b>{html.escape(self.name)}</b>{table.to_html(index=False, border=0)}</div>"


def differences(a: Iterable[Cell], b: Iterable[Cell], names: tuple[str, str]) -> list[Measurement]:
    """A - B of every number that both have, paired item group by item group; ``p`` against no difference.

    Raises:
        MismatchError: the two were measured on unlike items, or with unlike blocks.
    """
    theirs = {cell.place: cell for cell in b}
    rows = []
    for mine in a:
        other = theirs.get(mine.place)
        if other is not None:
            rows.append(
                Measurement(
                    metric=mine.metric.name, family=mine.metric.family, estimate=_difference(mine, other),
                    model=names[0], model_b=names[1], concept=mine.concept, context=mine.context,
                )
            )  # fmt: skip
    return rows


def _difference(a: Cell, b: Cell) -> Estimate:
    for cell in (a, b):
        if cell.replicates is None or not math.isfinite(cell.replicates.value):
            return Estimate.undefined(cell.reason or "undefined in one of the models")
    assert a.replicates is not None and b.replicates is not None
    found = a.replicates.contrast(b.replicates, a.metric.scale)
    return found.estimate(a.metric.contrasted(), null=0.0, p=float(found.p_differs(0.0)))


def least_error(groups: np.ndarray) -> float:
    """Least standard error of a share of items in groups: two of the groups, as they weigh."""
    counts = np.unique(groups, return_counts=True)[1]
    return 2 * float(((counts / counts.sum()) ** 2).sum())


def checked_groups(n: int, groups: np.ndarray | None) -> np.ndarray:
    """Groups [n]; each item by itself where there are none.

    Raises:
        InputError: not one group an item, or fewer than two groups.
    """
    groups = np.arange(n) if groups is None else np.asarray(groups)
    if groups.shape != (n,):
        raise InputError(f"groups have shape {groups.shape} for {n} items; give one an item")
    if len(np.unique(groups)) < 2:
        raise InputError("all items are of one group: an interval needs at least two groups")
    return groups
