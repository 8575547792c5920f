"""Factors: what the items of a task are made of, as levels of declared concepts and of inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Shaped

from mechdecouple.structure.mechanism import counterfactuals
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task

Factors = Mapping[str, Int[np.ndarray, " n"]]
"""Name -> level of each item, from 0."""

_MANY = 0.5
_BINS = 8


def declared(task: Task) -> dict[str, np.ndarray]:
    """Levels of each declared concept that has more than one."""
    found = {name: levels(values) for name, values in counterfactuals.declared(task).items()}
    return {name: codes for name, codes in found.items() if codes.max(initial=0) > 0}


def levels(values: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The level of each value, in sorted order; numbers most of which are distinct are cut at their octiles."""
    distinct, codes = np.unique(values, return_inverse=True)
    if values.dtype.kind == "f" and len(distinct) > max(_BINS, _MANY * len(values)):
        edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
        codes = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
    return codes.ravel()


def varying_positions(rig: Rig) -> tuple[Int[np.ndarray, " t"], str]:
    """Positions of the prompt at which items differ, and why there are none where there are none."""
    if rig.encoded is None:
        return np.zeros(0, np.int64), "inputs are tensors, which have no positions"
    if len(set(rig.encoded.lengths.tolist())) > 1:
        return np.zeros(0, np.int64), "prompts differ in length: a position means another thing in each"
    tokens = np.stack(rig.encoded.tokens)
    positions = np.flatnonzero((tokens != tokens[0]).any(axis=0))
    return positions, "" if len(positions) else "all items have the same tokens"


def inputs(rig: Rig) -> tuple[dict[str, np.ndarray], str]:
    """Levels of each input: the token at each position that varies, or the declared concepts of tensor inputs.

    The second is why there are none.
    """
    if rig.encoded is None:
        found = declared(rig.task)
        return found, "" if found else "inputs are tensors and no concepts are declared"
    positions, reason = varying_positions(rig)
    tokens = [np.array([t[at] for t in rig.encoded.tokens]) for at in positions]
    return {f"token {at}": levels(t) for at, t in zip(positions, tokens, strict=True)}, reason


def population(rig: Rig) -> float:
    """How many items there are to draw from: all combinations of the inputs' levels, where each item is one of them.

    Infinite where items share their inputs, or where there are none.
    """
    found, reason = inputs(rig)
    if reason:
        return math.inf
    levels_of = np.stack(list(found.values()), axis=1)
    if len(np.unique(levels_of, axis=0)) < len(rig):
        return math.inf
    return float(np.prod(levels_of.max(axis=0) + 1.0))


def same_levels(x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]) -> bool:
    """Whether two factors part the items in the same way."""
    both = len(np.unique(np.stack([x, y]), axis=1).T)
    return both == len(np.unique(x)) == len(np.unique(y))
