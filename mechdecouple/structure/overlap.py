"""Coding-direction overlap: do different concepts share directions?"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Num

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.structure._rows import finite

CODING_OVERLAP = Metric(
    name="coding_overlap",
    family="entanglement",
    title="Coding-direction overlap",
    measures="mean |cosine| between the coding directions of different concepts",
    range="[0, 1]",
    direction="lower",
    invariances="rotation, translation, uniform scale",
    null="sqrt(2 / (pi d)): independent random directions in d dimensions",
    margin=0.05,
)

OVERLAP_REASON = "coding overlap needs two or more concepts that vary independently and are coded at all"


def coding_overlap(X: Float[np.ndarray, "n d"], Y: Num[np.ndarray, "m k"] | Bool[np.ndarray, "m k"]) -> float:
    """Mean |cos| over the pairs of concepts; lower is tidier; √(2/πd) for random directions (``random_overlap``).

    The coding direction of a concept is its coefficient in the regression of X on all concepts together: how the
    activations move with it while the others stand still. On balanced, independent concepts that is the difference
    of class means; where labels are correlated it does not count their correlation as overlap. Rows with an unknown
    label are left out. Noise makes directions longer and so draws the overlap towards the random level: compare
    models on equal rows. For an interval:
    ``jackknife(lambda rows: coding_overlap(X[rows], Y[rows]), blocks)``.

    Args:
        X: activations; Y: concept values (0/1, ±1 or graded; NaN unknown).

    Returns:
        a value in [0, 1], or NaN for ``OVERLAP_REASON``.

    Raises:
        InputError: activations or concept values that are not finite, lengths that differ.

    >>> Y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> round(coding_overlap(Y @ np.eye(2), Y), 9), round(coding_overlap(Y @ np.array([[1.0, 0], [1, 1]]), Y), 4)
    (0.0, 0.7071)
    """
    X = finite(X)
    if len(Y) != len(X):
        raise InputError(f"{len(X)} rows of activations and {len(Y)} of concepts: expected equal lengths")
    Y = np.asarray(Y, dtype=np.float64)
    if np.isinf(Y).any():
        row, column = np.argwhere(np.isinf(Y))[0]
        raise InputError(f"concept {column} is {Y[row, column]} at row {row}: expected a number, or NaN for unknown")
    known = ~np.isnan(Y).any(axis=1)
    X, Y = X[known], Y[known]
    k = Y.shape[1]
    if k < 2 or len(Y) <= k:
        return math.nan
    Y = Y - Y.mean(axis=0)
    spread = np.linalg.norm(Y, axis=0)
    if not spread.all() or np.linalg.matrix_rank(Y / spread) < k:
        return math.nan
    X = X - X.mean(axis=0)
    directions = np.linalg.lstsq(Y / spread, X, rcond=None)[0]
    length = np.linalg.norm(directions, axis=1)
    if not (length > 1e-12 * np.linalg.norm(X)).all():
        return math.nan
    directions /= length[:, None]
    cosine = np.abs(directions @ directions.T)[np.triu_indices(k, 1)]
    return float(np.minimum(cosine, 1.0).mean())


def random_overlap(d: int) -> float:
    """Expected |cos| of two random directions in d dimensions: Γ(d/2) / (√π Γ((d + 1)/2)), about √(2/πd); 1 for d = 1.

    >>> round(random_overlap(1), 9), round(random_overlap(2) * math.pi, 9)
    (1.0, 2.0)
    """
    if d < 1:
        raise InputError(f"{d} dimensions: expected at least one")
    return math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)
