"""Masking curves: how a model does as more and more of each item is masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from mechdecouple.faithfulness.attribution import attribute
from mechdecouple.faithfulness.maskable import Maskable, probabilities
from mechdecouple.faithfulness.masks import RATIOS, at_least, at_most, check_ratios, ordered, top


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Scores of n items at r masking ratios.

    Attributes:
        ratios: [r] share of the features that is masked, rounded down to whole features of each item.
        probability: [r, n] of the option that is chosen on the whole item.
        correct: [r, n] 1.0 where the right option is the likeliest.
    """

    ratios: Float[np.ndarray, " r"]
    probability: Float[np.ndarray, "r n"]
    correct: Float[np.ndarray, "r n"]

    @classmethod
    def mean(cls, several: Sequence[Curve]) -> Curve:
        """Item by item, over draws of random masks."""
        probability, correct = (np.mean([getattr(c, f) for c in several], axis=0) for f in ("probability", "correct"))
        return cls(several[0].ratios, probability, correct)


def masking_curve(
    subject: Maskable,
    explanation: str | Float[np.ndarray, "n t"],
    *,
    ratios: Sequence[float] = RATIOS,
    recursive: bool = False,
    seed: int = 0,
) -> Curve:
    """Mask features in the order of an explanation, the most important first.

    Args:
        explanation: the name of an attribution, or values [n, t].
        recursive: explain anew what is left after each step (arXiv:2310.07819); takes a name.
        seed: of the order of features that an explanation calls equal.

    Raises:
        InputError: ratios that do not rise from 0 to 1, an unknown name, a feature without a value.
    """
    check_ratios(tuple(ratios))
    items, masked, steps = np.arange(len(subject)), subject.nothing, []
    values = attribute(subject, explanation) if isinstance(explanation, str) else explanation
    for ratio in ratios:
        if recursive and isinstance(explanation, str) and masked.any() and ratio < 1:
            values = np.where(masked, np.inf, attribute(subject, explanation, items, masked))
        masked = top(ordered(values, subject.maskable, seed), at_most(ratio, subject.maskable)) & subject.maskable
        steps.append(scores(subject, masked))
    return Curve(np.array(ratios, float), np.stack([p for p, _ in steps]), np.stack([c for _, c in steps]))


def rationales(
    subject: Maskable, values: Float[np.ndarray, "n t"], bins: Sequence[float], seed: int = 0
) -> tuple[Float[np.ndarray, "b n"], Float[np.ndarray, "b n"]]:
    """Probability of the chosen option without the features ranked first, and with them alone; for shares of the
    features, rounded up."""
    ranks, without, alone = ordered(values, subject.maskable, seed), [], []
    for share in bins:
        first = top(ranks, at_least(share, subject.maskable)) & subject.maskable
        without.append(scores(subject, first)[0])
        alone.append(scores(subject, subject.maskable & ~first)[0])
    return np.stack(without), np.stack(alone)


def scores(
    subject: Maskable, masked: Bool[np.ndarray, "n t"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Probability of the chosen option of each item under a mask, and 1.0 where the right one is the likeliest."""
    items = np.arange(len(subject))
    logits = subject.read(items, masked)
    probability = probabilities(logits)[items, subject.chosen]
    return probability, (np.nanargmax(logits, axis=1) == subject.right).astype(np.float64)
