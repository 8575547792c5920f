"""A rule list: short conditions asked in turn, the first that holds gives the answer (Rivest 1987,
doi:10.1007/BF00058680), grown greedily as in CN2 (Clark & Niblett 1989, doi:10.1007/BF00116835)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError

Conditions = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class RuleList:
    """A fitted list.

    Attributes:
        rules: each the (feature, value) pairs that must all hold; the last is empty and always holds.
        odds: [rules] share of label 1 among the items that each rule decides, one item of either label added.
    """

    rules: tuple[Conditions, ...]
    odds: Float[np.ndarray, " r"]

    @property
    def size(self) -> int:
        """Rules, the last one included."""
        return len(self.rules)

    def predict_proba(self, X: Int[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
        """Probability of labels 0 and 1."""
        decided = np.full(len(X), -1)
        for i, rule in enumerate(self.rules):
            decided[(decided < 0) & holds(rule, X)] = i
        return np.stack([1 - self.odds[decided], self.odds[decided]], axis=1)

    def sentences(self, values: Sequence[tuple[str, str]], labels: tuple[str, str]) -> tuple[str, ...]:
        """One a rule; ``values`` are the words of each feature's 0 and 1."""
        said = []
        for rule, odds in zip(self.rules, self.odds, strict=True):
            told = f"{labels[int(odds > 0.5)]} ({max(odds, 1 - odds):.2f})"
            asked = " and ".join(values[feature][value] for feature, value in rule)
            said.append(f"{'else ' if said else ''}{f'if {asked}: ' if asked else ''}{told}")
        return tuple(said)


def holds(rule: Conditions, X: Int[np.ndarray, "n d"]) -> np.ndarray:
    """Which items meet all conditions [n] bool."""
    met = np.ones(len(X), dtype=bool)
    for feature, value in rule:
        met &= X[:, feature] == value
    return met


@dataclasses.dataclass(frozen=True)
class RuleListFitter:
    """Takes, again and again, the rule that tells most of the items that are left apart from the others.

    A rule is worth the log-likelihood (nats) that giving its items, and the others that are left, a share of their own
    gains. Ties go to the shorter rule.

    Attributes:
        rules: most rules, the last one, which always holds, included.
        conditions: most conditions of a rule.
        least: fewest items that a rule decides.
    """

    rules: int = 8
    conditions: int = 3
    least: int = 20

    def fit(self, X: Int[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> RuleList:
        """X [n, d] and y [n] of 0 and 1.

        Raises:
            InputError: no items, values other than 0 and 1, or not even one rule.
        """
        X, y = np.asarray(X), np.asarray(y)
        if len(X) == 0 or self.rules < 1 or not (np.isin(X, (0, 1)).all() and np.isin(y, (0, 1)).all()):
            raise InputError(f"{len(X)} items, {self.rules} rules: expected at least 1 of each, and values of 0 and 1")
        possible = list(_conjunctions(X.shape[1], self.conditions))
        met = np.stack([holds(rule, X) for rule in possible], axis=1).astype(np.float32)
        left = np.ones(len(X), dtype=bool)
        chosen: list[Conditions] = []
        odds: list[float] = []
        while len(chosen) < self.rules - 1 and left.any():
            items = met[left].sum(axis=0, dtype=np.float64)
            hits = (met[left] * y[left, None]).sum(axis=0, dtype=np.float64)
            gained = likelihood(items, hits) + likelihood(left.sum() - items, y[left].sum() - hits)
            gained -= likelihood(np.array(left.sum()), np.array(y[left].sum()))
            gained[(items < self.least) | (items == left.sum())] = -np.inf
            best = int(gained.argmax())
            if gained[best] <= 1e-9:
                break
            chosen.append(possible[best])
            odds.append((hits[best] + 1) / (items[best] + 2))
            left &= met[:, best] == 0
        odds.append((y[left].sum() + 1) / (left.sum() + 2))
        return RuleList((*chosen, ()), np.array(odds))


def likelihood(items: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Log-likelihood in nats of so many hits among so many items, at the share that they have; at most 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(hits * np.log(hits / items)) + np.nan_to_num(
            (items - hits) * np.log((items - hits) / items)
        )


def _conjunctions(n_features: int, most: int) -> list[Conditions]:
    return [
        tuple(zip(features, values, strict=True))
        for size in range(1, most + 1)
        for features in itertools.combinations(range(n_features), size)
        for values in itertools.product((0, 1), repeat=size)
    ]
