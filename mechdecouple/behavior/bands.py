"""Reliability curve with bands: where stated probabilities are too high or low, and what chance alone would show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from mechdecouple.behavior.calibration import Outcomes, Probs, _checked
from mechdecouple.behavior.sensitivity import Groups, checked_groups
from mechdecouple.behavior.smooth_ece import CELLS, SMOOTH_ECE, fixed_point, residuals, smooth_ece, smoothed
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate
from mechdecouple.stats import jackknife, jackknife_blocks, permutation_p

_LEAST_WIDTH = 0.005
_ROWS = 64
_NULL_HALVINGS = 12  # widths of the null to 2e-4, far below their spread


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationCurve:
    """A smoothed reliability diagram.

    Attributes:
        smooth_ece: the smooth calibration error with its jackknife interval over groups; ``null`` is its mean for a
            calibrated model that gives the same probabilities to as many independent items, ``p`` the share of such
            models that score as much.
        table: one row a point: ``prob``; ``rate``, what such items turn out to be; ``low``, ``high``, bootstrap band
            over groups; ``calibrated_low``, ``calibrated_high``, where a calibrated model's curve would lie; and
            ``density`` of the probabilities (mean 1). NaN where less than one item is near.
        width: of the kernel: the smooth calibration error, as its source has it, at least .005.
    """

    smooth_ece: Estimate
    table: pd.DataFrame
    width: float

    def frame(self) -> pd.DataFrame:
        """The table of points."""
        return self.table

    def _repr_html_(self) -> str:
        return f"<div>smooth calibration error {self.smooth_ece._repr_html_()}</div>"


def calibration_curve(
    prob: Probs,
    outcome: Outcomes,
    groups: Groups | None = None,
    *,
    n_points: int = 101,
    n_resamples: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> CalibrationCurve:
    """Reliability curve of probabilities [n] for outcomes [n] (0/1), smoothed, with bands.

    The curve is t plus the kernel-weighted mean of outcome less probability near t (so smoothing does not bend a
    calibrated one), kept within [0, 1]; bands hold point by point at ``level``. Models that answer in groups vary more
    than the calibrated bands, which take items for independent.

    Raises:
        InputError: as for `brier`; groups of another length; fewer than 2 points or 20 resamples; a level outside
            (0, 1).
    """
    p, y = _checked(prob, outcome)
    groups = checked_groups(groups, len(p))
    if n_points < 2 or n_resamples < 20 or not 0 < level < 1:
        raise InputError(
            f"{n_points} points, {n_resamples} resamples, level {level}; expected at least 2, 20, and within (0, 1)"
        )
    rng = np.random.default_rng(seed)
    value = smooth_ece(p, y)
    width = max(value, _LEAST_WIDTH)
    points = np.linspace(0, 1, n_points)
    nearest = np.minimum((points * CELLS).astype(np.int64), CELLS - 1)

    def curves(gap: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """[b, points] smoothed outcome less probability, where there are items near."""
        widths = np.full(len(gap), width)
        near = smoothed(mass, widths)[:, nearest]
        # a kernel's height over one cell: the mass of a single item right there
        enough = near * len(p) >= 1 / (width * np.sqrt(2 * np.pi) * CELLS)
        return np.where(enough, smoothed(gap, widths)[:, nearest] / np.where(enough, near, 1.0), np.nan)

    here, mass = residuals(p, y - p)[None], residuals(p, np.ones_like(p))[None]
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max()) + 1
    drawn, calibrated, scores = [], [], []
    for start in range(0, n_resamples, _ROWS):
        rows = range(start, min(start + _ROWS, n_resamples))
        weights = [rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups))[member].astype(float) for _ in rows]
        gaps = np.array([residuals(p, w * (y - p)) for w in weights])
        drawn.append(curves(gaps, np.array([residuals(p, w) for w in weights])))
        luck = np.array([residuals(p, (rng.random(len(p)) < p) - p) for _ in rows])
        calibrated.append(curves(luck, np.repeat(mass, len(luck), axis=0)))
        scores.append(fixed_point(luck, _NULL_HALVINGS))
    null = np.concatenate(scores)
    share = permutation_p(value, null)
    assert isinstance(share, float)
    curve = curves(here, mass)[0]
    low, high = _band(np.concatenate(drawn), level)
    bottom, top = _band(np.concatenate(calibrated), level)
    table = pd.DataFrame({"prob": points})
    named = {"rate": curve, "low": low, "high": high, "calibrated_low": bottom, "calibrated_high": top}
    for name, above in named.items():
        table[name] = np.where(np.isfinite(curve), np.clip(points + above, 0, 1), np.nan)
    table["density"] = smoothed(mass, np.array([width]))[0, nearest] * CELLS
    return CalibrationCurve(smooth_ece=_estimate(p, y, groups, value, null, share), table=table, width=width)


def _estimate(p: np.ndarray, y: np.ndarray, groups: np.ndarray, value: float, null: np.ndarray, share: float):
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        return Estimate(
            value=value, null=float(null.mean()), p=share, n=n_groups, unit="groups", direction=SMOOTH_ECE.direction,
            reason="one group: no interval",
        )  # fmt: skip
    made = jackknife(lambda rows: smooth_ece(p[rows], y[rows]), jackknife_blocks(groups), n_groups)
    return made.estimate(SMOOTH_ECE, null=float(null.mean()), p=share)


def _band(curves: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile band of each point over the draws that have items there; NaN where a twentieth of them lack any."""
    usable = np.isnan(curves).mean(axis=0) <= 0.05
    ends = np.full((2, curves.shape[1]), np.nan)
    tails = [50 * (1 - level), 50 * (1 + level)]
    ends[:, usable] = np.nanpercentile(curves[:, usable], tails, axis=0)
    return ends[0], ends[1]
