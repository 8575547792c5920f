"""Agreement beyond chance: Cohen's kappa of two raters, Krippendorff's alpha of any number of them."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.stats.replicates import Replicates, _plain
from mechdecouple.stats.resampling import group_bootstrap_weights

Distance = Literal["nominal", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]


def kappa(
    a: Int[np.ndarray, " n"],
    b: Int[np.ndarray, " m"],
    n_levels: int,
    distance: Distance | str = "nominal",
    weights: Float[np.ndarray, "*b n"] | None = None,
) -> float | Float[np.ndarray, " b"]:
    """Cohen's kappa: 1 - observed over expected disagreement, in [-1, 1]; 1 agrees throughout, 0 as by chance.

    Chance is two raters who give their answers independently, each as often as they do. Disagreement of levels i and j
    counts 1 (nominal), |i - j| or (i - j)² (weighted kappa). NaN where chance allows no disagreement: both always give
    the same level. Sources: Cohen 1960, doi:10.1177/001316446002000104; weighted: Cohen 1968, doi:10.1037/h0026256.

    Args:
        a, b: [n] levels 0 … n_levels - 1.
        weights: how much each item counts, [n], or [b, n] for as many kappas at once.

    Raises:
        InputError: no items, unequal lengths, levels outside the scale, or an unknown distance.

    >>> round(kappa(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2), 3)
    0.5
    """
    a, b = np.asarray(a), np.asarray(b)
    if distance not in get_args(Distance):
        raise InputError(f"distance {distance!r} is unknown: use {', '.join(get_args(Distance))}")
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise InputError(f"ratings {a.shape} and {b.shape} must be two lists of one length, at least 1")
    both = np.concatenate([a, b])
    if both.dtype.kind not in "iu" or both.min() < 0 or both.max() >= n_levels:
        raise InputError(f"ratings must be whole numbers from 0 to {n_levels - 1}, found {both.min()} to {both.max()}")
    weight = np.ones(len(a)) if weights is None else np.asarray(weights, float)
    cell = a.astype(np.int64) * n_levels + b
    single = weight.ndim == 1
    table = np.stack([np.bincount(cell, w, n_levels**2) for w in np.atleast_2d(weight)])
    table = table.reshape(-1, n_levels, n_levels) / np.atleast_2d(weight).sum(axis=1)[:, None, None]
    apart = _distances(n_levels, distance)
    chance = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
    found = _one_less((table * apart).sum(axis=(1, 2)), (chance * apart).sum(axis=(1, 2)))
    return _plain(found[0] if single else found)


def krippendorff_alpha(ratings: Float[np.ndarray, "u r"], level: Level | str = "ordinal") -> float:
    """Krippendorff's alpha: 1 - observed over expected disagreement within units, at most 1; 0 as by chance.

    Any number of raters, and not every one of them rates every unit; a unit with one rating says nothing. NaN where
    fewer than two units or only one value can be compared. With two or more raters and none missing, the nominal alpha
    and Fleiss' kappa obey 1 - α = (1 - κ)(N - 1) / N for N ratings.

    Args:
        ratings: [units, raters] numbers, NaN where a rater gave none.
        level: what disagreement of two values counts: 1 (nominal), the squared share of ratings between them (ordinal)
            or their squared difference (interval).

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".

    Raises:
        InputError: no table [units, raters], infinite ratings, or an unknown level.
    """
    return float(alpha_of(coincidences(ratings), level)[0])


def alpha_replicates(
    ratings: Float[np.ndarray, "u r"],
    groups: Shaped[np.ndarray, " g"] | None = None,
    level: Level | str = "ordinal",
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Replicates:
    """Alpha with the bootstrap over groups of units (each unit by itself where there are none): raters stay as they
    are, so the interval tells of other units, not of other raters. Units with fewer than two ratings are left out."""
    table = coincidences(ratings)
    groups = np.arange(len(table.of_unit)) if groups is None else np.asarray(groups)
    if len(groups) != len(table.of_unit):
        raise InputError(f"{len(groups)} groups for {len(table.of_unit)} units; give one a unit")
    used = table.of_unit.any(axis=(1, 2))
    if not used.any():
        return Replicates(np.nan, np.full(n_resamples, np.nan), "bootstrap", 0)
    kept = Coincidences(table.values, table.of_unit[used])
    weights = group_bootstrap_weights(groups[used], n_resamples, seed)
    n = len(np.unique(groups[used]))
    return Replicates(alpha_of(kept, level)[0], alpha_of(kept, level, weights), "bootstrap", n)


class Coincidences:
    """How often values meet within units: ``values`` [k] in order, ``of_unit`` [u, k, k] ordered pairs of ratings, a
    unit with m ratings counting m times."""

    def __init__(self, values: np.ndarray, of_unit: np.ndarray) -> None:
        self.values, self.of_unit = values, of_unit


def coincidences(ratings: Float[np.ndarray, "u r"]) -> Coincidences:
    """See ``Coincidences``; raises as ``krippendorff_alpha``."""
    ratings = np.asarray(ratings, float)
    if ratings.ndim != 2 or 0 in ratings.shape:
        raise InputError(f"ratings have shape {ratings.shape}; expected a table [units, raters]")
    if np.isinf(ratings).any():
        raise InputError("a rating is infinite; leave it empty (NaN) where a rater gave none")
    given = ~np.isnan(ratings)
    values, codes = np.unique(ratings[given], return_inverse=True)
    counts = np.zeros((len(ratings), max(len(values), 1)))
    np.add.at(counts, (np.nonzero(given)[0], codes), 1.0)
    rated = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    share = np.where(rated > 1, 1 / np.maximum(rated - 1, 1), 0.0)
    return Coincidences(values, pairs * share[:, None, None])


def alpha_of(
    table: Coincidences, level: Level | str, weights: Float[np.ndarray, "b u"] | None = None
) -> Float[np.ndarray, " b"]:
    """Alpha of a table of coincidences, each unit counted as often as each row of ``weights`` says (once without)."""
    if level not in get_args(Level):
        raise InputError(f"level {level!r} is unknown: use {', '.join(get_args(Level))}")
    weights = np.ones((1, len(table.of_unit))) if weights is None else weights
    met = np.einsum("bu,ucd->bcd", weights, table.of_unit)
    n_c = met.sum(axis=2)
    total = n_c.sum(axis=1)
    if level == "ordinal":
        # ratings up to the middle of each level; squared, the ratings that lie between two levels
        middle = np.cumsum(n_c, axis=1) - n_c / 2
        apart = (middle[:, :, None] - middle[:, None, :]) ** 2
    elif level == "interval" and len(table.values):
        apart = (table.values[:, None] - table.values[None, :])[None] ** 2
    else:
        apart = (1.0 - np.eye(n_c.shape[1]))[None]
    observed = (met * apart).sum(axis=(1, 2))
    expected = (n_c[:, :, None] * n_c[:, None, :] * apart).sum(axis=(1, 2))
    return _one_less(observed * np.maximum(total - 1, 0), expected)


def _distances(n_levels: int, distance: str) -> np.ndarray:
    step = np.abs(np.subtract.outer(np.arange(n_levels), np.arange(n_levels))).astype(float)
    return {"nominal": (step > 0).astype(float), "linear": step, "quadratic": step**2}[distance]


def _one_less(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """1 - observed / expected; NaN where nothing is expected."""
    possible = expected > 1e-15
    return np.where(possible, 1 - observed / np.where(possible, expected, 1.0), np.nan)
