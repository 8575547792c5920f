"""TTPD: a truth direction that holds for affirmed and negated statements alike, beside a direction of polarity."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes._lbfgs import minimise, principal_axes
from mechdecouple.probes.probe import LinearProbe, calibration_fold, platt, prepare


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TtpdProbe(LinearProbe):
    """A linear probe on two projections of the activations: general truth, and polarity.

    Attributes:
        general: [d] t_G, along which truth moves whatever the polarity: half the distance from false to true.
        polar: [d] t_P, along which truth moves one way in affirmed and the other in negated statements.
        polarity: [d] weights that tell affirmed from negated.
    """

    general: Float[np.ndarray, " d"]
    polar: Float[np.ndarray, " d"]
    polarity: Float[np.ndarray, " d"]


@dataclasses.dataclass
class TtpdFitter:
    """Fits training of truth and polarity direction (Bürger et al., arXiv 2407.12831).

    Least squares of the activations, centred within each topic, on τ and τ·p (truth and polarity as ±1) gives t_G and
    t_P; a logistic regression the polarity direction; another, on the projections on t_G and on that, the answer. Where
    a probe of affirmed statements reads t_G + t_P and is wrong of negated ones, this one reads t_G alone.

    The paper's regressions are unpenalised and have no end on separable rows; here a weak penalty on standardised
    inputs gives them one.

    Attributes:
        penalty: of both regressions, mean log-loss + penalty/2 · ‖w‖².
        calibration_share: share of the groups kept aside for Platt's calibration.
        seed: decides which groups.

    >>> rng = np.random.default_rng(0)
    >>> y, p = rng.integers(2, size=400), rng.integers(2, size=400)
    >>> X = np.outer(2 * y - 1, [2, 0, 0]) + np.outer((2 * y - 1) * (2 * p - 1), [0, 3, 0]) + rng.normal(size=(400, 3))
    >>> probe = TtpdFitter().fit(X, y, polarity=p)
    >>> bool(probe.direction[0] > .95)
    True
    """

    penalty: float = 1e-4
    calibration_share: float = 0.2
    seed: int = 0

    def fit(
        self,
        X: Float[np.ndarray, "n d"],
        y: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"],
        groups: Shaped[np.ndarray, " k"] | None = None,
        *,
        polarity: Shaped[np.ndarray, " p"],
        topics: Shaped[np.ndarray, " t"] | None = None,
    ) -> TtpdProbe:
        """X [n, d], y [n] of 0 and 1 → frozen probe.

        Args:
            groups: [n] names; None makes every row its own.
            polarity: [n] 1 for affirmed, 0 for negated statements.
            topics: [n] data set of each statement, whose mean is taken out before t_G and t_P are found; None for one.

        Raises:
            InputError: values that are not finite, labels or polarities other than 0 and 1, a combination of the two
                without rows to fit on, too few groups to calibrate, a penalty <= 0.
        """
        if not 0 < self.penalty < np.inf:
            raise InputError(f"penalty is {self.penalty}: expected a number above zero")
        X, y, groups = prepare(X, y, groups)
        p = _polarity(polarity, len(X))
        topic = np.zeros(len(X), dtype=np.int64) if topics is None else _checks.group_codes(topics, len(X))
        aside = calibration_fold(y, groups, self.calibration_share, self.seed)
        rows, truth, affirmed = X[~aside], y[~aside], p[~aside]
        _check_cells(truth, affirmed)
        general, polar = truth_directions(rows, truth, affirmed, topic[~aside])
        polarity_weights, _ = self._regression(rows, affirmed)
        read = np.stack([general, polarity_weights], axis=1)
        mix, bias = self._regression(rows @ read, truth)
        weights = read @ mix
        slope, offset = platt(X[aside] @ weights + bias, y[aside])
        return TtpdProbe(
            weights, bias, slope, offset, self.penalty, general=general, polar=polar, polarity=polarity_weights
        )

    def _regression(self, X: Float[np.ndarray, "n k"], y: Int[np.ndarray, " n"]) -> tuple[np.ndarray, float]:
        centre, scale = X.mean(axis=0), X.std(axis=0)
        shrink = np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), 1 / np.maximum(scale, 1e-300), 0.0)
        Z = torch.from_numpy((X - centre) * shrink)
        theta, _ = minimise(
            Z,
            torch.from_numpy(y.astype(np.float64))[:, None],
            torch.ones(len(y), 1, dtype=torch.float64),
            torch.tensor([self.penalty], dtype=torch.float64),
            principal_axes(Z),
            tolerance=1e-8,
        )
        weights = theta[:-1, 0].numpy() * shrink
        return weights, float(theta[-1, 0]) - float(weights @ centre)


def truth_directions(
    X: Float[np.ndarray, "n d"],
    truth: Int[np.ndarray, " n"],
    affirmed: Int[np.ndarray, " n"],
    topic: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """t_G and t_P: least squares of the rows, centred within their topic, on τ and τ·p.

    Args:
        truth, affirmed: 0 or 1, τ and p being their ±1.
    """
    code = np.unique(topic, return_inverse=True)[1]
    mean = np.zeros((code.max() + 1, X.shape[1]))
    np.add.at(mean, code, X)
    centred = X - (mean / np.bincount(code)[:, None])[code]
    sign = 2.0 * truth - 1
    design = np.stack([sign, sign * (2.0 * affirmed - 1)], axis=1)
    general, polar = np.linalg.solve(design.T @ design, design.T @ centred)
    return general, polar


def _polarity(polarity: np.ndarray, n: int) -> Int[np.ndarray, " n"]:
    polarity = np.asarray(polarity)
    if polarity.shape != (n,):
        raise InputError(f"polarities have shape {polarity.shape}, expected ({n},), one a row of the activations")
    wrong = ~np.isin(polarity, (0, 1))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"polarity {polarity[row]} at row {row}: expected 1 for affirmed, 0 for negated statements")
    return polarity.astype(np.int64)


def _check_cells(truth: Int[np.ndarray, " n"], affirmed: Int[np.ndarray, " n"]) -> None:
    count = np.bincount(2 * affirmed + truth, minlength=4)
    if count.min() == 0:
        cell = int(np.argmin(count))
        name = f"{('false', 'true')[cell % 2]} {('negated', 'affirmed')[cell // 2]}"
        raise InputError(
            f"no {name} statement to fit on: truth and polarity directions need all four kinds; "
            "without both polarities use a mass-mean probe"
        )
