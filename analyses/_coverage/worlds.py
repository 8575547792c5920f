"""Small data sets whose truth is known: what the simulations draw from."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """How many groups there are and how many rows each holds.

    Attributes:
        groups: independent groups.
        rows: rows in each; a pair (a, b) draws sizes a … b.
        alike: share of the noise variance that rows of one group have in common.
    """

    groups: int
    rows: int | tuple[int, int] = 1
    alike: float = 0.5

    @property
    def single(self) -> bool:
        return self.rows == 1

    def members(self, rng: np.random.Generator) -> np.ndarray:
        """The group of each row."""
        low, high = (self.rows, self.rows) if isinstance(self.rows, int) else self.rows
        return np.repeat(np.arange(self.groups), rng.integers(low, high + 1, self.groups))

    def noise(self, rng: np.random.Generator, group: np.ndarray, d: int) -> np.ndarray:
        """Standard normal [n, d], partly shared within groups."""
        own = rng.normal(size=(len(group), d))
        if self.single:
            return own
        return math.sqrt(self.alike) * rng.normal(size=(self.groups, d))[group] + math.sqrt(1 - self.alike) * own


@dataclasses.dataclass(frozen=True)
class Codes:
    """Binary concepts held in activations, partly along a direction of their own in each context.

    x = Σ_f z_f (√(1 - fracture) e_f + √fracture e_fc) + noise, z = ±1, in d = k + k·C dimensions; with ``tilt`` the
    directions e_f have that cosine to each other.
    """

    fracture: float = 0.0
    sigma: float = 0.5
    concepts: int = 2
    contexts: int = 4
    tilt: float = 0.0
    inert: int = 0

    @property
    def d(self) -> int:
        return self.concepts * (1 + self.contexts) + self.inert

    def activations(self, z: np.ndarray, context: np.ndarray, noise: np.ndarray) -> np.ndarray:
        k, c = self.concepts, self.contexts
        shared = z @ np.linalg.cholesky((1 - self.tilt) * np.eye(k) + self.tilt)
        own = (np.eye(c)[context][:, :, None] * z[:, None, :]).reshape(len(z), k * c)
        signal = np.hstack([math.sqrt(1 - self.fracture) * shared, math.sqrt(self.fracture) * own])
        return np.hstack([signal, np.zeros((len(z), self.inert))]) + self.sigma * noise


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Labels that several models share: z [n, k] of ±1, context [n], group [n]."""

    z: np.ndarray
    context: np.ndarray
    group: np.ndarray

    @property
    def y(self) -> np.ndarray:
        return (self.z > 0).astype(int)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, layout: Layout, codes: Codes, *, spanning: bool = False, uneven: bool = False
    ) -> Labelled:
        """``spanning``: rows of one group lie in several contexts; ``uneven``: contexts of 1 : 2 : 3 : … rows."""
        group = layout.members(rng)
        share = np.arange(1, codes.contexts + 1) if uneven else np.ones(codes.contexts)
        size = len(group) if spanning else layout.groups
        context = rng.choice(codes.contexts, size, p=share / share.sum())
        z = 2.0 * rng.integers(0, 2, (len(group), codes.concepts)) - 1
        return cls(z, context if spanning else context[group], group)
