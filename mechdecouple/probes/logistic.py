"""Logistic probe: standardised inputs, L2 penalty chosen inside by grouped folds."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes._lbfgs import minimise_logistic
from mechdecouple.probes.probe import LinearProbe, calibration_fold, platt, prepare
from mechdecouple.probes.splits import grouped_folds

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclasses.dataclass
class LogisticFitter:
    """Fits w, b to mean log-loss + penalty/2 · ‖w‖² on standardised inputs, in float64.

    The penalty is the one with the smallest held-out log-loss over grouped folds (the stronger one among equals); all
    folds and penalties run together, one matrix product an iteration. Against scikit-learn: ``C = 1 / (n · penalty)``.

    Attributes:
        penalties: candidates; a single one skips the choice.
        folds: number of grouped folds that choose among them.
        calibration_share: share of the groups kept aside for Platt's calibration.
        seed: decides the folds.
    """

    penalties: tuple[float, ...] = PENALTIES
    folds: int = 5
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
            InputError: NaN or infinite activations, one class, too few groups to calibrate, a penalty <= 0.
        """
        if not self.penalties or min(self.penalties) <= 0:
            raise InputError(f"penalties {self.penalties}: expected one or more numbers above zero")
        X, y, groups = prepare(X, y, groups)
        aside = calibration_fold(y, groups, self.calibration_share, self.seed)
        weights, bias, penalty = self._fit(X[~aside], y[~aside], groups[~aside])
        slope, offset = platt(X[aside] @ weights + bias, y[aside])
        return LinearProbe(weights=weights, bias=bias, slope=slope, offset=offset, penalty=penalty)

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, float, float]:
        centre, scale = X.mean(axis=0), X.std(axis=0)
        # A column that is constant up to rounding carries nothing; dividing by its spread would blow the rounding up.
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), scale, np.inf)
        Z, basis = _rotated((X - centre) / scale)
        penalty = self._choose(Z, y, groups) if len(self.penalties) > 1 else min(self.penalties)
        coefficients, intercept = minimise_logistic(Z, y, np.ones((len(y), 1)), np.array([penalty]), tolerance=1e-8)
        weights = (basis @ coefficients[:, 0]) / scale
        return weights, float(intercept[0] - weights @ centre), penalty

    def _choose(self, Z: Float[np.ndarray, "n r"], y: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> float:
        fold = grouped_folds(y, groups, self.folds, self.seed + 1)
        usable = [f for f in range(fold.max() + 1) if len(np.unique(y[fold != f])) == 2]
        if not usable:
            raise InputError("too few groups of each class to choose a penalty; give a single one or add groups")
        penalties = np.sort(self.penalties)[::-1]
        held_out = np.repeat(np.stack([fold == f for f in usable], axis=1), len(penalties), axis=1)
        coefficients, intercept = minimise_logistic(
            Z, y, (~held_out).astype(float), np.tile(penalties, len(usable)), tolerance=1e-4
        )
        score = Z @ coefficients + intercept
        loss = np.where(held_out, np.logaddexp(0, score) - y[:, None] * score, 0.0).sum(axis=0)
        return float(penalties[np.argmin(loss.reshape(len(usable), -1).sum(axis=0))])


def _rotated(X: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "n r"], Float[np.ndarray, "d r"]]:
    """X in the basis of its principal axes (an isometry of its row space) and that basis.

    The L2 solution lies in the row space, so nothing is lost; in this basis the Hessian at zero weights is diagonal.
    """
    n, d = X.shape
    if d <= n:
        energy, basis = np.linalg.eigh(X.T @ X)
    else:
        energy, left = np.linalg.eigh(X @ X.T)
        basis = (X.T @ left) / np.sqrt(np.maximum(energy, 1e-300))
    keep = energy > max(n, d) * np.finfo(float).eps * max(float(energy[-1]), 0.0)
    basis = basis[:, keep]
    return X @ basis, basis
