"""LinearProbe: what every linear fitter returns; Platt calibration of its scores."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped
from scipy.special import expit

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes.splits import grouped_folds


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbe:
    """A frozen linear read-out of a binary concept.

    Attributes:
        weights: [d] weight of each raw activation.
        bias: score at the origin; the decision is ``score > 0``.
        slope, offset: Platt's map from score to log-odds, fitted on groups that the weights never saw; slope >= 0.
        penalty: the chosen L2 penalty, NaN where the fitter has none.
    """

    weights: Float[np.ndarray, " d"]
    bias: float
    slope: float
    offset: float
    penalty: float = float("nan")

    @property
    def direction(self) -> Float[np.ndarray, " d"]:
        """Unit vector along which the probe reads (zeros for a probe that found nothing)."""
        norm = np.linalg.norm(self.weights)
        return self.weights / norm if norm > 0 else self.weights.copy()

    def decision_function(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Score of each row; above zero means class 1."""
        X = _checks.activations(X)
        if X.shape[1] != len(self.weights):
            raise InputError(f"activations have {X.shape[1]} dimensions, the probe was fitted on {len(self.weights)}")
        return X @ self.weights + self.bias

    def predict_proba(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Calibrated probability of class 1, in [0, 1]."""
        return expit(self.slope * self.decision_function(X) + self.offset)


def platt(score: Float[np.ndarray, " n"], y: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Slope and offset of the log-odds as a line in the score (Platt 1999, with his smoothed targets).

    A slope that would be negative is set to zero: a score that ranks held-out rows the wrong way supports the base rate
    and nothing more.
    """
    n1 = int(y.sum())
    n0 = len(y) - n1
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    base = float(np.log((n1 + 1) / (n0 + 1)))
    spread = float(score.std())
    if spread == 0:
        return 0.0, base
    centre = float(score.mean())
    A = np.column_stack([(score - centre) / spread, np.ones_like(score)])
    theta = np.array([0.0, base])

    def loss(t: np.ndarray) -> float:
        z = A @ t
        return float(np.sum(np.logaddexp(0, z) - target * z))

    for _ in range(100):
        p = expit(A @ theta)
        gradient = A.T @ (p - target)
        hessian = (A * (p * (1 - p))[:, None]).T @ A + 1e-10 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        rate, before = 1.0, loss(theta)
        while loss(theta - rate * step) > before and rate > 1e-6:
            rate /= 2
        theta = theta - rate * step
        if np.abs(gradient).max() < 1e-9 * len(y):
            break
    if theta[0] <= 0:
        return 0.0, base
    slope = float(theta[0] / spread)
    return slope, float(theta[1] - slope * centre)


def calibration_fold(
    y: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"] | None, share: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """True for the rows kept aside for calibration: whole groups, about ``share`` of them, both classes on both sides.

    Raises:
        InputError: too few groups for both sides to hold both classes.
    """
    aside = grouped_folds(y, groups, max(2, round(1 / share)), seed) == 0
    for side in (aside, ~aside):
        if len(np.unique(y[side])) < 2:
            n_groups = len(np.unique(_checks.group_codes(groups, len(y))))
            raise InputError(
                f"{n_groups} groups are too few to calibrate on a fold of its own: "
                "both classes are needed among the fitted groups and among those kept aside; add groups of each class"
            )
    return aside


def prepare(
    X: np.ndarray, y: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three checked arrays of a fit: float64 X, 0/1 y, integer groups."""
    X = _checks.activations(X)
    return X, _checks.labels(y, len(X)), _checks.group_codes(groups, len(X))
