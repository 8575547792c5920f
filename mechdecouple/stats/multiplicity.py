"""Many tests at once: Holm over a few declared metrics, Benjamini-Hochberg over maps of layers and metrics."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control

from mechdecouple.errors import InputError


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Holm's step-down adjusted p-values, which hold the family-wise error under any dependence.

    NaN p-values (tests that could not be made) stay NaN and do not count towards the family.
    """
    p, made = _made(p)
    out = np.full(p.shape, np.nan)
    order = made[np.argsort(p[made], kind="stable")]
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def benjamini_hochberg(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """q-values: the smallest false-discovery rate at which each test of a map stands out.

    Valid for independent and for positively dependent tests, as neighbouring layers are. NaN stays NaN and does not
    count.
    """
    p, made = _made(p)
    out = np.full(p.shape, np.nan)
    if len(made):
        out[made] = false_discovery_control(p[made])
    return out


def _made(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The p-values, checked, and the indices of those that are defined."""
    p = np.asarray(p, float)
    made = np.flatnonzero(~np.isnan(p))
    if ((p[made] < 0) | (p[made] > 1)).any():
        raise InputError(f"p-values must lie in [0, 1], found {p[made][(p[made] < 0) | (p[made] > 1)][0]}")
    return p, made
