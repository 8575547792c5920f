"""Shared variables: whether the same declared concepts are causal in two models, and at which depth."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Literal

import numpy as np

from mechdecouple.errors import MismatchError
from mechdecouple.results import Estimate, Measurement, frame
from mechdecouple.structure.mechanism._interchanged import SHARE
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SharedVariable:
    """One concept in two models.

    Attributes:
        causal: whether answers follow it anywhere, in A and in B; None where it cannot be told.
        depths: shallowest and deepest place at which they do; NaN where there is none.
        difference: share of answers that follow in A less that in B, each at the place where most do; paired by item.
        answer: ``same``: in both; ``other``: in one alone; ``neither``; or ``cannot tell``.
    """

    concept: str
    causal: tuple[bool | None, bool | None]
    depths: tuple[tuple[float, float], tuple[float, float]]
    difference: Estimate
    answer: Literal["same", "other", "neither", "cannot tell"]
    sentence: str


@dataclasses.dataclass(frozen=True, eq=False)
class SharedVariables:
    """The same concepts in two models: which are variables of both, and where."""

    model: str
    model_b: str
    variables: tuple[SharedVariable, ...]

    def __getitem__(self, concept: str) -> SharedVariable:
        return next(v for v in self.variables if v.concept == concept)

    def named(self, answer: str) -> tuple[str, ...]:
        """The concepts with one answer."""
        return tuple(v.concept for v in self.variables if v.answer == answer)

    def measurements(self) -> list[Measurement]:
        metric = SHARE.contrasted()
        return [
            Measurement(
                metric=metric.name, family=metric.family, estimate=v.difference, model=self.model,
                model_b=self.model_b, concept=v.concept,
            )
            for v in self.variables
        ]  # fmt: skip

    def frame(self):
        """One row a concept: the paired difference of how far answers follow."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        words = "".join(f"<li>{html.escape(v.sentence)}</li>" for v in self.variables)
        return f"<ul>{words}</ul>{self.frame().to_html(index=False, border=0)}"


def shared_variables(a: InterchangeMap, b: InterchangeMap) -> SharedVariables:
    """Which concepts are causal in both models, and where, from the interchanges of each.

    Raises:
        MismatchError: the maps tried a concept on other items: make both from one task, limit and seed.
    """
    concepts = [c for c in a.concepts if c in b.concepts]
    return SharedVariables(a.model, b.model, tuple(_variable(a, b, c) for c in concepts))


def _variable(a: InterchangeMap, b: InterchangeMap, concept: str) -> SharedVariable:
    causal = a.causal(concept), b.causal(concept)
    depths = _depths(a, concept), _depths(b, concept)
    if causal == (True, True):
        answer, words = "same", f"answers of both follow {concept!r}, {_words(a, b, depths)}"
    elif set(causal) == {True, False}:
        answer, one = "other", a if causal[0] else b
        words = f"answers of {one.model} alone follow {concept!r}, {_words(a, b, depths)}"
    elif causal == (False, False):
        answer, words = "neither", f"answers of neither follow {concept!r} where it was swapped"
    else:
        answer, words = "cannot tell", f"whether answers of both follow {concept!r} stays open"
        words += "".join(f"; {m.sentence(concept).rstrip('.')}" for m in (a, b) if m.causal(concept) is None)
    return SharedVariable(
        concept=concept, causal=causal, depths=depths, difference=_difference(a, b, concept), answer=answer,
        sentence=f"{words[0].upper()}{words[1:]}.",
    )  # fmt: skip


def _difference(a: InterchangeMap, b: InterchangeMap, concept: str) -> Estimate:
    one, other = a.best(concept), b.best(concept)
    if one is None or other is None:
        missing = (a if one is None else b).of(concept)[0]
        return Estimate.undefined(missing.reason or f"{missing.model}: there is no share of answers to follow")
    if not np.array_equal(one.bases, other.bases):
        raise MismatchError(
            f"concept {concept!r} was swapped on other items in {a.model} than in {b.model}: make both maps from one "
            "task, limit and seed"
        )
    return (one.score("share") - other.score("share")).estimate(SHARE.contrasted(), null=0.0)


def _depths(m: InterchangeMap, concept: str) -> tuple[float, float]:
    found = [c.place.depth for c in m.where(concept)]
    return (min(found), max(found)) if found else (math.nan, math.nan)


def _words(a: InterchangeMap, b: InterchangeMap, depths: tuple[tuple[float, float], tuple[float, float]]) -> str:
    said = [
        f"in {m.model} from depth {low:.2f} to {high:.2f}"
        for m, (low, high) in zip((a, b), depths, strict=True)
        if not math.isnan(low)
    ]
    return " and ".join(said)
