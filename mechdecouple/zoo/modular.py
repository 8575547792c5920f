"""Modular addition: a + b (mod 31), learned with attention that can choose where it looks and with uniform attention.

With full attention a model learns the *clock* (2301.05217): attention multiplies waves of a and b, and the answer reads
waves of a + b. With uniform attention it can only add the two embeddings and learns the *pizza* (2306.17844): the MLP
makes the sizes of sums of waves, which are small where a and b lie opposite each other. Both use a few frequencies,
others in each seed.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from mechdecouple.tasks import Task
from mechdecouple.zoo._pairs import PairRecipe, pair_task

P = 31
"""The modulus."""


@dataclasses.dataclass(frozen=True)
class Adder(PairRecipe):
    """A model of a + b (mod 31); ``span`` names the frequencies (1 … 15) that its logits may be made of."""

    @property
    def table(self) -> Int[np.ndarray, "v v"]:
        return _table()

    def functions(self) -> Float[np.ndarray, "v k"]:
        return np.concatenate([waves(int(k)) for k in self.span], axis=1)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return adder_task(n, seed)


@lru_cache(maxsize=1)
def _table() -> Int[np.ndarray, "v v"]:
    return np.add.outer(np.arange(P), np.arange(P)) % P


@lru_cache(maxsize=2)
def adder_task(n: int | None = None, seed: int = 0) -> Task:
    """All 961 pairs; the group is the pair whatever its order, the concepts are a, b, a - b and a + b (mod 31)."""
    a, b = np.indices((P, P))
    columns = {
        "group": [f"{min(x, y):02d},{max(x, y):02d}" for x, y in zip(a.ravel(), b.ravel(), strict=True)],
        "concept_a": a,
        "concept_b": b,
        "concept_difference": (a - b) % P,
        "concept_sum": _table(),
    }
    return pair_task(_table(), "a + b (mod 31)", columns, n, seed)


def waves(frequency: int) -> Float[np.ndarray, "v 2"]:
    """Cosine and sine of a frequency over the residues, each of length 1."""
    angle = 2 * np.pi * frequency * np.arange(P) / P
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * (2 / P) ** 0.5


def frequency_shares(logits: Float[np.ndarray, "p p p"]) -> Float[np.ndarray, " k"]:
    """How much of the logits each frequency makes as a wave of a + b - c.

    Args:
        logits: of answer c to a + b, [a, b, c].

    Returns:
        [(p - 1) / 2] shares in [0, 1] of the variance of the logits centred over the answers, for the frequencies
        1, 2, …; what is missing to 1 is no function of a + b - c.
    """
    p = len(logits)
    power = np.abs(np.fft.fftn(logits - logits.mean(axis=2, keepdims=True))) ** 2
    k = np.arange(1, (p + 1) // 2)
    return 2 * power[k, k, p - k] / power.sum()


def key_frequencies(logits: Float[np.ndarray, "p p p"], least: float = 0.05) -> tuple[int, ...]:
    """The frequencies whose share is at least ``least``, in order."""
    return tuple(int(k) + 1 for k in np.flatnonzero(frequency_shares(logits) >= least))


def attention_share(model: Any, seed: int = 0) -> float:
    """How much of the logits of all pairs changes when each pair gets the attention pattern of another one.

    Returns:
        Mean squared change over the variances of both sets of logits, centred over the answers: 0 where attention
        chooses nothing, 1 where the answers have nothing left in common.
    """
    v = model.cfg.d_vocab
    tokens = torch.cartesian_prod(torch.arange(v), torch.arange(v))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(v * v))
    with torch.no_grad():
        clean, swapped = (
            model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_pattern", edit)])[:, -1].double()
            for edit in (lambda pattern, hook: pattern, lambda pattern, hook: pattern[order])
        )
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (clean, swapped))
    return float((a - b).square().mean() / (a.square().mean() + b.square().mean()))
