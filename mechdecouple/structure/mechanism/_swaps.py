"""Swaps: the pairs of one concept on a stage, exchanged at any of its places."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism import _rotation
from mechdecouple.structure.mechanism._directions import UNSEEN_FROM, Directions, Part, at_random, principal
from mechdecouple.structure.mechanism._interchanged import METHODS, SCORES, Interchange, Method
from mechdecouple.structure.mechanism._stage import Place, Stage
from mechdecouple.structure.mechanism._swap_scores import scores
from mechdecouple.structure.mechanism.counterfactuals import Counterfactuals, declared
from mechdecouple.structure.mechanism.subspaces import read_level, span_of_differences
from mechdecouple.tasks import Task

_FRAMES = 8
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
        fit = stage.fit
        self._directions = Directions(
            self.table.code[fit], self.table.others()[fit], len(self.table.values), task.groups[fit], seed
        )

    @property
    def cost(self) -> int:
        """Item passes at one place, untrained."""
        return 0 if self.reason else cell_cost(self.stage.rig.task, self.concept, len(self.pairs))

    def repeats(self, place: Place) -> float:
        """Share of the variance at a place that is the concept's; costs no passes but the recording."""
        return self._directions.repeats(self.stage.activations(place, self.stage.fit))

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
        parts = self._directions.parts(X, stage.n_tokens(place), k)
        try:
            found = self._frame(place, X, method, parts)
        except InputError as error:
            return self._nothing(place, method, str(error))
        n, rng = len(self.pairs), np.random.default_rng(self.seed)
        pure = self._directions.purity(X, found)
        if self.settles and pure < _PURE:
            drawn = self._directions.shuffled(_FRAMES, X, parts, rng)
        else:
            drawn = at_random(_FRAMES, parts, X.shape[1], rng)
        frames = None if method == "rotation" else self._directions.unseen(X, parts)
        of = np.full(n, -1) if frames is None else self._directions.fold[code[self.pairs.source]]

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
            **self._facts(place, method), k=len(found), readable=float(read.mean()), pure=pure,
            repeats=self._directions.repeats(X),
            scores=scores(outcomes, self.pairs.changes, of >= 0, groups, self.seed),
        )  # fmt: skip

    def _frame(
        self, place: Place, X: Float[np.ndarray, "f d"], method: Method, parts: Sequence[Part]
    ) -> Float[np.ndarray, "k d"]:
        if method == "mean_difference":
            return self._directions.between(X, parts)
        fit = self.stage.fit
        at = {int(row): i for i, row in enumerate(fit)}
        matched = self.table.matched(fit, self.seed)
        differences = np.array([X[at[int(b)]] - X[at[int(a)]] for a, b in matched]).reshape(len(matched), X.shape[1])
        if method == "pca":
            return principal(differences, parts)
        start = self._directions.between(X, parts)
        within = span_of_differences(differences, max(_MOST_DIRECTIONS, len(start)))
        pairs = self.table.pairs(fit, fit, len(fit), self.seed)
        return _rotation.trained_frame(self.stage, place, pairs, start[: len(within)], within, self.seed)

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
    unseen = method != "rotation" and len(np.unique(declared(task)[concept])) >= UNSEEN_FROM
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
