"""Smooth ECE: calibration error without bins, at the width that the error itself sets. Arrays only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.fft import dct, idct

from mechdecouple.behavior.calibration import Outcomes, Probs, _checked
from mechdecouple.errors import InputError
from mechdecouple.results import Metric

SMOOTH_ECE = Metric(
    name="smooth_ece", family="behavior", title="smooth calibration error", range="[0, 1]", direction="lower",
    measures="mean absolute residual of the probabilities, smoothed by a kernel as wide as the error itself",
    null="that of a calibrated model with the same probabilities, which is above 0 at finite n (see calibration_curve)",
    invariances="any change inside that keeps the answers", source="arXiv:2309.12236", margin=0.02,
)  # fmt: skip

CELLS = 2048
"""Cells of the grid on [0, 1] that residuals are smoothed on; far finer than any width that matters."""

_HALVINGS = 20  # a width to a millionth


def smooth_ece(prob: Probs, outcome: Outcomes) -> float:
    """Calibration error of probabilities [n] for outcomes [n] (0/1), in [0, 1]; lower is better.

    With r_σ(t) = 1/n Σ (p_i - y_i) K_σ(t, p_i) and K the Gaussian of width σ reflected at 0 and 1, it is the one σ at
    which ∫ |r_σ(t)| dt = σ. No bins, continuous in the probabilities, and within a constant factor of the earth-mover
    distance to the nearest calibrated predictor. A perfectly calibrated predictor does not score 0 at finite n (.063 at
    n = 100 and .029 at n = 1000 for p ~ Beta(.6, .6)): read it against `calibration_curve`'s null.

    Raises:
        InputError: as for `brier`.

    >>> smooth_ece(np.ones(50), np.zeros(50)), smooth_ece(np.ones(50), np.ones(50))
    (1.0, 0.0)
    """
    p, y = _checked(prob, outcome)
    return float(fixed_point(residuals(p, p - y)[None])[0])


def smooth_ece_at(prob: Probs, outcome: Outcomes, width: float) -> float:
    """∫ |r_σ(t)| dt at a kernel width σ of one's own choosing, in [0, 1]; falls as the width grows.

    Raises:
        InputError: as for `brier`; a width that is not above 0.
    """
    if not width > 0:
        raise InputError(f"width is {width}; a kernel needs a width above 0")
    p, y = _checked(prob, outcome)
    return float(np.abs(smoothed(residuals(p, p - y)[None], np.array([width]))).sum())


def residuals(prob: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " cells"]:
    """``values``/n summed into the grid's cells, each split between its two nearest so that its place is kept."""
    place = np.clip(prob * CELLS - 0.5, 0, CELLS - 1)
    cell = np.minimum(place.astype(np.int64), CELLS - 2)
    right = place - cell
    left = np.bincount(cell, values * (1 - right), CELLS) + np.bincount(cell + 1, values * right, CELLS)
    return left / len(prob)


def smoothed(sums: Float[np.ndarray, "b cells"], widths: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b cells"]:
    """Cell sums spread by the reflected Gaussian of each row's width.

    On the cosines, which have no slope at 0 and 1, that kernel is diagonal: it damps the k-th by exp(-(π k σ)² / 2).
    """
    return np.asarray(idct(np.asarray(dct(sums, axis=1)) * _damping(widths), axis=1))


def fixed_point(sums: Float[np.ndarray, "b cells"], halvings: int = _HALVINGS) -> Float[np.ndarray, " b"]:
    """The width of each row at which the smoothed residuals' absolute sum equals the width (0 for no residuals)."""
    waves = np.asarray(dct(sums, axis=1))

    def total(widths: np.ndarray) -> np.ndarray:
        return np.abs(np.asarray(idct(waves * _damping(widths), axis=1))).sum(axis=1)

    low, high = np.zeros(len(sums)), np.ones(len(sums))
    at_end = total(high) >= 1 - 1e-12
    for _ in range(halvings):
        middle = (low + high) / 2
        above = total(middle) > middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found = np.where(at_end, 1.0, (low + high) / 2)
    return np.where(np.abs(sums).sum(axis=1) > 1e-12, found, 0.0)


def _damping(widths: np.ndarray) -> np.ndarray:
    return np.exp(-((np.pi * np.arange(CELLS) * widths[:, None]) ** 2) / 2)
