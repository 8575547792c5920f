"""Proper scores of probabilities against the truth: Brier and logarithmic. Arrays only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

# Log scores are clipped here: one confident error must not outweigh a table.
_CLIP = 1e-6

Value = float | Float[np.ndarray, " b"]


def brier(score: ArrayLike, truth: ArrayLike, weights: ArrayLike | None = None) -> Value:
    """Mean squared distance of a probability from the truth; in [0, 1], lower is better."""
    return weighted_mean((np.asarray(score, float) - np.asarray(truth, float)) ** 2, weights)


def log_score(score: ArrayLike, truth: ArrayLike, weights: ArrayLike | None = None) -> Value:
    """Mean log-probability given to the truth, in nats; ≤ 0, higher is better; clipped to [1e-6, 1 − 1e-6] before."""
    score, truth = np.asarray(score, float), np.asarray(truth, float)
    given = np.clip(np.where(truth == 1, score, 1 - score), _CLIP, 1 - _CLIP)
    return weighted_mean(np.log(given), weights)


def weighted_mean(x: Float[np.ndarray, " n"], weights: ArrayLike | None = None) -> Value:
    """Mean of x [n]; with row weights [b, n] one value a resample. NaN for no rows or no weight."""
    if weights is None:
        return float(x.mean()) if len(x) else float("nan")
    w = np.asarray(weights, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w @ x) / w.sum(axis=-1)
