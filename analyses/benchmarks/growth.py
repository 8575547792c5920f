"""Exponents: how fast seconds grow with a size; used by ``scaling.py``."""

from __future__ import annotations

import numpy as np
from scipy import stats as sps


def exponent(x: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Slope of log seconds over log x, with its 95 % interval, and the slope between the last two."""
    X, Y = np.log(x), np.log(seconds)
    fit = sps.linregress(X, Y)
    half = sps.t.ppf(0.975, len(x) - 2) * fit.stderr
    last = (Y[-1] - Y[-2]) / (X[-1] - X[-2])
    return {"exponent": fit.slope, "low": fit.slope - half, "high": fit.slope + half, "at_the_end": last}


def fitted(rows: list[dict], axis: str, middle: dict[str, int]) -> list[dict]:
    """The exponent of each stage along one axis."""
    others = [name for name in middle if name != axis]
    along = [row for row in rows if all(row[name] == middle[name] for name in others)]
    found = []
    for stage in dict.fromkeys(row["stage"] for row in along):
        own = sorted((row for row in along if row["stage"] == stage), key=lambda row: row[axis])
        x, seconds, size = (np.array([row[key] for row in own], float) for key in (axis, "seconds", "bytes"))
        found.append({"stage": stage, "axis": axis, **exponent(x, seconds), "sizes": x.tolist(),
                      "seconds": seconds.tolist(), "bytes": size.tolist()})  # fmt: skip
    return found
