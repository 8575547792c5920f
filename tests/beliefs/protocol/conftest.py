from __future__ import annotations

import dataclasses

import numpy as np
import pytest


@dataclasses.dataclass
class World:
    """Statements in pairs, in contexts, affirmed or negated, whose truth lies along one axis of a layer."""

    truth: np.ndarray
    groups: np.ndarray
    context: np.ndarray
    polarity: np.ndarray
    sign: np.ndarray

    def layer(self, rng: np.random.Generator, strength: float | np.ndarray = 1.5, d: int = 10) -> np.ndarray:
        X = rng.normal(size=(len(self.truth), d))
        X[:, 0] += strength * self.sign
        return X


@pytest.fixture
def world():
    def make(n: int = 480, contexts: tuple[str, ...] = ("birds", "cities", "sums")) -> World:
        row = np.arange(n)
        truth = (row % 2).astype(float)
        group = row // 4
        return World(
            truth,
            np.array([f"g{g}" for g in group]),
            np.array(contexts)[group % len(contexts)],
            np.where(row // 2 % 2, "negated", "affirmed"),
            2 * truth - 1,
        )

    return make
