"""Subspaces: directions of an activation in which a concept's value stands, found from activations alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError

_MOST = 0.99
"""Share of the repeatable scatter between levels that the chosen number of directions holds."""
_TINY, _LEAST = 1e-9, 1e-3


def level_operator(
    code: Int[np.ndarray, " n"], others: Int[np.ndarray, "n h"] | None = None, n_levels: int | None = None
) -> Float[np.ndarray, "l n"]:
    """What makes activations [n, d] into the means of a concept's levels, the other concepts standing still.

    The means are coefficients of a least-squares fit on all levels of the concept and of the others, which add up;
    they are centred and scaled by the root of the level's share of the rows, so that their Gram matrix is the scatter
    between levels. A level without rows has mean 0.

    Args:
        code: level of each row, from 0; others: levels of what else is declared; n_levels: default max(code) + 1.

    >>> (level_operator(np.array([0, 1])) @ np.array([[1.0, 5.0], [3.0, 5.0]])).round(3).tolist()
    [[-0.707, 0.0], [0.707, 0.0]]
    """
    own = np.eye(int(code.max()) + 1 if n_levels is None else n_levels)[code]
    columns = [own]
    for other in np.zeros((0, len(code)), int) if others is None else others.T:
        levels = np.eye(int(other.max()) + 1)[other]
        columns.append(levels - levels.mean(axis=0))
    # Of least norm: what cannot be told apart is shared.
    fitted = np.linalg.pinv(np.concatenate(columns, axis=1), rcond=1e-8)[: own.shape[1]]
    share = own.mean(axis=0)
    return (fitted - share @ fitted) * np.sqrt(share)[:, None]


def between_levels(means: Float[np.ndarray, "l d"], k: int | None = None) -> Float[np.ndarray, "k d"]:
    """Orthonormal directions of the scatter between levels, the largest first: of two levels, their difference.

    Args:
        means: of `level_operator`; k: at most so many; default: all.

    Raises:
        InputError: values that are not finite, or all levels alike.
    """
    return _leading(_finite(means), k)


def of_differences(differences: Float[np.ndarray, "p d"], k: int | None = None) -> Float[np.ndarray, "k d"]:
    """Orthonormal principal directions of the differences of matched pairs; which of a pair comes first is the same.

    Raises:
        InputError: no differences, or all of them 0 or not finite.
    """
    if not len(differences):
        raise InputError("no matched pairs: items that agree in all concepts but one are needed")
    return _leading(_finite(differences), k)


def span_of_differences(differences: Float[np.ndarray, "p d"], most: int) -> Float[np.ndarray, "r d"]:
    """Orthogonal directions of `of_differences`, up to ``most``, each as long as pairs differ along it; longest 1.

    What is shorter than a thousandth is rounding and left out.
    """
    directions = of_differences(differences, most)
    lengths = np.sqrt(((differences @ directions.T) ** 2).sum(axis=0))
    kept = lengths > _LEAST * lengths[0]
    return (lengths[:, None] / lengths[0] * directions)[kept]


def rank(one: Float[np.ndarray, "l d"], other: Float[np.ndarray, "l d"]) -> tuple[int, float]:
    """How many directions hold 99 % of the scatter between levels that repeats in other groups, and how much repeats.

    Directions come from the level means of one half of the groups, their scatter is the product of both halves' means:
    noise adds nothing.

    Returns:
        the number, from 1 to levels - 1; and the repeatable scatter, a variance that can stray below 0.
    """
    scatter = []
    for first, second in ((one, other), (other, one)):
        directions = np.linalg.svd(_finite(first), full_matrices=False)[2][: max(len(one) - 1, 1)]
        scatter.append(((first @ directions.T) * (second @ directions.T)).sum(axis=0))
    total = np.cumsum(np.mean(scatter, axis=0))
    k = int(np.argmax(total >= _MOST * total.max())) + 1 if total.max() > 0 else 1
    return k, float(total[-1])


def random_frames(n: int, k: int, d: int, rng: np.random.Generator) -> Float[np.ndarray, "n k d"]:
    """``n`` subspaces of ``k`` dimensions, each equally likely, as orthonormal rows."""
    return np.linalg.qr(rng.normal(size=(n, d, min(k, d))))[0].transpose(0, 2, 1)


def read_level(
    X: Float[np.ndarray, "n d"],
    code: Int[np.ndarray, " n"],
    frame: Float[np.ndarray, "k d"],
    test: Float[np.ndarray, "m d"],
) -> Int[np.ndarray, " m"]:
    """The level whose mean in the subspace lies nearest to each test row."""
    z, levels = X @ frame.T, np.unique(code)
    means = np.stack([z[code == level].mean(axis=0) for level in levels])
    distance = ((test @ frame.T)[:, None] - means) ** 2
    return levels[distance.sum(axis=2).argmin(axis=1)]


def _leading(rows: np.ndarray, k: int | None) -> np.ndarray:
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    if not singular.size or singular[0] <= _TINY * max(1.0, float(np.abs(rows).max())):
        raise InputError("the activations do not differ between levels: nothing moves with the concept here")
    return directions[singular > _TINY * singular[0]][:k]


def _finite(X: np.ndarray) -> np.ndarray:
    X = np.asarray(X, np.float64)
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise InputError(f"activation {X[row, column]} at row {row}, dimension {column}: expected finite values")
    return X
