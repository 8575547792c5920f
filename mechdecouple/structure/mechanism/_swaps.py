"""Swaps: the pairs of one concept on a stage, exchanged at any of its places."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.probes.splits import grouped_folds
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism import _rotation
from mechdecouple.structure.mechanism._interchanged import METHODS, SCORES, Interchange, Method
from mechdecouple.structure.mechanism._stage import Place, Stage
from mechdecouple.structure.mechanism._swap_scores import scores
from mechdecouple.structure.mechanism.counterfactuals import Counterfactuals, declared
from mechdecouple.structure.mechanism.subspaces import (
    between_levels,
    level_operator,
    of_differences,
    random_frames,
    rank,
    read_level,
    shuffled_frames,
    span_of_differences,
)
from mechdecouple.tasks import Task

_FOLDS, _FRAMES, _UNSEEN_FROM = 3, 8, 5
_MOST_DIRECTIONS = 64
_CROSSED, _PURE = 0.5, 0.5


class Swaps:
    """One concept's pairs on a stage, to be swapped at any of its places.

    Attributes:
        table: the counterfactuals. pairs: of held-out items. reason: why there are none.
        settles: the concept settles the answer, so that any directions that hold most of the activations make answers
            follow. Where they hold more of other things than of the concept, they are compared to directions that are
            found in the same way from shuffled activations, not to any at random.
    """

    def __init__(self, stage: Stage, concept: str, seed: int = 0) -> None:
        self.stage, self.concept, self.seed = stage, concept, seed
        task = stage.rig.task
        self.table = Counterfactuals.of(task, concept)
        self.reason = self.table.reason
        self.pairs = self.table.pairs(stage.test, stage.test, stage.limit, seed)
        groups = task.groups[self.pairs.base]
        if not self.reason and len(np.unique(groups[self.pairs.changes])) < 2:
            self.reason = (
                f"fewer than two groups of the {len(stage.test)} held-out items have an answer that changes with "
                f"{concept!r} and is known: give more items"
            )
        if self.reason:
            return
        self._part = stage.rig.select(self.pairs.base)
        self.settles = bool(self.pairs.crossed[self.pairs.changes].mean() < _CROSSED)
        code, others, n_levels = self.table.code[stage.fit], self.table.others()[stage.fit], len(self.table.values)
        half = _half(code, task.groups[stage.fit], seed)
        self._means = level_operator(code, others, n_levels)
        self._halves = [(half == h, level_operator(code[half == h], others[half == h], n_levels)) for h in (0, 1)]
        self._unseen = _without(code, others, n_levels, seed)

    @property
    def cost(self) -> int:
        """Item passes at one place, untrained."""
        return 0 if self.reason else cell_cost(self.stage.rig.task, self.concept, len(self.pairs))

    def rank(self, place: Place) -> tuple[int, float]:
        """Directions that repeat, and the share of the variance that does; costs no passes but the recording."""
        return self._rank(self.stage.activations(place, self.stage.fit))

    def at(self, place: Place, method: Method = "mean_difference", k: int | None = None) -> Interchange:
        """Swap at one place."""
        if method not in METHODS:
            raise InputError(f"method {method!r} is unknown; expected {', '.join(METHODS)}")
        if k is not None and k < 1:
            raise InputError(f"k is {k}: expected at least one direction")
        if self.reason:
            return self._nothing(place, method, self.reason)
        stage, fit, code = self.stage, self.stage.fit, self.table.code
        X = stage.activations(place, fit)
        try:
            best, repeats = self._rank(X)
            found = self._frame(place, X, method, k or best)
        except InputError as error:
            return self._nothing(place, method, str(error))
        n, rng = len(self.pairs), np.random.default_rng(self.seed)
        pure = self._purity(X, found)
        if self.settles and pure < _PURE:
            drawn = shuffled_frames(_FRAMES, len(found), self._means, X, rng)
        else:
            drawn = random_frames(_FRAMES, len(found), X.shape[1], rng)
        frames, of = self._anew(X, method, len(found))

        def swapped(these: np.ndarray, which: np.ndarray) -> np.ndarray:
            return stage.replaced(place, self.pairs, self._part, _along(these, which))

        outcomes = np.stack(
            [
                swapped(found[None], np.zeros(n, np.int64)),
                swapped(drawn, np.arange(n) % _FRAMES),
                stage.right(stage.clean(self.pairs.base), self.pairs),
                stage.replaced(place, self.pairs, self._part, lambda delta, _: delta),
                np.zeros(n, bool) if frames is None else swapped(frames, of),
                stage.clean(self.pairs.base).correct.astype(bool),
            ]
        )
        read = read_level(X, code[fit], found, stage.activations(place, stage.test)) == code[stage.test]
        groups = stage.rig.task.groups[self.pairs.base]
        return Interchange(
            **self._facts(place, method), k=len(found), readable=float(read.mean()), repeats=repeats, pure=pure,
            scores=scores(outcomes, self.pairs.changes, of >= 0, groups, self.seed),
        )  # fmt: skip

    def _rank(self, X: Float[np.ndarray, "f d"]) -> tuple[int, float]:
        k, scatter = rank(*self._half_means(X))
        variance = float(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
        return k, scatter / variance if variance > 0 else 0.0

    def _purity(self, X: Float[np.ndarray, "f d"], found: Float[np.ndarray, "k d"]) -> float:
        """Share of the variance along the directions that is the concept's and repeats between groups."""
        one, other = (means @ found.T for means in self._half_means(X))
        return float((one * other).sum() / (X @ found.T).var(axis=0).sum())

    def _half_means(self, X: Float[np.ndarray, "f d"]) -> tuple[Float[np.ndarray, "l d"], Float[np.ndarray, "l d"]]:
        (rows, operator), (other_rows, other) = self._halves
        return operator @ X[rows], other @ X[other_rows]

    def _frame(self, place: Place, X: Float[np.ndarray, "f d"], method: Method, k: int) -> Float[np.ndarray, "k d"]:
        means = between_levels(self._means @ X, k)
        if method == "mean_difference":
            return means
        fit = self.stage.fit
        at = {int(row): i for i, row in enumerate(fit)}
        matched = self.table.matched(fit, self.seed)
        differences = np.array([X[at[int(b)]] - X[at[int(a)]] for a, b in matched]).reshape(len(matched), X.shape[1])
        if method == "pca":
            return of_differences(differences, k)
        within = span_of_differences(differences, max(_MOST_DIRECTIONS, k))
        pairs = self.table.pairs(fit, fit, len(fit), self.seed)
        return _rotation.trained_frame(self.stage, place, pairs, means[: len(within)], within, self.seed)

    def _anew(
        self, X: Float[np.ndarray, "f d"], method: Method, k: int
    ) -> tuple[Float[np.ndarray, "g k d"] | None, Int[np.ndarray, " m"]]:
        """Directions found without some values, and which of them each pair is swapped along; None, -1: not at all."""
        if method == "rotation" or not self._unseen:
            return None, np.full(len(self.pairs), -1)
        frames = np.zeros((len(self._unseen), k, X.shape[1]))
        fold = np.zeros(len(self.table.values), np.int64)
        for f, (left_out, rows, operator) in enumerate(self._unseen):
            directions = between_levels(operator @ X[rows], k)
            frames[f, : len(directions)], fold[left_out] = directions, f
        return frames, fold[self.table.code[self.pairs.source]]

    def _facts(self, place: Place, method: Method) -> dict:
        table = self.table
        return {
            "model": self.stage.rig.name, "concept": self.concept, "place": place, "method": method,
            "n_levels": len(table.values), "held": table.held, "moved": table.follows,
            "bases": self.stage.rig.task.ids[self.pairs.base],
        }  # fmt: skip

    def _nothing(self, place: Place, method: Method, reason: str) -> Interchange:
        n = len(np.unique(self.stage.rig.task.groups[self.stage.test]))
        none = Replicates(np.full(len(SCORES), np.nan), np.full((2, len(SCORES)), np.nan), "jackknife", n)
        return Interchange(
            **self._facts(place, method),
            k=0,
            scores=none,
            readable=math.nan,
            repeats=math.nan,
            pure=math.nan,
            reason=reason,
        )


def cell_cost(task: Task, concept: str, tested: int, method: Method = "mean_difference") -> int:
    """Item passes of swapping a concept on so many items at one more place."""
    unseen = method != "rotation" and len(np.unique(declared(task)[concept])) >= _UNSEEN_FROM
    return tested * (3 + unseen) + (_rotation.COST if method == "rotation" else 0)


def _along(frames: Float[np.ndarray, "g k d"], which: Int[np.ndarray, " m"]) -> Callable[[Tensor, np.ndarray], Tensor]:
    """Move each pair along the frame that it is given."""
    given = torch.as_tensor(frames, dtype=torch.float32)

    def move(delta: Tensor, items: np.ndarray) -> Tensor:
        q, number = given.to(delta.device), torch.as_tensor(which[items], device=delta.device)
        out = torch.zeros_like(delta, dtype=torch.float32)
        for f in range(len(q)):
            rows = torch.nonzero(number == f)[:, 0]
            out[rows] = delta[rows].float() @ q[f].T @ q[f]
        return out

    return move


def _without(
    code: np.ndarray, others: np.ndarray, n_levels: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each of three parts of the levels: the levels, the rows of the other levels, and the operator of those."""
    if n_levels < _UNSEEN_FROM:
        return []
    fold, made = np.random.default_rng(seed).permutation(np.arange(n_levels) % _FOLDS), []
    for f in range(_FOLDS):
        rows = np.flatnonzero(fold[code] != f)
        made.append((np.flatnonzero(fold == f), rows, level_operator(code[rows], others[rows], n_levels)))
    return made


def _half(code: np.ndarray, groups: np.ndarray, seed: int) -> Int[np.ndarray, " n"]:
    if len(np.unique(groups)) < 2:
        return np.arange(len(groups)) % 2
    return grouped_folds(code.astype(float), groups, 2, seed)
