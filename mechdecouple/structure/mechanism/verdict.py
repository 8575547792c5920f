"""Verdict: whether two models answer by the same route and over the same variables, by one stated rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from mechdecouple.structure.mechanism.evidence import Axis, Evidence

Answer = Literal["same", "other", "cannot tell"]
CAUSAL_PROFILE = "causal profile"
"""The piece of evidence without which routes are never called the same."""
STITCHING, NEAREST = "stitching", "nearest states"
BY_ANSWER = "wrong options by answer"
"""The piece of evidence that makes variables the same although single items and stitches differ."""
ANSWERS: tuple[Answer, ...] = get_args(Answer)


@dataclasses.dataclass(frozen=True)
class AxisVerdict:
    """The answer on one axis.

    Attributes:
        axis: ``route`` or ``variables``.
        answer: ``same``, ``other`` or ``cannot tell``.
        sentence: the answer and what it rests on.
        evidence_for: pieces that speak for the answer; where it cannot be told, those that speak for ``same``.
        evidence_against: pieces that speak for the opposite; where it cannot be told, those that speak for ``other``.
        silent: pieces that say nothing.
    """

    axis: Axis
    answer: Answer
    sentence: str
    evidence_for: tuple[Evidence, ...] = ()
    evidence_against: tuple[Evidence, ...] = ()
    silent: tuple[Evidence, ...] = ()


def judge(axis: Axis, evidence: Sequence[Evidence], reason: str = "") -> AxisVerdict:
    """The verdict on one axis.

    Each piece of evidence is a distance with a 95 % interval. It says *other* if the whole interval lies beyond what
    counts as apart, and beyond every pair of seeds of one recipe where such were given; *same* if the whole interval
    lies within what counts as alike, or within those seeds; else nothing, so that too few items never make two models
    the same. Then an axis is

    - **other** if two pieces say so, or one alone from so far apart that it settles the matter. On the variables' axis
      no piece may say *same*: models that drive each other at some place hold something in common;
    - **same** if a piece says so and none says other. On the route's axis the causal profile must be among those that
      say so, since what an answer depends on is what the route is; on the variables' axis no piece may be surely
      unlike: models that hold the same waves but use them otherwise drive each other at some places, and differ in
      others or in their wrong options. Wrong options by answer settle it: where the route is the same, models that hold
      the same waves, or representations of a group, to the same degree agree on them over the items of each answer,
      whatever else they add to single items, and whether or not a stitch to unseen values succeeds;
    - **cannot tell** otherwise: pieces that contradict each other, a lone piece for other, none at all.

    Which pieces there are, and their bounds, stands in `_pieces`.

    Args:
        reason: why nothing can be told at all (a model that cannot answer, say); empty where that is not so.
    """
    own = [piece for piece in evidence if piece.axis == axis]
    same, other = ([p for p in own if p.says == said] for said in ("same", "other"))
    silent = tuple(p for p in own if not p.says)
    answer = "cannot tell" if reason else _answer(axis, own, same, other)
    why = reason or _why(axis, answer, own)
    agreeing, opposing = (other, same) if answer == "other" else (same, other)
    return AxisVerdict(axis, answer, f"{axis}: {answer}: {why}", tuple(agreeing), tuple(opposing), silent)


def _answer(axis: Axis, own: Sequence[Evidence], same: Sequence[Evidence], other: Sequence[Evidence]) -> Answer:
    apart = len(other) >= 2 or any(piece.settled for piece in other)
    if apart and not (axis == "variables" and same):
        return "other"
    if axis == "variables":
        apart_somewhere = any(piece.unlike for piece in own if piece.name != BY_ANSWER)
        alike = any(piece.name == BY_ANSWER for piece in same) or (bool(same) and not apart_somewhere)
    else:
        alike = any(piece.name == CAUSAL_PROFILE for piece in same)
    return "same" if alike and not other else "cannot tell"


def _why(axis: Axis, answer: Answer, own: Sequence[Evidence]) -> str:
    same, other = ([p.name for p in own if p.says == said] for said in ("same", "other"))
    if answer == "other":
        return f"{_lie(other)} apart" + (f", though {_lie(same)} near" if same else "")
    if answer == "same":
        return f"{_lie(same)} near, nothing apart"
    if same and other:
        return f"{_lie(same)} near, but {_lie(other)} apart"
    if other:
        return f"{other[0]} alone lies apart, and not clearly enough"
    unlike = [p.name for p in own if p.unlike]
    if same and axis == "variables":
        return f"{_lie(same)} near, but {_lie(unlike)} not, which is no evidence for the opposite either"
    if same:
        return f"{_lie(same)} near, but not the {CAUSAL_PROFILE}, on which the route rests"
    return "no piece of evidence says anything"


def _lie(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} lie{'s' * (len(names) == 1)}"
