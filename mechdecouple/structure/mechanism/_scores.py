"""What is left of the answers under an edit: accuracy, logit difference, per-item effect, share of the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.stats import Replicates, jackknife_blocks
from mechdecouple.structure.mechanism.options import OptionLogits

_TWICE = 1.12
"""An item stands in two rows of a resampling, its own and that of the item that draws it. The jackknife over rows does
not see this: its intervals of shares hold 91-94 % (sums of independent parts, 100 items), with this factor 94-97 %."""


class Scorer:
    """Scores answers under edits against the clean ones, with a delete-a-block jackknife over groups.

    Args:
        clean: the answers without edits; groups: [n] unit of resampling; seed: of the blocks.
    """

    def __init__(self, clean: OptionLogits, groups: Shaped[np.ndarray, " n"], seed: int = 0) -> None:
        self.clean, self.groups = clean, groups
        size = np.unique(groups, return_counts=True)[1]
        self.n_groups = len(size)
        blocks = jackknife_blocks(groups, seed=seed)
        self._of_block = (np.arange(blocks.max() + 1)[:, None] == blocks).astype(np.float64)
        # Twice the weight of a typical group: the standard error that no error at all leaves.
        self._resolution = 2 * float(((size / size.sum()) ** 2).sum())

    def score(self, edited: OptionLogits, *, drawn: bool = False) -> Score:
        """Item by item, and sums by block of what the share is made of; ``drawn``: from other items (resampling)."""
        parts = _moments(self.clean.values, edited.values)
        if drawn:
            # No item draws itself: squared differences of two draws are n / (n - 1) of what the variances say.
            parts[0][:, 0] *= 1 - 1 / len(self.clean)
        moments = [self._of_block @ p for p in parts]
        return Score(edited.correct, edited.difference, self.clean.answer - edited.answer, moments, drawn)

    def mean(self, values: Float[np.ndarray, "*s n"], *, share_of_items: bool = False) -> Replicates:
        """The mean over items of values that come last; NaN stays NaN. Of a share of items with its resolution."""
        values = np.asarray(values, np.float64)
        blocks = values @ self._of_block.T
        size = self._of_block.sum(axis=1)
        total, n = blocks.sum(axis=-1), size.sum()
        left = np.moveaxis((total[..., None] - blocks) / (n - size), -1, 0) if len(size) > 1 else total[None][:0]
        return self._replicates(np.asarray(total / n), left, self._resolution if share_of_items else 0.0)

    def share(self, scores: Sequence[Score]) -> Replicates:
        """`share_changed` of several readings.

        A share that reaches its bound has the error that it would have without it, as far as its interval lies below.
        """
        value = np.array([_share([p.sum(axis=0) for p in s.moments]) for s in scores], dtype=np.float64)
        left = [_share([p.sum(axis=0) - p for p in s.moments]) for s in scores]
        free = self._replicates(
            value, np.stack(left, axis=1) if len(self._of_block) > 1 else np.empty((0, len(scores)))
        )
        half = (value - free.interval()[0]) * np.where([s.drawn for s in scores], _TWICE, 1.0)
        bounded = np.minimum(value, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = np.where(half > 0, (bounded - np.minimum(value - half, 1.0)) / half, 1.0)
        spread = free.replicates - free.replicates.mean(axis=0) if len(free.replicates) else free.replicates
        kept = kept * np.where([s.drawn for s in scores], _TWICE, 1.0)
        return self._replicates(bounded, bounded + kept * spread)

    def _replicates(self, value: np.ndarray, left: np.ndarray, resolution: float = 0.0) -> Replicates:
        return Replicates(value, left, "jackknife", self.n_groups, np.full(np.shape(value), resolution))


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """Answers under one edit.

    Attributes:
        correct: [n]; difference: [n] option-centred logit difference; effect: [n] drop of the right option's centred
            logit; moments: sums by block that `share_changed` is made of; drawn: what was put in came from other items.
    """

    correct: Float[np.ndarray, " n"]
    difference: Float[np.ndarray, " n"]
    effect: Float[np.ndarray, " n"]
    moments: list[np.ndarray]
    drawn: bool = False


def share_changed(clean: Float[np.ndarray, "n m"], edited: Float[np.ndarray, "n m"]) -> float:
    """How unlike two sets of centred logits are: mean squared change over their variances' sum, at most 1.

    0: the same answers. 1: unrelated ones, as after drawing all they depend on from other items. Logits that are the
    sum of independent parts: resampling a part that makes up a fraction s of the variance gives s, setting it to its
    mean s / (2 - s). Unchanged by an orthogonal change of basis of the logits and by their scale; NaN where neither
    varies over items.

    >>> x = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    >>> share_changed(x, x), share_changed(x, x[[0, 1, 3, 2]]), share_changed(x, 0 * x)
    (0.0, 1.0, 1.0)
    """
    return float(np.minimum(_share([p.sum(axis=0) for p in _moments(clean, edited)]), 1.0))


def _moments(clean: np.ndarray, edited: np.ndarray) -> list[np.ndarray]:
    """Per item: squared change, squared length before and after, and what the means over items are made of."""
    offered = ~np.isnan(clean)
    a, b = np.nan_to_num(clean), np.nan_to_num(edited)
    squares = np.stack([((a - b) ** 2).sum(axis=1), (a**2).sum(axis=1), (b**2).sum(axis=1)], axis=1)
    return [squares, a, b, offered.astype(np.float64)]


def _share(sums: Sequence[np.ndarray]) -> Float[np.ndarray, " *s"]:
    """`share_changed` without its bound."""
    squares, a, b, count = sums
    count = np.maximum(count, 1)
    before = squares[..., 1] - (a**2 / count).sum(axis=-1)
    after = squares[..., 2] - (b**2 / count).sum(axis=-1)
    whole, floor = before + after, 1e-12 * (squares[..., 1] + squares[..., 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > floor, squares[..., 0] / whole, np.nan)


def sampled(groups: Shaped[np.ndarray, " n"], limit: int, seed: int = 0) -> Int[np.ndarray, " m"]:
    """Rows of groups drawn at random until about ``limit`` items are there, in order; all where there are no more."""
    if len(groups) <= limit:
        return np.arange(len(groups))
    _, code, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(size))
    taken = order[: max(2, int((np.cumsum(size[order]) <= limit).sum()))]
    return np.flatnonzero(np.isin(code, taken))


def filled(values: Sequence[np.ndarray] | np.ndarray, where: np.ndarray) -> np.ndarray:
    """Rows of ``values`` by index, NaN where the index is -1."""
    values = np.asarray(values, np.float64)
    return np.where((where >= 0).reshape(-1, *[1] * (values.ndim - 1)), values[where], np.nan)
