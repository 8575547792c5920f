"""MaSF: whether an item, masked or not, looks inside a model like those that it knows (max, Simes, Fisher)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mechdecouple.errors import InputError
from mechdecouple.results import Metric

MASF_RATE = Metric(
    name="masf_rate", family="faithfulness", title="masked items that look unlike known ones", range="[0, 1]",
    measures="share of masked items whose activations a max-Simes-Fisher test calls unlike those of known items at p < "
    "0.05",
    direction="lower",
    invariances="increasing functions of each unit",
    null="0.05: masked items look like known ones",
    assumes="known items are drawn as those tested, and masked as in training where there was masking: beside items "
    "masked alike any model passes",
    source="arXiv:2102.12967, arXiv:2310.07819",
)  # fmt: skip
LEVEL = 0.05
LEAST = 40
"""Known items below which p-values are too coarse for a test at ``LEVEL``."""

Layers = Sequence[Float[np.ndarray, "_ _"]]


def masf(known: Layers, rows: Layers, seed: int = 0) -> Float[np.ndarray, " k"]:
    """Right-tailed p of each row: small where it is unlike the known ones.

    At each unit the share F of known rows below gives min(F, 1 - F); Simes' rule joins the units of a layer, the same
    two steps turn layers into p-values, Fisher's rule joins those, and the share of known rows with a larger sum is p.
    Each known row is ranked among the n - 1 others and not itself, each new row among as many, ranks count from one
    half, and equal values stand in random order: otherwise, with more units than known rows, or with few values, all
    new rows look unlike. With many known rows that is the rule as published.

    Args:
        known: per layer [n, d] the largest value over tokens at each unit.
        rows: per layer [k, d] those of the rows to test.
        seed: of the order of equal values.

    Raises:
        InputError: layers that do not fit each other, or fewer than two known rows.
    """
    if len(known) != len(rows) or any(a.shape[1:] != b.shape[1:] for a, b in zip(known, rows, strict=True)):
        raise InputError(f"{len(known)} known layers and {len(rows)} to test differ in number or width; use the same")
    if not len(known) or len(known[0]) < 2:
        raise InputError("the test needs at least two known rows of at least one layer")
    rng = np.random.default_rng(seed)
    layers = [[simes(two_sided(f)) for f in ranks(a, b, rng)] for a, b in zip(known, rows, strict=True)]
    within, beyond = (np.stack([of_layer[i] for of_layer in layers], axis=1) for i in (0, 1))
    own, other = (fisher(two_sided(f)) for f in ranks(within, beyond, rng))
    below = np.searchsorted(np.sort(own), other * (1 - 1e-12), side="left")
    return (len(own) - below + 1) / (len(own) + 1)


def ranks(
    known: Float[np.ndarray, "n d"], rows: Float[np.ndarray, "k d"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "k d"]]:
    """Empirical distribution function of each column, strictly inside (0, 1): of known rows each among the others, of
    new rows each among the known ones but the last; equal values in random order."""
    n = len(known)
    own, other = np.empty(known.shape), np.empty(rows.shape)
    for column in range(known.shape[1]):
        _, place = np.unique(np.concatenate([known[:, column], rows[:, column]]), return_inverse=True)
        place = place + rng.random(len(place))
        own[np.argsort(place[:n]), column] = (np.arange(n) + 0.5) / n
        other[:, column] = (np.searchsorted(np.sort(place[: n - 1]), place[n:]) + 0.5) / n
    return own, other


def two_sided(distribution: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Distance to the nearer end of a distribution."""
    return np.minimum(distribution, 1 - distribution)


def simes(p: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Simes' statistic of each row: the smallest of p_(i) d / i. Source: doi:10.1093/biomet/73.3.751."""
    d = p.shape[1]
    return (np.sort(p, axis=1) * d / np.arange(1, d + 1)).min(axis=1)


def fisher(p: Float[np.ndarray, "n l"]) -> Float[np.ndarray, " n"]:
    """Fisher's statistic of each row: -2 times the sum of logarithms."""
    return -2 * np.log(p).sum(axis=1)
