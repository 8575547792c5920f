"""Planted dictionaries: activations that are sparse sums of known directions, of one model or of two on the same items.

The truth against which sparse autoencoders, matchings and crosscoders are held: which features there are, when each
fires, and which of two models holds it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import norm as gaussian

from mechdecouple.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedDictionary:
    """Items of one model.

    Attributes:
        X: ``[n, d]`` activations, codes @ directions + offset + noise; float32.
        codes: ``[n, m]`` strength of each feature on each item, at least 0, mostly 0; float32.
        directions: ``[m, d]`` what a feature of strength 1 adds; all rows have the same length.
    """

    X: Float[np.ndarray, "n d"]
    codes: Float[np.ndarray, "n m"]
    directions: Float[np.ndarray, "m d"]


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedPair:
    """The same items in two models, whose widths may differ.

    Features stand in the order shared, only A, only B; of the shared ones the first ``faint`` are much shorter in one
    model than in the other.

    Attributes:
        a, b: ``[n, d_a]`` and ``[n, d_b]`` activations; float32.
        codes: ``[n, m]`` strength of each feature on each item, the same in both models.
        directions_a, directions_b: ``[m, d]`` what a feature of strength 1 adds to a model; 0 where it lacks it.
        kinds: ``[m]`` of "shared", "only a" and "only b".
        faint: ``[f]`` numbers of the shared features that are shorter in one model.
    """

    a: Float[np.ndarray, "n da"]
    b: Float[np.ndarray, "n db"]
    codes: Float[np.ndarray, "n m"]
    directions_a: Float[np.ndarray, "m da"]
    directions_b: Float[np.ndarray, "m db"]
    kinds: Shaped[np.ndarray, " m"]
    faint: Int[np.ndarray, " f"]

    def of(self, kind: str) -> Int[np.ndarray, " k"]:
        """Numbers of the features of a kind."""
        return np.flatnonzero(self.kinds == kind)


def planted_dictionary(
    n: int = 8192,
    d: int = 32,
    features: int = 64,
    *,
    active: float = 4.0,
    noise: float = 0.02,
    norm: float = 1.0,
    offset: float = 0.0,
    correlation: float = 0.0,
    seed: int = 0,
) -> PlantedDictionary:
    """Items of ``features`` random directions in ``d`` dimensions, of which each item uses ``active`` on average.

    Args:
        active: mean number of features of an item; each fires with the same probability.
        noise: standard deviation in every dimension, as a share of ``norm``.
        norm: length of every direction; offset: length of the mean that all items share, as a share of ``norm``.
        correlation: of the normal variables behind the firing of features of one cluster of four, in [0, 1); at 0
            features fire independently.

    Raises:
        InputError: a number outside its range.

    >>> planted = planted_dictionary(n=100, d=8, features=12)
    >>> planted.X.shape, planted.directions.shape
    ((100, 8), (12, 8))
    """
    _check(n=n, d=d, features=features, active=active, noise=noise, norm=norm, correlation=correlation)
    codes = _codes(n, features, active, correlation, seed)
    directions = norm * _directions(features, d, (seed, 1))
    return PlantedDictionary(_activations(codes, directions, norm, noise, offset, (seed, 2)), codes, directions)


def planted_pair(
    n: int = 8192,
    d_a: int = 32,
    d_b: int = 48,
    *,
    shared: int = 24,
    only_a: int = 8,
    only_b: int = 8,
    faint: int = 0,
    faintness: float = 0.2,
    active: float = 4.0,
    noise: float = 0.02,
    norm_a: float = 1.0,
    norm_b: float = 1.0,
    offset: float = 0.0,
    correlation: float = 0.0,
    seed: int = 0,
) -> PlantedPair:
    """Items that two models hold through dictionaries of their own: random directions in each, and noise of its own.

    Args:
        shared, only_a, only_b: features of each kind.
        faint: how many of the shared are ``faintness`` times as long in one model as in the other: the first half of
            them in A, the others in B.
        active: mean number of features of an item, over all kinds.
        norm_a, norm_b: length of every direction of a model. noise, offset: as a share of it, as in
            ``planted_dictionary``; so is correlation, whose clusters mix the kinds.

    Raises:
        InputError: a number outside its range.

    >>> pair = planted_pair(n=100, shared=6, only_a=2, only_b=1)
    >>> pair.kinds.tolist()[5:]
    ['shared', 'only a', 'only a', 'only b']
    """
    m = shared + only_a + only_b
    _check(n=n, d_a=d_a, d_b=d_b, features=m, active=active, noise=noise, norm_a=norm_a, norm_b=norm_b,
           correlation=correlation)  # fmt: skip
    if min(shared, only_a, only_b) < 0 or not 0 <= faint <= shared or not 0 < faintness <= 1:
        raise InputError(
            f"shared={shared}, only_a={only_a}, only_b={only_b}, faint={faint}, faintness={faintness}: expected counts "
            "of at least 0, at most as many faint as shared, and a faintness above 0 and at most 1"
        )
    codes = _codes(n, m, active, correlation, seed)
    kinds = np.repeat(["shared", "only a", "only b"], [shared, only_a, only_b])
    lengths = np.stack([norm_a * (kinds != "only b"), norm_b * (kinds != "only a")])
    lengths[0, : faint // 2] *= faintness
    lengths[1, faint // 2 : faint] *= faintness
    directions_a = lengths[0, :, None] * _directions(m, d_a, (seed, 1))
    directions_b = lengths[1, :, None] * _directions(m, d_b, (seed, 3))
    a = _activations(codes, directions_a, norm_a, noise, offset, (seed, 2))
    b = _activations(codes, directions_b, norm_b, noise, offset, (seed, 4))
    return PlantedPair(a, b, codes, directions_a, directions_b, kinds, np.arange(faint))


def mean_max_cosine(found: Float[np.ndarray, "k d"], planted: Float[np.ndarray, "m d"]) -> float:
    """MMCS: how well a dictionary recovers a planted one, in [−1, 1], higher is better; 1 when nothing is missing.

    The mean over planted directions of the greatest cosine with a found one. Rows of length 0 are nothing found. Random
    directions score about √(2 ln k / d), so it says something only beside that (2309.08600).

    Raises:
        InputError: widths differ, or no row of one of the tables has a length.
    """
    if found.ndim != 2 or planted.ndim != 2 or found.shape[1] != planted.shape[1]:
        raise InputError(f"directions have shapes {found.shape} and {planted.shape}; expected two tables of one width")
    units = []
    for rows in (found, planted):
        lengths = np.linalg.norm(rows, axis=1)
        if not (lengths > 0).any():
            raise InputError(f"none of {len(rows)} directions has a length above 0; a dead dictionary recovers nothing")
        units.append(rows[lengths > 0] / lengths[lengths > 0, None])
    return float((units[1] @ units[0].T).max(1).mean())


def _codes(n: int, m: int, active: float, correlation: float, seed: int) -> Float[np.ndarray, "n m"]:
    """Strengths uniform in [0.5, 1.5) where a feature fires. A feature fires where a normal variable is high; those of
    one cluster of four have a part in common.
    """
    rng = np.random.default_rng(seed)
    threshold = gaussian.isf(active / m)
    cluster = rng.permutation(m) // 4
    drive = np.sqrt(1 - correlation) * rng.normal(size=(n, m))
    drive += np.sqrt(correlation) * rng.normal(size=(n, -(-m // 4)))[:, cluster]
    return np.where(drive > threshold, 0.5 + rng.random((n, m)), 0).astype(np.float32)


def _directions(m: int, d: int, seed: tuple[int, ...]) -> Float[np.ndarray, "m d"]:
    rows = np.random.default_rng(seed).normal(size=(m, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _activations(
    codes: np.ndarray, directions: np.ndarray, norm: float, noise: float, offset: float, seed: tuple[int, ...]
) -> Float[np.ndarray, "n d"]:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=directions.shape[1])
    centre *= offset / np.linalg.norm(centre)
    grain = noise * rng.normal(size=(len(codes), len(centre)))
    return (codes @ directions + norm * (centre + grain)).astype(np.float32)


def _check(*, features: int, active: float, noise: float, correlation: float, **positive: float) -> None:
    for name, value in {"features": features, **positive}.items():
        if not value > 0:
            raise InputError(f"{name} is {value}: expected more than 0")
    if not 0 < active < features:
        raise InputError(f"active is {active}: expected more than 0 and fewer than the {features} features")
    if not noise >= 0:
        raise InputError(f"noise is {noise}: expected at least 0")
    if not 0 <= correlation < 1:
        raise InputError(f"correlation is {correlation}: expected a number from 0 to below 1")
