"""Many tests at once. (For layer x metric maps use ``scipy.stats.false_discovery_control``, Benjamini-Hochberg.)"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mechdecouple.errors import InputError


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Holm's step-down adjusted p-values, which hold the family-wise error under any dependence.

    NaN p-values (tests that could not be made) stay NaN and do not count towards the family.
    """
    p = np.asarray(p, float)
    out = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    if ((p[made] < 0) | (p[made] > 1)).any():
        raise InputError(f"p-values must lie in [0, 1], found {p[made][(p[made] < 0) | (p[made] > 1)][0]}")
    order = made[np.argsort(p[made], kind="stable")]
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out
