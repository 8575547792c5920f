"""Composition in the dihedral group of a 13-gon: a small non-abelian group whose products a model can compute by any
few of six two-dimensional irreducible representations.

A model that has learned a ∘ b answers by sums of characters of a b c⁻¹ over the representations it chose (2302.03025);
which ones differs from seed to seed. ``span`` leaves it no choice: embedding and unembedding are kept to functions that
the named representations make.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mechdecouple.tasks import Task
from mechdecouple.zoo._pairs import PairRecipe, pair_task

N = 13
"""Corners of the polygon; the group has 2 N elements: x < N turns by x corners, x ≥ N reflects and then turns."""
REPRESENTATIONS = ("trivial", "sign", *(str(k) for k in range(1, (N + 1) // 2)))
"""Irreducible representations: two of dimension 1, six of dimension 2, named by the angle that one turn is sent to."""


@dataclasses.dataclass(frozen=True)
class Composer(PairRecipe):
    """A model of a ∘ b, trained on all pairs; ``span`` names the representations that it may use, to read as well."""

    steps: int = 800

    @property
    def table(self) -> Int[np.ndarray, "v v"]:
        return composition()

    @property
    def fitted(self) -> Bool[np.ndarray, "v v"]:
        return np.ones((2 * N, 2 * N), dtype=bool)

    def functions(self) -> Float[np.ndarray, "v k"]:
        values, vectors = np.linalg.eigh(sum(projector(str(name)) for name in self.span))
        return vectors[:, values > 0.5]

    @torch.no_grad()
    def hold(self, model: Any) -> None:
        super().hold(model)
        if self.span:
            model.embed.W_E.copy_(self.projection @ model.embed.W_E)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return composition_task(n, seed)


@lru_cache(maxsize=1)
def composition() -> Int[np.ndarray, "v v"]:
    """``a ∘ b``: b first, then a."""
    turn, mirrored = np.arange(2 * N) % N, np.arange(2 * N) // N
    turned = turn[:, None] + np.where(mirrored[:, None] == 1, -turn, turn)
    return turned % N + N * (mirrored[:, None] ^ mirrored)


@lru_cache(maxsize=2)
def composition_task(n: int | None = None, seed: int = 0) -> Task:
    """All 676 pairs; the concepts are the turn (0 … 12) and whether it is mirrored (0, 1) of a, of b and of a ∘ b."""
    columns: dict[str, np.ndarray] = {}
    for name, element in zip(("a", "b", "product"), (*np.indices((2 * N, 2 * N)), composition()), strict=True):
        columns |= {f"concept_turn_{name}": element % N, f"concept_mirror_{name}": element // N}
    return pair_task(composition(), f"composition in the dihedral group of order {2 * N}", columns, n, seed)


def character(name: str) -> Float[np.ndarray, " v"]:
    """The character of an irreducible representation: the trace of what it sends each element to."""
    turn, mirrored = np.arange(2 * N) % N, np.arange(2 * N) // N
    if name in ("trivial", "sign"):
        return np.where(mirrored == 1, 1.0 if name == "trivial" else -1.0, 1.0)
    return np.where(mirrored == 1, 0.0, 2 * np.cos(2 * np.pi * int(name) * turn / N))


def projector(name: str) -> Float[np.ndarray, "v v"]:
    """Onto the functions on the group that the entries of a representation's matrices span; orthogonal."""
    table = composition()
    inverse = np.argmax(table == 0, axis=1)
    quotient = table[:, inverse]  # x y⁻¹
    chi = character(name)
    return chi[0] / (2 * N) * chi[quotient]


def representation_shares(logits: Float[np.ndarray, "v v v"]) -> dict[str, float]:
    """How much of the logits lies in each irreducible representation.

    Args:
        logits: of answer c to a ∘ b, [a, b, c].

    Returns:
        Shares in [0, 1] of the variance of the logits centred over the answers, as functions of the answer; they sum
        to 1, and the trivial one has 0.
    """
    centred = logits - logits.mean(axis=2, keepdims=True)
    total = np.square(centred).sum()
    return {name: float(np.square(centred @ projector(name)).sum() / total) for name in REPRESENTATIONS}


def key_representations(logits: Float[np.ndarray, "v v v"], least: float = 0.05) -> tuple[str, ...]:
    """The irreducible representations whose share is at least ``least``."""
    return tuple(name for name, share in representation_shares(logits).items() if share >= least)
