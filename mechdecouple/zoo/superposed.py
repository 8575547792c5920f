"""Planted superposition: more sparse features than dimensions, each on a direction of its own."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechdecouple.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Superposed:
    """Items of features in superposition.

    Attributes:
        X: ``[n, d]`` activations, features @ directions; features: ``[n, k]`` of 0 and 1; directions: ``[k, d]`` of
        unit length.
    """

    X: Float[np.ndarray, "n d"]
    features: Float[np.ndarray, "n k"]
    directions: Float[np.ndarray, "k d"]


def directions(
    n_features: int, dims: int, arrangement: Literal["even", "random"] = "even", seed: int = 0
) -> Float[np.ndarray, "k d"]:
    """Unit directions of k features in d dimensions.

    ``even``: a tight frame (waves of d/2 frequencies), which shares the dimensions out equally: every feature gets
    d/k of one. With k = d + 1 the cosines are all -1/d (equiangular). ``random``: uniform on the sphere.

    >>> W = directions(12, 4)
    >>> bool(np.allclose(W.T @ W, 3 * np.eye(4)))
    True
    """
    if arrangement == "random":
        W = np.random.default_rng(seed).normal(size=(n_features, dims))
        return W / np.linalg.norm(W, axis=1, keepdims=True)
    if dims % 2 or not 2 <= dims < n_features:
        raise InputError(f"{n_features} features in {dims} dimensions: an even arrangement needs an even d below k")
    angle = 2 * np.pi * np.outer(np.arange(n_features), np.arange(1, dims // 2 + 1)) / n_features
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(2 / dims)


def superpose(
    n_features: int,
    dims: int,
    n: int = 8192,
    seed: int = 0,
    *,
    active: float = 0.05,
    arrangement: Literal["even", "random"] = "even",
) -> Superposed:
    """Items in which each feature is on with probability ``active``, independently of the others.

    >>> superpose(12, 4, n=5).X.shape
    (5, 4)
    """
    if not 0 < active < 1:
        raise InputError(f"active is {active}: expected a probability between 0 and 1")
    W = directions(n_features, dims, arrangement, seed)
    features = (np.random.default_rng((seed, 1)).random((n, n_features)) < active).astype(float)
    return Superposed(features @ W, features, W)
