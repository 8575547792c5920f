"""Subspaces: directions of an activation in which a concept's value stands, found from activations alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError

_MOST = 0.95
"""Share of the repeatable scatter between levels that the chosen number of directions holds."""
_TINY = 1e-9


def level_means(
    X: Float[np.ndarray, "n d"],
    code: Int[np.ndarray, " n"],
    others: Int[np.ndarray, "n h"] | None = None,
) -> Float[np.ndarray, "l d"]:
    """Mean of each level of a concept, the other concepts standing still, times the root of its share of the rows.

    The means are coefficients of a least-squares fit on all levels of the concept and of the others, which add up;
    they are centred, so that their Gram matrix is the scatter between levels.

    Args:
        code: level of each row, from 0; others: levels of what else is declared.

    >>> level_means(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([0, 1])).round(3).tolist()
    [[-0.707, 0.0], [0.707, 0.0]]
    """
    X = _finite(X)
    n_levels = int(code.max()) + 1
    own = np.eye(n_levels)[code]
    columns = [own]
    for other in np.zeros((len(code), 0), int).T if others is None else others.T:
        levels = np.eye(int(other.max()) + 1)[other]
        columns.append(levels - levels.mean(axis=0))
    # Of least norm: a level without rows stays at 0, and what cannot be told apart is shared.
    fitted = np.linalg.lstsq(np.concatenate(columns, axis=1), X, rcond=1e-8)[0][:n_levels]
    share = own.mean(axis=0)
    return (fitted - share @ fitted) * np.sqrt(share)[:, None]


def between_levels(
    X: Float[np.ndarray, "n d"],
    code: Int[np.ndarray, " n"],
    others: Int[np.ndarray, "n h"] | None = None,
    k: int | None = None,
) -> Float[np.ndarray, "k d"]:
    """Orthonormal directions of the scatter between levels, the largest first: of two levels, their difference.

    Args:
        k: at most so many; default: all.

    Raises:
        InputError: values that are not finite, fewer than two levels, or all levels alike.
    """
    if len(np.unique(code)) < 2:
        raise InputError("the rows hold one level of the concept: no difference can be taken; give rows of two or more")
    return _leading(level_means(X, code, others), k)


def of_differences(differences: Float[np.ndarray, "p d"], k: int | None = None) -> Float[np.ndarray, "k d"]:
    """Orthonormal principal directions of the differences of matched pairs; which of a pair comes first is the same.

    Raises:
        InputError: no differences, or all of them 0 or not finite.
    """
    if not len(differences):
        raise InputError("no matched pairs: items that agree in all concepts but one are needed")
    return _leading(_finite(differences), k)


def rank(
    X: Float[np.ndarray, "n d"],
    code: Int[np.ndarray, " n"],
    others: Int[np.ndarray, "n h"],
    half: Int[np.ndarray, " n"],
) -> tuple[int, float]:
    """How many directions hold 95 % of the scatter between levels that repeats in other groups, and how much repeats.

    Directions come from one half, their scatter is the product of both halves' level means: noise adds nothing.

    Args:
        half: 0 or 1, whole groups together.

    Returns:
        the number, from 1 to levels - 1; and repeatable scatter as a share of the variance (it can stray below 0).
    """
    n_levels = int(code.max()) + 1
    means = [_padded(level_means(X[half == h], code[half == h], others[half == h]), n_levels) for h in (0, 1)]
    scatter = []
    for one, other in (means, means[::-1]):
        directions = np.linalg.svd(one, full_matrices=False)[2][: max(n_levels - 1, 1)]
        scatter.append(((one @ directions.T) * (other @ directions.T)).sum(axis=0))
    total = np.cumsum(np.mean(scatter, axis=0))
    variance = float(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    k = int(np.argmax(total >= _MOST * total.max())) + 1 if total.max() > 0 else 1
    return k, float(total[-1]) / variance if variance > 0 else 0.0


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


def _padded(means: np.ndarray, n_levels: int) -> np.ndarray:
    return np.pad(means, ((0, n_levels - len(means)), (0, 0)))


def _finite(X: np.ndarray) -> np.ndarray:
    X = np.asarray(X, np.float64)
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise InputError(f"activation {X[row, column]} at row {row}, dimension {column}: expected finite values")
    return X
