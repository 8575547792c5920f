"""Masks: which features of an item are hidden, by their order, at random, or as in masked fine-tuning."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from mechdecouple.errors import InputError

RATIOS = tuple(round(0.1 * step, 1) for step in range(11))
"""Shares of the features that are masked along a curve, as in arXiv:2310.07819."""


def check_ratios(ratios: tuple[float, ...]) -> None:
    """Refuse shares that do not rise from 0 to 1, between which areas are taken.

    Raises:
        InputError: they do not.
    """
    steps = np.diff(ratios)
    if len(ratios) < 2 or ratios[0] != 0 or ratios[-1] != 1 or not (steps > 0).all():
        raise InputError(f"masking ratios {list(ratios)} must rise from 0 to 1; RATIOS goes there in tenths")


def ordered(
    values: Float[np.ndarray, "n t"], maskable: Bool[np.ndarray, "n t"], seed: int = 0
) -> Int[np.ndarray, "n t"]:
    """Rank of each feature by what an explanation says, 0 the most important; features that cannot be masked come last.

    Equal values are ordered at random: by position, an explanation that says nothing would mask first words first.

    Raises:
        InputError: a feature that can be masked has no value.
    """
    if np.isnan(values[maskable]).any():
        row = int((np.isnan(values) & maskable).any(axis=1).argmax())
        raise InputError(f"item {row + 1} has features without a value; give one to each that can be masked")
    ties = np.random.default_rng(seed).random(values.shape)
    order = np.lexsort((ties, np.where(maskable, -values, np.inf)), axis=-1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(values.shape[1]), values.shape), axis=1)
    return ranks


def top(ranks: Int[np.ndarray, "n t"], sizes: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n t"]:
    """The ``sizes`` most important features of each item."""
    return ranks < sizes[:, None]


def at_most(ratio: float, maskable: Bool[np.ndarray, "n t"]) -> Int[np.ndarray, " n"]:
    """How many features of each item are a share of them, rounded down: masking along a curve."""
    return np.floor(ratio * maskable.sum(axis=1) + 1e-9).astype(np.int64)


def at_least(ratio: float, maskable: Bool[np.ndarray, "n t"]) -> Int[np.ndarray, " n"]:
    """How many features of each item are a share of them, rounded up: the size of a rationale."""
    return np.ceil(ratio * maskable.sum(axis=1) - 1e-9).astype(np.int64)


def random_masks(
    maskable: Bool[np.ndarray, "n t"], rng: np.random.Generator, *, most: float = 1.0, untouched: float = 0.5
) -> Bool[np.ndarray, "n t"]:
    """Masks as masked fine-tuning draws them (arXiv:2310.07819).

    A share ``untouched`` of the items, rounded down, stays as it is; of each other one every feature is masked with a
    probability that is drawn for the item from U(0, ``most``).

    Raises:
        InputError: a share outside [0, 1].
    """
    for name, share in (("most", most), ("untouched", untouched)):
        if not 0 <= share <= 1:
            raise InputError(f"{name} is {share}: expected a share between 0 and 1")
    n = len(maskable)
    ratio = rng.uniform(0, most, n) if most > 0 else np.zeros(n)
    ratio[rng.permutation(n)[: int(untouched * n)]] = 0
    return (rng.random(maskable.shape) < ratio[:, None]) & maskable
