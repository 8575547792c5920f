"""Invariant share: how much of what each unit does a symmetry of the items leaves as it is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Shaped

from mechdecouple.errors import InputError
from mechdecouple.structure._rows import finite

_SILENT = 1e-18


def invariant_share(
    X: Float[np.ndarray, "n d"], partner: Shaped[np.ndarray, " m"], *, centred: bool = False
) -> Float64[np.ndarray, " d"]:
    """Share of each unit's energy that is even under a symmetry which swaps the items in pairs.

    A unit's values x split into an even part (x + x[partner]) / 2 and an odd one; their energies add up. The value is
    the energy of the even part over the whole: 1 for a unit that cannot tell an item from its partner, 0 for one whose
    sign they turn, and one half expected of unrelated values of mean zero. A constant is even: with ``centred`` the
    mean of each unit is taken out first, and what does not vary counts no more. The network's wiring alone can make
    units even, so the value stands beside that of fresh weights in the same wiring (2505.11581 shows the effect as
    pictures of units).

    Args:
        X: [n, d] activations; partner: [n] row of each item's image under the symmetry, its own where it is fixed.

    Returns:
        [d] in [0, 1]; NaN for a unit that is zero on all items (or constant, with ``centred``).

    Raises:
        InputError: activations that are not finite, or partners that are not each other's.

    >>> X = np.array([[1.0, 1.0, 2.0], [1.0, -1.0, 0.0]])
    >>> invariant_share(X, np.array([1, 0]))
    array([1. , 0. , 0.5])
    """
    x, partner = finite(X).astype(np.float64), np.asarray(partner)
    n = len(x)
    if partner.shape != (n,) or partner.dtype.kind not in "iu":
        raise InputError(f"partner has shape {partner.shape} of {partner.dtype}: expected {n} row numbers")
    if n and (partner.min() < 0 or partner.max() >= n):
        raise InputError(f"partner names row {partner.min() if partner.min() < 0 else partner.max()} of {n} rows")
    astray = np.flatnonzero(partner[partner] != np.arange(n))
    if len(astray):
        row = int(astray[0])
        raise InputError(f"the partner of row {row} is {partner[row]}, whose partner is {partner[partner[row]]}")
    size = (x**2).sum(axis=0)
    if centred:
        x = x - x.mean(axis=0)
    whole, even = (x**2).sum(axis=0), (((x + x[partner]) / 2) ** 2).sum(axis=0)
    spoken = whole > _SILENT * size
    return np.divide(even, whole, out=np.full(x.shape[1], np.nan), where=spoken)
