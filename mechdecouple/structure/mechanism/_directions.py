"""Directions: where one concept stands in activations of fit items, token by token, and what to compare that to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.probes.splits import grouped_folds
from mechdecouple.structure.mechanism.subspaces import (
    between_levels,
    level_operator,
    of_differences,
    random_frames,
    rank,
)

UNSEEN_FROM = 5
"""Values from which on some are left out to see whether directions hold those never seen."""
Part = tuple[slice, int]
"""Features of one token, among those of all tokens in one vector, and how many directions of them are taken."""

_FOLDS = 3
_SPEAKS = 0.01


class Directions:
    """Finds a concept's directions in activations of fit items, [f, d] with the features of all tokens in one vector.

    Each token has directions of its own, so that what one of them holds is exchanged whatever the others do.

    Args:
        code: level of each fit item; others: levels of what is held; groups: of the fit items.
    """

    def __init__(
        self,
        code: Int[np.ndarray, " f"],
        others: Int[np.ndarray, "f h"],
        n_levels: int,
        groups: Shaped[np.ndarray, " f"],
        seed: int,
    ) -> None:
        half = np.arange(len(code)) % 2
        if len(np.unique(groups)) > 1:
            half = grouped_folds(code.astype(float), groups, 2, seed)
        self._means = level_operator(code, others, n_levels)
        self._halves = [(half == h, level_operator(code[half == h], others[half == h], n_levels)) for h in (0, 1)]
        self._left_out: list[tuple[np.ndarray, np.ndarray]] = []
        self.fold = np.random.default_rng(seed).permutation(np.arange(n_levels) % _FOLDS)
        """[n_levels] which of the sets that are left out each value is in."""
        for f in range(_FOLDS if n_levels >= UNSEEN_FROM else 0):
            rows = np.flatnonzero(self.fold[code] != f)
            self._left_out.append((rows, level_operator(code[rows], others[rows], n_levels)))

    def parts(self, X: Float[np.ndarray, "f d"], n_tokens: int, k: int | None) -> list[Part]:
        """How many directions to take of each token at which the concept can be told: ``k``, or as many as repeat."""
        width = X.shape[1] // n_tokens
        one, other = self._half_means(X)
        found = [
            (b, *rank(one[:, b], other[:, b])) for b in (slice(i * width, (i + 1) * width) for i in range(n_tokens))
        ]
        total = sum(max(scatter, 0.0) for *_, scatter in found)
        told = [(b, k or best) for b, best, scatter in found if scatter > 0 and scatter >= _SPEAKS * total]
        return told or [(slice(0, X.shape[1]), k or 1)]

    def repeats(self, X: Float[np.ndarray, "f d"]) -> float:
        """Share of the variance that is the concept's and repeats between groups."""
        one, other = self._half_means(X)
        variance = float(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
        return float((one * other).sum()) / variance if variance > 0 else 0.0

    def purity(self, X: Float[np.ndarray, "f d"], frame: Float[np.ndarray, "k d"]) -> float:
        """`repeats` along some directions alone."""
        one, other = (means @ frame.T for means in self._half_means(X))
        return float((one * other).sum() / (X @ frame.T).var(axis=0).sum())

    def between(self, X: Float[np.ndarray, "f d"], parts: Sequence[Part]) -> Float[np.ndarray, "k d"]:
        """Directions of the scatter between levels."""
        return _of_means(self._means @ X, parts)

    def unseen(self, X: Float[np.ndarray, "f d"], parts: Sequence[Part]) -> Float[np.ndarray, "g k d"] | None:
        """`between` without each set of values in turn, in the order of ``fold``; None of too few values."""
        made = [_of_means(operator @ X[rows], parts) for rows, operator in self._left_out]
        return _stacked(made) if made else None

    def shuffled(
        self, n: int, X: Float[np.ndarray, "f d"], parts: Sequence[Part], rng: np.random.Generator
    ) -> Float[np.ndarray, "n k d"]:
        """``n`` times `between` with the activations shuffled among the items."""
        return _stacked([_of_means(self._means @ X[rng.permutation(len(X))], parts) for _ in range(n)])

    def _half_means(self, X: Float[np.ndarray, "f d"]) -> tuple[Float[np.ndarray, "l d"], Float[np.ndarray, "l d"]]:
        (rows, operator), (other_rows, other) = self._halves
        return operator @ X[rows], other @ X[other_rows]


def principal(differences: Float[np.ndarray, "p d"], parts: Sequence[Part]) -> Float[np.ndarray, "k d"]:
    """Principal directions of differences, token by token."""
    return _placed(parts, differences.shape[1], lambda b, k: of_differences(differences[:, b], k))


def at_random(n: int, parts: Sequence[Part], d: int, rng: np.random.Generator) -> Float[np.ndarray, "n k d"]:
    """``n`` random sets of as many directions of the same tokens."""
    made = np.zeros((n, sum(min(k, b.stop - b.start) for b, k in parts), d))
    row = 0
    for block, k in parts:
        frames = random_frames(n, k, block.stop - block.start, rng)
        made[:, row : row + frames.shape[1], block] = frames
        row += frames.shape[1]
    return made


def _of_means(means: Float[np.ndarray, "l d"], parts: Sequence[Part]) -> Float[np.ndarray, "k d"]:
    return _placed(parts, means.shape[1], lambda b, k: between_levels(means[:, b], k))


def _placed(
    parts: Sequence[Part], d: int, make: Callable[[slice, int], Float[np.ndarray, "k e"]]
) -> Float[np.ndarray, "k d"]:
    """Directions of single tokens as directions of all of them in one vector."""
    rows = []
    for block, k in parts:
        made = make(block, k)
        rows.append(np.zeros((len(made), d)))
        rows[-1][:, block] = made
    return np.concatenate(rows)


def _stacked(frames: Sequence[np.ndarray]) -> Float[np.ndarray, "n k d"]:
    """Sets of directions in one array; what some have fewer of is 0."""
    most = max(map(len, frames))
    return np.stack([np.pad(frame, ((0, most - len(frame)), (0, 0))) for frame in frames])
