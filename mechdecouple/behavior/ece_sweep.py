"""ECE-sweep: calibration error over as many equal-mass bins as keep the reliability curve rising. Arrays only."""

from __future__ import annotations

import numpy as np

from mechdecouple.behavior.calibration import Outcomes, Probs, _checked
from mechdecouple.results import Metric

ECE_SWEEP = Metric(
    name="ece_sweep", family="behavior", title="calibration error (monotonic sweep)", range="[0, 1]",
    direction="lower", measures="gap of probability and rate over the most equal-mass bins whose rates still rise",
    null="above 0 at finite n, less so than the plug-in error",
    assumes="the true rate rises with the probability", invariances="any change inside that keeps the answers",
    source="arXiv:2012.08668",
)  # fmt: skip


def ece_sweep(prob: Probs, outcome: Outcomes) -> float:
    """Expected calibration error over equal-mass bins, in [0, 1]; lower is better.

    The number of bins grows from 1 until the rates of the bins first fail to rise with their probabilities; the last
    number before that is used. Items of equal probability share their outcomes, so their order in the table does not
    matter, and there are at most as many bins as different probabilities.

    Raises:
        InputError: as for `brier`.

    >>> ece_sweep(np.array([0.2, 0.2, 0.8, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])).__round__(3)
    0.2
    """
    p, y = _checked(prob, outcome)
    gaps, _ = sweep(p, y)
    return gaps


def sweep(p: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """The error and the number of bins it was taken over."""
    n = len(p)
    order = np.argsort(p, kind="stable")
    values, where, count = np.unique(p[order], return_inverse=True, return_counts=True)
    rate = (np.bincount(where, y[order]) / count)[where]
    total_p, total_y = (np.concatenate([[0.0], np.cumsum(x)]) for x in (p[order], rate))
    error, n_bins = abs(float(p.mean() - y.mean())), 1
    for bins in range(2, len(values) + 1):
        edges = np.arange(bins + 1) * n // bins
        sums = np.diff(total_y[edges])
        if (np.diff(sums / np.diff(edges)) < -1e-12).any():
            break
        error, n_bins = float(np.abs(np.diff(total_p[edges]) - sums).sum() / n), bins
    return error, n_bins
