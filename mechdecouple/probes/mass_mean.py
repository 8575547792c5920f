"""Mass-mean probe: the difference of the class means, plain or whitened."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from mechdecouple.probes.probe import LinearProbe, calibration_fold, platt, prepare

Whitening = Literal["none", "pinv", "ledoit-wolf"]


@dataclasses.dataclass
class MassMeanFitter:
    """Fits θ = μ₁ − μ₀, or Σ⁻¹θ with the within-class covariance Σ (Marks & Tegmark, arXiv 2310.06824).

    The threshold lies midway between the class means. With ``ledoit-wolf`` this is linear discriminant analysis with
    Ledoit–Wolf shrinkage; ``pinv`` inverts the covariance on its own range only.

    Attributes:
        whitening: "none", "pinv" or "ledoit-wolf".
        calibration_share: share of the groups kept aside for Platt's calibration.
        seed: decides which groups.
    """

    whitening: Whitening = "none"
    calibration_share: float = 0.2
    seed: int = 0

    def fit(
        self,
        X: Float[np.ndarray, "n d"],
        y: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"],
        groups: Shaped[np.ndarray, " n"] | None = None,
    ) -> LinearProbe:
        """X [n, d], y [n] of 0 and 1, groups [n] (None: every row its own) → frozen probe.

        Raises:
            InputError: NaN or infinite activations, one class, too few groups to calibrate.
        """
        X, y, groups = prepare(X, y, groups)
        aside = calibration_fold(y, groups, self.calibration_share, self.seed)
        weights, bias = mass_mean(X[~aside], y[~aside], self.whitening)
        slope, offset = platt(X[aside] @ weights + bias, y[aside])
        return LinearProbe(weights=weights, bias=bias, slope=slope, offset=offset)


def mass_mean(
    X: Float[np.ndarray, "n d"], y: Num[np.ndarray, " n"], whitening: Whitening = "none"
) -> tuple[Float[np.ndarray, " d"], float]:
    """Weights and bias of the mass-mean read-out."""
    mean = np.stack([X[y == 0].mean(axis=0), X[y == 1].mean(axis=0)])
    theta = mean[1] - mean[0]
    residual = X - mean[np.asarray(y, dtype=int)]
    if whitening == "pinv":
        theta = np.linalg.pinv(residual.T @ residual / len(X), hermitian=True) @ theta
    elif whitening == "ledoit-wolf" and residual.any():
        theta = np.linalg.solve(ledoit_wolf(residual), theta)
    return theta, float(-theta @ mean.mean(axis=0))


def ledoit_wolf(residual: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Covariance of centred rows, shrunk towards a multiple of the identity by the optimal amount.

    Source: Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    n, d = residual.shape
    covariance = residual.T @ residual / n
    level = np.trace(covariance) / d
    energy = float(np.sum(covariance**2))
    distance = energy - d * level**2
    noise = (float(np.sum(np.sum(residual**2, axis=1) ** 2)) / n - energy) / n
    share = min(1.0, noise / distance) if distance > 0 else 1.0
    return (1 - share) * covariance + share * level * np.eye(d)
