"""Weight change: how much a matrix changed between two models with one ancestor, and in how many directions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mechdecouple.errors import InputError
from mechdecouple.results import Metric

_DESCRIBES = "none: it describes two sets of weights"
_BASIS = "the two share an ancestor, so that one weight means the same in both"

WEIGHT_CHANGE = Metric(
    name="weight_change",
    family="ancestry",
    title="change of weights",
    measures="norm of the difference of two models' weights over the rms of their norms",
    range="[0, 2]",
    invariances="one scale of both, order of the models",
    null="1.414, the square root of 2, for weights of equal norm that have nothing in common",
    assumes=_BASIS,
)
WEIGHT_COSINE = Metric(
    name="weight_cosine",
    family="ancestry",
    title="cosine of weights",
    measures="cosine of two models' weights as one vector",
    range="[-1, 1]",
    invariances="scale of either",
    null="0 ± 1 / sqrt(weights) for fresh seeds",
    assumes=_BASIS,
)
CHANGE_RANK = Metric(
    name="weight_change_rank",
    family="ancestry",
    title="directions of the change of weights",
    measures="participation ratio of the squared singular values of the difference of two weight matrices",
    range="[1, inf)",
    invariances="scale, rotation of either side, order of the models",
    null=_DESCRIBES,
    assumes=_BASIS,
)
CHANGE_STABLE_RANK = Metric(
    name="weight_change_stable_rank",
    family="ancestry",
    title="stable rank of the change of weights",
    measures="sum of the squared singular values of the difference of two weight matrices over the largest",
    range="[1, inf)",
    invariances="scale, rotation of either side, order of the models",
    null=_DESCRIBES,
    assumes=_BASIS,
)
CHANGE_SPIKES = Metric(
    name="weight_change_spikes",
    family="ancestry",
    title="directions of the change above noise",
    measures="singular values of the difference of two weight matrices above the upper edge of a noise matrix with "
    "the same median singular value",
    range="[0, inf)",
    invariances="scale, rotation of either side, order of the models",
    null="0 for a change that is noise (in 95 % of cases)",
    assumes=f"{_BASIS}; fewer than half of the directions carry signal, the rest noise of one size",
    source="Marchenko and Pastur 1967; edge with its Tracy-Widom spread, Johnstone 2001 doi:10.1214/aos/1009210544",
)

MIN_SIDE = 8
"""Shortest side of a matrix from which its median singular value says what noise there is."""
_TRACY_WIDOM_95 = 0.9793


@dataclasses.dataclass(frozen=True)
class WeightChange:
    """The change of one part's weights; NaN where undefined.

    Attributes:
        change, cosine: over all its weights; rank, stable_rank, spikes: of its largest matrix.
        reason: why ranks are NaN; no_spikes: why the count of directions above noise is.
    """

    change: float
    cosine: float
    rank: float
    stable_rank: float
    spikes: float
    reason: str = ""
    no_spikes: str = ""


def weight_change(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, rounding: float = float(np.finfo(np.float32).eps)
) -> WeightChange:
    """The change between the weights of one part in two models.

    Args:
        a, b: its matrices [m, n] and vectors, in one order.
        rounding: relative rounding of the numbers; a change as small as this is none.

    Raises:
        InputError: unequal numbers or shapes of weights.

    >>> A = np.eye(16)
    >>> B = A + np.outer(np.ones(16), np.arange(16.0))
    >>> found = weight_change([A], [B])
    >>> round(found.rank, 6), round(found.stable_rank, 6), found.spikes
    (1.0, 1.0, 1.0)
    """
    if [np.shape(x) for x in a] != [np.shape(x) for x in b] or not a:
        raise InputError(f"weights of shapes {[np.shape(x) for x in a]} and {[np.shape(x) for x in b]}: expected alike")
    flat_a, flat_b = (np.concatenate([np.ravel(x) for x in own]).astype(np.float64) for own in (a, b))
    size_a, size_b, moved = (float(np.linalg.norm(x)) for x in (flat_a, flat_b, flat_b - flat_a))
    scale = math.sqrt((size_a**2 + size_b**2) / 2)
    change = moved / scale if scale else 0.0
    cosine = float(flat_a @ flat_b) / (size_a * size_b) if size_a and size_b else math.nan
    matrices = [
        (np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in zip(a, b, strict=True) if x.ndim == 2
    ]
    if not matrices:
        return WeightChange(change, cosine, *[math.nan] * 3, reason="vectors have no rank", no_spikes="no matrix")
    x, y = max(matrices, key=lambda pair: pair[0].size)
    floor = rounding * math.sqrt(float(np.mean(x**2 + y**2)) / 2)
    values = singular_values(y - x)
    if not values[0] > floor * math.sqrt(max(x.shape)):
        return WeightChange(change, cosine, *[math.nan] * 3, reason="its matrix did not change", no_spikes="no change")
    squares = values**2
    rank, stable = float(squares.sum() ** 2 / (squares**2).sum()), float(squares.sum() / squares[0])
    if min(x.shape) < MIN_SIDE:
        why = f"a side of {min(x.shape)} is too short to tell noise by (at least {MIN_SIDE})"
        return WeightChange(change, cosine, rank, stable, math.nan, no_spikes=why)
    edge = max(noise_edge(values, *x.shape), floor * (math.sqrt(x.shape[0]) + math.sqrt(x.shape[1])))
    return WeightChange(change, cosine, rank, stable, float((values > edge).sum()))


def singular_values(X: np.ndarray) -> np.ndarray:
    """Singular values, largest first, from the smaller Gram matrix in float64."""
    X = X.astype(np.float64)
    gram = X @ X.T if len(X) <= X.shape[1] else X.T @ X
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))


def noise_edge(values: np.ndarray, m: int, n: int) -> float:
    """The singular value that the largest of a noise matrix [m, n] stays below in 95 % of cases, where noise has the
    median of ``values`` [min(m, n)]."""
    short, long = min(m, n), max(m, n)
    variance = float(np.median(values)) ** 2 / (long * _median_eigenvalue(short / long))
    root = math.sqrt(long - 1) + math.sqrt(short)
    spread = root * (1 / math.sqrt(long - 1) + 1 / math.sqrt(short)) ** (1 / 3)
    return math.sqrt(variance * (root**2 + _TRACY_WIDOM_95 * spread))


def _median_eigenvalue(ratio: float) -> float:
    """Median of the Marchenko-Pastur law with unit variance and aspect ratio at most 1."""
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    # x = low + (high - low)(1 - cos t) / 2 takes the roots at both ends out of the density
    t = (np.arange(20_000) + 0.5) * (math.pi / 20_000)
    x = low + (high - low) * (1 - np.cos(t)) / 2
    mass = np.cumsum(np.sin(t) ** 2 / x)
    return float(np.interp(0.5, mass / mass[-1], x))
