"""Functional subspace: the directions that the answers depend on, and activations projected on them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from mechdecouple.errors import InputError
from mechdecouple.structure._neighbours import precision
from mechdecouple.structure._rows import finite


def functional_basis(
    gradients: Float[np.ndarray, "m d"] | Float[np.ndarray, "m r d"],
    share: float = 0.99,
    X: Float[np.ndarray, "n e"] | None = None,
) -> Float64[np.ndarray, "d k"]:
    """Orthonormal basis of the directions through which activations move the answers.

    To first order an item that lies at x from the mean moves an answer by g · x. The basis spans the fewest
    combinations of gradients that hold ``share`` of the variance of these movements over items and gradients. So a
    direction counts by what passes through it: where directions are oblique, what they have in common is written large
    and read small, and gradients alone would drop it. What is left out of a non-linear network are directions that
    together make less than 1 - share of its answers. At share 1 only those of rounding size are left out.

    Args:
        gradients: of each option-centred logit with respect to the activations, of some items; the rows of a linear
            read-out's weights.
        share: in (0, 1].
        X: activations at the hook point. Without them every direction is taken to vary alike, and at the default share
            the common direction of six read-outs is lost from a cosine of .75 on.

    Returns:
        [d, k]; no columns where no gradient reaches the hook point or nothing varies along any.

    Raises:
        InputError: values that are not finite, widths that differ, a share outside (0, 1].

    >>> read = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    >>> functional_basis(read, X=np.random.default_rng(0).normal(size=(100, 3))).shape
    (3, 2)
    """
    if not 0 < share <= 1:
        raise InputError(f"share {share}: expected a number above 0 and at most 1")
    rows = finite(np.asarray(gradients).reshape(-1, np.shape(gradients)[-1]))
    _, size, axes = np.linalg.svd(rows, full_matrices=False)
    read = size > 4 * np.sqrt(max(rows.shape)) * precision(rows) * size[0]
    combinations = size[read, None] * axes[read]
    moved, rounding = combinations.T, 0.0
    if X is not None:
        X = finite(X)
        if X.shape[1] != rows.shape[1]:
            raise InputError(f"gradients have {rows.shape[1]} dimensions, activations {X.shape[1]}: expected equal")
        rounding = precision(X) * float(np.linalg.norm(X)) * float(size[0])
        moved = (X - X.mean(axis=0)) @ moved
    energy, weights = np.linalg.eigh(moved.T @ moved)
    energy, weights = np.maximum(energy[::-1], 0.0), weights[:, ::-1]
    total = energy.sum()
    if total <= rounding**2:
        return np.zeros((rows.shape[1], 0))
    rank = min(int(np.searchsorted(np.cumsum(energy) / total, share - 1e-12)) + 1, len(energy))
    return np.linalg.qr(combinations.T @ weights[:, :rank])[0]


def project(X: Float[np.ndarray, "n d"], basis: Float[np.ndarray, "e k"]) -> Float64[np.ndarray, "n k"]:
    """Coordinates of the rows along the columns of the basis; what lies outside its span does not count any more.

    Raises:
        InputError: values that are not finite, widths that differ, a basis without columns (nothing reads the rows).
    """
    X = finite(X)
    if basis.shape[0] != X.shape[1]:
        raise InputError(f"the basis has {basis.shape[0]} dimensions, activations {X.shape[1]}: expected equal")
    if basis.shape[1] == 0:
        raise InputError("the basis has no columns: no answer depends on these activations")
    return X @ finite(basis)
