"""Logistic regression on a few columns by Newton's method: hundreds of small fits, where a general fitter is slow."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import expit

_PENALTY = 1e-3
_STEPS = 50


def log_odds(
    Z: Float[np.ndarray, "n k"], y: Float[np.ndarray, " n"], new: Float[np.ndarray, "h k"]
) -> Float[np.ndarray, " h"]:
    """Log-odds of class 1 of new rows, by a fit to Z and y with a weak L2 penalty on standardised columns.

    Args:
        y: 0 and 1, both present. A column that is constant on Z counts for nothing.
    """
    centre, scale = Z.mean(0), Z.std(0)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), scale, np.inf)
    A = np.column_stack([(Z - centre) / scale, np.ones(len(Z))])
    ridge = np.full(A.shape[1], _PENALTY)
    ridge[-1] = 0.0
    w = np.zeros(A.shape[1])
    w[-1] = np.log(y.mean() / (1 - y.mean()))

    def loss(v: np.ndarray) -> float:
        z = A @ v
        return float(np.mean(np.logaddexp(0, z) - y * z) + ridge @ v**2 / 2)

    now = loss(w)
    for _ in range(_STEPS):
        p = expit(A @ w)
        gradient = A.T @ (p - y) / len(y) + ridge * w
        if np.abs(gradient).max() < 1e-8:
            break
        hessian = (A * (p * (1 - p))[:, None]).T @ A / len(y) + np.diag(ridge + 1e-12)
        step = np.linalg.solve(hessian, gradient)
        rate = 1.0
        while (then := loss(w - rate * step)) > now and rate > 1e-6:
            rate /= 2
        w, now = w - rate * step, then
    return np.column_stack([(new - centre) / scale, np.ones(len(new))]) @ w
