"""What every fitter asks of its arrays: finite activations, two classes, groups that can be split."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, Int, Shaped

from mechdecouple.errors import InputError


def activations(X: np.ndarray) -> Float64[np.ndarray, "n d"]:
    """X as a finite float64 matrix.

    Raises:
        InputError: X is empty or holds a NaN or an infinity (the first such row and column are named).
    """
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"activations have shape {X.shape}, expected [rows, dimensions] with at least one of each")
    finite = np.isfinite(X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InputError(
            f"activation {X[row, column]} at row {row}, dimension {column}: expected finite values; drop such rows"
        )
    return X


def labels(y: np.ndarray, n: int) -> Int[np.ndarray, " n"]:
    """y as 0/1 integers with both classes present.

    Raises:
        InputError: wrong length, a value other than 0 and 1, or a single class.
    """
    y = np.asarray(y)
    if y.shape != (n,):
        raise InputError(f"labels have shape {y.shape}, expected ({n},), one a row of the activations")
    valid = np.isin(y, (0, 1))
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        raise InputError(f"label {y[row]!r} at row {row}: expected 0 or 1; drop rows whose label is unknown")
    y = y.astype(np.int64)
    if y.min() == y.max():
        raise InputError(f"every label is {y[0]}: a probe needs rows of both classes")
    return y


def group_codes(groups: Shaped[np.ndarray, " *m"] | None, n: int) -> Int[np.ndarray, " n"]:
    """Integer code of each row's group (sorted order of the group names); without groups every row is its own."""
    if groups is None:
        return np.arange(n)
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise InputError(f"groups have shape {groups.shape}, expected ({n},), one a row of the activations")
    return np.unique(groups, return_inverse=True)[1]


def concept_labels(y: np.ndarray, n: int) -> Float64[np.ndarray, "n k"]:
    """y as [n, k] of 0, 1 and NaN (unknown).

    Raises:
        InputError: wrong length, or a value other than those.
    """
    y = np.asarray(y)
    if y.ndim not in (1, 2) or len(y) != n or 0 in y.shape:
        raise InputError(f"labels have shape {y.shape}, expected ({n},) or ({n}, concepts)")
    y = y.astype(np.float64).reshape(n, -1)
    wrong = ~(np.isnan(y) | (y == 0) | (y == 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(f"label {y[row, column]:g} at row {row}, concept {column}: expected 0, 1 or NaN for unknown")
    return y


def device(name: str) -> torch.device:
    """``"auto"`` as the GPU where there is one; otherwise the named device.

    Raises:
        InputError: it does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return chosen
