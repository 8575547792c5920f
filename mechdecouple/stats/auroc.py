"""AUROC with ties and row weights, for many sets of weights at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple.errors import InputError

_CHUNK = 4_000_000


def weighted_auroc(
    score: Float[np.ndarray, " n"] | Int[np.ndarray, " n"],
    truth: Float[np.ndarray, " _n"] | Int[np.ndarray, " _n"] | Bool[np.ndarray, " _n"],
    weights: Float[np.ndarray, " _n"] | Float[np.ndarray, "b _n"] | None = None,
) -> float | Float[np.ndarray, " b"]:
    """Chance that a true row outranks a false one, ties counting one half; in [0, 1], .5 without any relation.

    Rows are sorted once; each of the ``b`` weight rows (bootstrap multiplicities, say) then costs O(n).

    Args:
        score: any real score, higher meaning truer.
        truth: 0 or 1.
        weights: none, one weight a row, or ``[b, n]`` for ``b`` values at once.

    Returns:
        a float, or an array ``[b]`` for ``[b, n]`` weights; NaN where one class has no weight.

    Raises:
        InputError: lengths differ, a score is not a number, a truth value is neither 0 nor 1, a weight is negative or
        not finite.

    >>> weighted_auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]))
    0.875
    """
    score, truth = np.asarray(score, float), np.asarray(truth, float)
    _check(score, truth)
    w = np.ones((1, len(score))) if weights is None else np.atleast_2d(np.asarray(weights, float))
    if w.shape[1] != len(score):
        raise InputError(f"weights are for {w.shape[1]} rows, the scores have {len(score)}: give one weight a row")
    if not np.isfinite(w).all() or (w < 0).any():
        raise InputError("weights must be finite and not negative: check the resampling plan")
    if len(score) == 0:
        return float("nan") if weights is None or np.ndim(weights) == 1 else np.full(len(w), np.nan)

    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    is_true = truth[order] == 1
    step = max(1, _CHUNK // len(score))
    values = np.concatenate([_of(w[i : i + step][:, order], is_true, starts) for i in range(0, len(w), step)])
    return float(values[0]) if weights is None or np.ndim(weights) == 1 else values


def _of(w: np.ndarray, is_true: np.ndarray, starts: np.ndarray) -> np.ndarray:
    true_mass = np.add.reduceat(np.where(is_true, w, 0.0), starts, axis=1)
    false_mass = np.add.reduceat(np.where(is_true, 0.0, w), starts, axis=1)
    below = np.cumsum(false_mass, axis=1) - false_mass / 2
    total = true_mass.sum(axis=1) * false_mass.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (true_mass * below).sum(axis=1) / total, np.nan)


def _check(score: Shaped[np.ndarray, " n"], truth: Shaped[np.ndarray, " m"]) -> None:
    if score.shape != truth.shape:
        raise InputError(f"{len(score)} scores for {len(truth)} truth values: both need one a row")
    if np.isnan(score).any():
        raise InputError(f"score {int(np.flatnonzero(np.isnan(score))[0])} is NaN: drop the row or give it a number")
    wrong = ~np.isin(truth, (0.0, 1.0))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(f"truth {at} is {truth[at]}: expected 0 or 1; drop the rows whose truth is unknown")
