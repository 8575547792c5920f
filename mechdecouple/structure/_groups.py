"""Groups as codes: the independent unit that each row belongs to."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Shaped

from mechdecouple.errors import InputError


def group_codes(groups: Shaped[np.ndarray, " g"] | None, n: int) -> Int[np.ndarray, " n"]:
    """0 … groups - 1 for each of n rows; without groups every row is its own.

    Raises:
        InputError: another number of groups than of rows.
    """
    if groups is None:
        return np.arange(n)
    if np.shape(groups) != (n,):
        raise InputError(f"groups have shape {np.shape(groups)}, expected ({n},), one a row of the activations")
    return np.unique(groups, return_inverse=True)[1]
