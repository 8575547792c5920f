"""Many L2-penalised logistic regressions on the same rows at once: L-BFGS with exact line search, batched."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

_MEMORY = 12
_ITERATIONS = 500


def minimise_logistic(
    Z: Float[np.ndarray, "n r"],
    y: Int[np.ndarray, " n"],
    weight: Float[np.ndarray, "n b"] | Float[np.ndarray, "n 1"],
    penalty: Float[np.ndarray, " b"],
    tolerance: float,
) -> tuple[Float[np.ndarray, "r b"], Float[np.ndarray, " b"]]:
    """Minimises, for each problem b, the weighted mean log-loss + penalty_b / 2 · ‖w_b‖².

    An iteration costs two matrix products for all problems together (scores along the step, gradient). The first
    metric is the Hessian at zero weights, which is diagonal when the columns of Z are orthogonal.

    Args:
        Z: inputs in a basis of uncorrelated columns.
        weight: row weights of each problem (0 for held-out rows).
        tolerance: stop when the largest gradient entry, measured in that metric's units, is below it.

    Returns:
        coefficients [r, b] and intercepts [b].
    """
    n, r = Z.shape
    b = len(penalty)
    weight = weight / weight.sum(axis=0)
    target = y.astype(float)[:, None]
    rate = (weight * target).sum(axis=0)
    A = np.column_stack([Z, np.ones(n)])
    ridge = np.vstack([np.broadcast_to(penalty, (r, b)), np.zeros((1, b))])
    metric = 1 / ((Z**2).mean(axis=0)[:, None] / 4 + penalty)
    metric = np.vstack([metric, np.full((1, b), 4.0)])
    theta = np.zeros((r + 1, b))
    theta[-1] = np.log(rate / (1 - rate))
    score = np.broadcast_to(theta[-1], (n, b)).copy()

    def gradient_at(score: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return A.T @ (weight * (expit(score) - target)) + ridge * theta

    gradient = gradient_at(score, theta)
    steps: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    for _ in range(_ITERATIONS):
        if np.all(np.abs(gradient * np.sqrt(metric)).max(axis=0) < tolerance):
            break
        step = -_two_loop(gradient, steps, changes, metric)
        along = A @ step
        length = _exact_length(score, along, theta, step, weight, target, ridge)
        step = step * length
        theta = theta + step
        score = score + along * length
        new = gradient_at(score, theta)
        steps.append(step)
        changes.append(new - gradient)
        del steps[:-_MEMORY], changes[:-_MEMORY]
        gradient = new
    return theta[:-1], theta[-1]


def _two_loop(
    gradient: np.ndarray, steps: list[np.ndarray], changes: list[np.ndarray], metric: np.ndarray
) -> np.ndarray:
    """Inverse-Hessian times gradient, column by column (Nocedal & Wright, algorithm 7.4)."""
    q = gradient.copy()
    kept = []
    for s, t in zip(reversed(steps), reversed(changes), strict=True):
        curvature = (s * t).sum(axis=0)
        # Columns that have converged no longer move; they contribute nothing.
        rho = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=curvature > 1e-300)
        alpha = rho * (s * q).sum(axis=0)
        q -= alpha * t
        kept.append((rho, alpha))
    q *= metric
    for s, t, (rho, alpha) in zip(steps, changes, reversed(kept), strict=True):
        q += s * (alpha - rho * (t * q).sum(axis=0))
    return q


def _exact_length(
    score: np.ndarray,
    along: np.ndarray,
    theta: np.ndarray,
    step: np.ndarray,
    weight: np.ndarray,
    target: np.ndarray,
    ridge: np.ndarray,
) -> np.ndarray:
    """Step length at which the (convex) loss is least along each column's step: Newton inside a bracket."""
    linear = (ridge * theta * step).sum(axis=0)
    quadratic = (ridge * step**2).sum(axis=0)
    low, high = np.zeros(score.shape[1]), np.full(score.shape[1], np.inf)
    length = np.ones(score.shape[1])
    for _ in range(12):
        p = expit(score + along * length)
        slope = (weight * along * (p - target)).sum(axis=0) + linear + length * quadratic
        bend = (weight * along**2 * (p * (1 - p))).sum(axis=0) + quadratic
        low = np.where(slope <= 0, length, low)
        high = np.where(slope > 0, length, high)
        newton = length - np.divide(slope, bend, out=np.zeros_like(slope), where=bend > 1e-300)
        inside = (newton > low) & (newton < high)
        middle = np.where(np.isfinite(high), (low + high) / 2, 2 * length)
        following = np.where(inside, newton, np.where(slope == 0, length, middle))
        if np.all(np.abs(following - length) <= 1e-6 * length):
            return following
        length = following
    return length
