"""Evidence: how far two models lie apart by one measure, and what that says of their mechanisms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate

Axis = Literal["route", "variables"]
Says = Literal["same", "other", ""]
AXES: tuple[Axis, ...] = ("route", "variables")
ENOUGH = 3
"""Pairs of seeds of one recipe from which on a single piece beyond all of them settles an axis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """One piece of evidence on one axis.

    Attributes:
        axis, name: what it speaks on, and by which measure.
        distance: 0 where the models are alike, 1 where they share nothing; NaN where it could not be measured.
        within: up to here the models count as alike; infinitely negative where being alike is no evidence.
        beyond: from here they count as apart; infinite where being apart is no evidence.
        settles: from here they are so far apart that no second piece is asked for; ``beyond`` where at least ``ENOUGH``
            pairs of seeds were given.
        spread: distances of pairs of seeds of one recipe by the same measure; what is no larger than the largest counts
            as alike and never as apart. Empty where no seeds were given, or where they are no yardstick.
        fallible: being apart is evidence only where all seeds of one recipe are alike by this measure, which shows that
            it finds what is shared.
        detail: where the distance comes from, in words.
    """

    axis: Axis
    name: str
    distance: Estimate
    within: float = -math.inf
    beyond: float = math.inf
    settles: float = math.inf
    spread: tuple[float, ...] = ()
    fallible: bool = False
    detail: str = ""

    def __post_init__(self) -> None:
        if not self.within <= self.beyond <= self.settles:
            raise InputError(
                f"{self.name!r}: within {self.within}, beyond {self.beyond}, settles {self.settles}: expected to rise"
            )

    @property
    def defined(self) -> bool:
        """Whether it was measured, with an interval."""
        return math.isfinite(self.distance.low) and math.isfinite(self.distance.high)

    @property
    def says(self) -> Says:
        """``same`` if the whole interval counts as alike, ``other`` if the whole interval counts as apart."""
        if not self.defined:
            return ""
        if self.distance.high <= self.alike:
            return "same"
        return "other" if self.distance.low > self.apart else ""

    @property
    def alike(self) -> float:
        """Up to here the models count as alike, seeds considered."""
        return self._against(self.within)

    @property
    def apart(self) -> float:
        """From here they count as apart, seeds considered; infinite where being apart is no evidence."""
        if self.fallible and not (self.spread and max(self.spread) <= self.within):
            return math.inf
        return self._against(self.beyond)

    @property
    def unlike(self) -> bool:
        """Whether the whole interval lies beyond what counts as alike, be that evidence or not."""
        return self.defined and math.isfinite(self.within) and self.distance.low > self.alike

    @property
    def settled(self) -> bool:
        """Whether it says ``other`` without asking for a second piece."""
        settles = self.beyond if len(self.spread) >= ENOUGH else self.settles
        return self.says == "other" and self.distance.low > self._against(settles)

    @property
    def sentence(self) -> str:
        """The distance, what it is held against, and what that says."""
        if not self.defined:
            return f"{self.name}: not measured ({self.distance.reason or 'no interval'})"
        held = [f"alike up to {self.within:.2g}"] if math.isfinite(self.within) else []
        held += [f"apart beyond {self.beyond:.2g}"] if math.isfinite(self.beyond) else []
        held += [f"seeds of one recipe up to {max(self.spread):.2f}"] if self.spread else []
        said = {"same": "speaks for the same", "other": "speaks for another", "": "says nothing"}[self.says]
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name} {said}: distance {self.distance}{detail}; {', '.join(held)}"

    def unseeded(self) -> Evidence:
        """The piece as it speaks without seeds."""
        return dataclasses.replace(self, spread=())

    def _against(self, bound: float) -> float:
        return max((bound, *self.spread)) if math.isfinite(bound) and not self.fallible else bound

    def row(self) -> dict[str, object]:
        d = self.distance
        return {
            "axis": self.axis, "evidence": self.name, "distance": d.value, "low": d.low, "high": d.high,
            "within": self.within, "beyond": self.beyond, "alike": self.alike, "apart": self.apart,
            "spread": max(self.spread, default=math.nan), "pairs_of_seeds": len(self.spread), "says": self.says,
            "settled": self.settled, "detail": self.detail, "reason": d.reason,
        }  # fmt: skip


def evidence_frame(pieces: Sequence[Evidence]) -> pd.DataFrame:
    """A table, one row a piece."""
    columns = ["axis", "evidence", "distance", "low", "high", "within", "beyond", "alike", "apart", "spread",
               "pairs_of_seeds", "says", "settled", "detail", "reason"]  # fmt: skip
    return pd.DataFrame([piece.row() for piece in pieces], columns=columns)
