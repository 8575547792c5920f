"""Noise tolerance: how much activation noise, in units of the activations' own size, the answers stand."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression, root_scalar

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.structure._rows import finite
from mechdecouple.structure.functional import functional_basis, project

NOISE_TOLERANCE = Metric(
    name="noise_tolerance",
    family="robustness",
    title="Noise tolerance ε90 (functional rms)",
    measures="noise, in units of the rms of the activations the read-out uses, at which accuracy falls to 90 %",
    range="[0, inf)",
    direction="higher",
    invariances="rotation, translation, uniform scale, inert dimensions",
    null="no honest null: compare models, and depth with depth",
    margin=0.20,
    scale="relative",
)
NOISE_TOLERANCE_TOTAL = Metric(
    name="noise_tolerance_total",
    family="robustness",
    title="Noise tolerance ε90 (total rms)",
    measures="noise, in units of the rms of all activations, at which accuracy falls to 90 %",
    range="[0, inf)",
    direction="higher",
    invariances="rotation, translation, uniform scale",
    null="no honest null: compare models, and depth with depth",
    scale="relative",
)

_LEVEL = 0.9
_NEAR = 3


def total_rms(X: Float[np.ndarray, "n d"]) -> float:
    """Root mean squared distance of the rows from their mean, over all dimensions together."""
    X = finite(X)
    return float(np.sqrt(np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1))))


def functional_rms(
    X: Float[np.ndarray, "n d"],
    gradients: Float[np.ndarray, "m e"] | Float[np.ndarray, "m r e"],
    share: float = 0.99,
) -> float:
    """``total_rms`` of the rows projected on the subspace that the answers depend on; the rest does not count.

    Args:
        X: activations at a hook point.
        gradients: gradient of each option-centred logit with respect to them, of some items.
        share: of the answers' variance that the subspace holds, see ``functional_basis``.

    Returns:
        the rms, 0 where no gradient reaches the hook point.

    Raises:
        InputError: values that are not finite, widths that differ, a share outside (0, 1].
    """
    basis = functional_basis(gradients, share, X)
    return total_rms(project(X, basis)) if basis.shape[1] else 0.0


def noise_std(scale: float, rms: float, d: int) -> float:
    """Standard deviation per dimension of isotropic noise in d dimensions whose total rms is ``scale · rms``."""
    if d < 1:
        raise InputError(f"{d} dimensions: expected at least one")
    return scale * rms / math.sqrt(d)


def noise_tolerance(scales: Num[np.ndarray, " s"], accuracy: Num[np.ndarray, " s"], clean: float) -> float:
    """ε90: the noise scale at which accuracy falls to 90 % of its clean value; higher is tidier.

    The curve, begun with the clean value at scale 0, is made non-increasing (isotonic regression) and interpolated
    monotonically (PCHIP).

    Returns:
        a scale in the range of ``scales``, or NaN where accuracy never falls that far (or is 0 to begin with).

    Raises:
        InputError: scales that are not positive and increasing, lengths that differ, values that are not finite.
    """
    scales, accuracy = np.asarray(scales, dtype=float), np.asarray(accuracy, dtype=float)
    if scales.shape != accuracy.shape or not len(scales):
        raise InputError(
            f"{len(scales)} noise scales and {len(accuracy)} accuracies: expected equal numbers, at least one"
        )
    if scales[0] <= 0 or (np.diff(scales) <= 0).any() or not np.isfinite([*scales, *accuracy, clean]).all():
        raise InputError(f"noise scales {scales.tolist()}: expected positive and increasing, with finite accuracies")
    x = np.append(0.0, scales)
    weights = np.append(1e6, np.ones(len(scales)))
    curve = isotonic_regression(np.append(clean, accuracy), weights=weights, increasing=False).x
    target = _LEVEL * clean
    if clean <= 0 or curve[-1] > target:
        return math.nan
    after = int(np.argmax(curve <= target))
    if curve[after] == target:
        return float(x[after])
    smooth = PchipInterpolator(x, curve)
    return float(root_scalar(lambda scale: float(smooth(scale)) - target, bracket=(x[after - 1], x[after])).root)


class NoiseTolerance:
    """ε90 as a function of the kept rows, for ``stats.jackknife``.

    Args:
        scales: [s] noise scales, increasing.
        correct: [s, n] correctness of each item at each scale (a mean over noise draws where there are several).
        clean: [n] correctness without noise.

    Attributes:
        reason: why a value is NaN.

    Raises:
        InputError: no scales, or numbers of scales or items that differ.
    """

    def __init__(
        self, scales: Num[np.ndarray, " s"], correct: Num[np.ndarray, "t n"], clean: Num[np.ndarray, " m"]
    ) -> None:
        if correct.shape != (len(scales), len(clean)) or not len(scales):
            raise InputError(
                f"correctness has shape {correct.shape}, expected ({len(scales)}, {len(clean)}), by noise scale and "
                "item, with one scale at least"
            )
        self._scales, self._correct, self._clean = scales, np.asarray(correct, float), np.asarray(clean, float)
        self.reason = f"accuracy does not fall to 90 % of its clean value up to noise scale {scales[-1]:g}"

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        rows = np.arange(len(self._clean)) if rows is None else rows
        if len(rows) == 0:
            return math.nan
        return noise_tolerance(self._scales, self._correct[:, rows].mean(axis=1), float(self._clean[rows].mean()))

    def left_out(self, rows: Int[np.ndarray, " m"]) -> float:
        """The jackknife's replicate: how far the curve moves at ε90, over its slope there across several scales.

        Between two neighbouring scales the slope of a measured curve is uncertain, and with it the plain replicates:
        many of their intervals are too short.
        """
        value, curve, slope = self._at_value
        if math.isnan(value):
            return math.nan
        moved = np.interp(math.log(value), np.log(self._scales), self._correct[:, rows].mean(axis=1) - curve)
        moved -= _LEVEL * float(self._clean[rows].mean() - self._clean.mean())
        return value * math.exp(-moved / slope) if slope < 0 else self(rows)

    @cached_property
    def _at_value(self) -> tuple[float, np.ndarray, float]:
        """ε90, the whole curve, and its slope in log noise by least squares over three scales on either side."""
        value, curve = self(), self._correct.mean(axis=1)
        if math.isnan(value) or len(self._scales) < 2:
            return value, curve, 0.0
        place = int(np.searchsorted(self._scales, value))
        near = slice(max(place - _NEAR, 0), place + _NEAR)
        log_scales = np.log(self._scales[near])
        log_scales -= log_scales.mean()
        spread = float(log_scales @ log_scales)
        return value, curve, float(log_scales @ curve[near]) / spread if spread else 0.0
