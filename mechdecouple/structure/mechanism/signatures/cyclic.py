"""Cyclic: the grid of a task whose answer is a sum or difference of two inputs modulo the number of options."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int

from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.factors import varying_positions
from mechdecouple.structure.mechanism.signatures.shared import shared_options


@dataclasses.dataclass(frozen=True, eq=False)
class Cyclic:
    """A cyclic task.

    Attributes:
        p: the modulus, which is the number of options. a, b: [n] the inputs, 0 … p-1.
        element: [p] which residue each of the shared options stands for.
    """

    p: int
    a: Int[np.ndarray, " n"]
    b: Int[np.ndarray, " n"]
    element: Int[np.ndarray, " p"]

    def factors(self) -> dict[str, np.ndarray]:
        """Level of each item in the inputs, their sum and their difference."""
        return {"a": self.a, "b": self.b, "a+b": (self.a + self.b) % self.p, "a-b": (self.a - self.b) % self.p}


def cyclic(rig: Rig) -> Cyclic | None:
    """The grid of a cyclic task; None for any other.

    Every item must offer the options 0 … p-1. The inputs are tokens at two positions, or two declared numbers, whose
    sum or difference modulo p is the right answer of every item.
    """
    options = shared_options(rig)
    if options is None or len(options.names) < 3 or not all(name.isdecimal() for name in options.names):
        return None
    element = np.array([int(name) for name in options.names])
    p = len(element)
    if not np.array_equal(np.sort(element), np.arange(p)):
        return None
    answer = element[options.right]
    candidates = [v for v in _numbers(rig) if v.min() >= 0 and v.max() < p and np.ptp(v) > 0]
    for i, a in enumerate(candidates):
        for b in candidates[i + 1 :]:
            if any(np.array_equal(value % p, answer) for value in (a + b, a - b, b - a)):
                return Cyclic(p, a, b, element)
    return None


def _numbers(rig: Rig) -> list[np.ndarray]:
    """Integer inputs: token ids at each position that varies, and declared integers."""
    positions, _ = varying_positions(rig)
    tokens = [] if rig.encoded is None else [np.array([t[at] for t in rig.encoded.tokens]) for at in positions]
    columns = [rig.task.frame[c] for c in rig.task.frame.columns if c.startswith("concept_")]
    numbers = [c.to_numpy(np.float64) for c in columns if c.dtype.kind == "f"]
    return tokens + [v.astype(np.int64) for v in numbers if np.array_equal(v, np.round(v))]
