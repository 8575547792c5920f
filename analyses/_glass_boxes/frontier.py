"""The frontier of accuracy against simulatability: intervals and Pareto sets over draws of seeds and of item groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """One model's answers to the items of one split.

    Attributes:
        correct: [n] whether each answer is right; answer: [n] 0 or 1.
        named: surrogate -> [n] the answers, 0 or 1, that it names.
    """

    correct: np.ndarray
    answer: np.ndarray
    named: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """Accuracy and simulatability of m models in b draws, [b, m]; seeds and groups of items are drawn anew in each."""

    accuracy: Float[np.ndarray, "b m"]
    simulatability: Float[np.ndarray, "b m"]

    def on_frontier(self) -> Float[np.ndarray, " m"]:
        """Share of the draws in which each model is on the frontier."""
        return np.mean([pareto(a, s) for a, s in zip(self.accuracy, self.simulatability, strict=True)], axis=0)


def resampled(
    models: Sequence[Sequence[Judged]], groups: Shaped[np.ndarray, " n"], n_draws: int = 1000, seed: int = 0
) -> Draws:
    """Draws of ``models``, each of which is judged once a seed on the same items of these groups.

    Groups are drawn with replacement, the same ones for all models; so are seeds. Simulatability is that of the better
    surrogate of each model and seed.
    """
    rng, (n_groups, n_seeds) = np.random.default_rng(seed), (len(np.unique(groups)), len(models[0]))
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_draws)
    return _weighted(models, groups, drawn, rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_draws))


def as_measured(models: Sequence[Sequence[Judged]], groups: Shaped[np.ndarray, " n"]) -> Draws:
    """All items and seeds, once each: one draw."""
    return _weighted(models, groups, np.ones((1, len(np.unique(groups)))), np.ones((1, len(models[0]))))


def _weighted(
    models: Sequence[Sequence[Judged]], groups: np.ndarray, weights: np.ndarray, seeds: np.ndarray
) -> Draws:  # fmt: skip
    """Numbers of every model, by how often each group [b, g] and each seed [b, s] is drawn."""
    at = np.unique(groups, return_inverse=True)[1]
    total = weights @ np.bincount(at)
    seeds = seeds / seeds.sum(axis=1, keepdims=True)
    found = np.zeros((2, len(weights), len(models)))

    def share(values: np.ndarray) -> np.ndarray:
        return weights @ np.bincount(at, weights=values) / total

    for m, own in enumerate(models):
        for s, one in enumerate(own):
            kappas = [
                kappa_of(share(named == one.answer), share(one.answer), share(named)) for named in one.named.values()
            ]
            found[:, :, m] += seeds[:, s] * np.stack([share(one.correct), np.max(kappas, axis=0)])
    return Draws(found[0], found[1])


def kappa_of(agree: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cohen's kappa of two yes-or-no raters: the share on which they agree, and the share to which each says yes.

    >>> kappa_of(np.array(0.7), np.array(0.5), np.array(0.5)).round(3).item()
    0.4
    """
    by_chance = first * second + (1 - first) * (1 - second)
    return (agree - by_chance) / np.maximum(1 - by_chance, 1e-12)


def pareto(a: Float[np.ndarray, " m"], b: Float[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
    """Which models [m] no other equals in both and exceeds in one; higher is better in both.

    >>> pareto(np.array([0.7, 0.8, 0.9, 0.8]), np.array([0.9, 0.6, 0.5, 0.5])).tolist()
    [True, True, True, False]
    """
    as_good = (a[:, None] >= a) & (b[:, None] >= b)
    better = as_good & ((a[:, None] > a) | (b[:, None] > b))
    return ~better.any(axis=0)
