"""Which latents of one dictionary together make one of the other: a sum fitted on some blocks, judged on the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechdecouple.sae.matching._codes import pair_sums
from mechdecouple.sae.matching._sums import Moments

FLOOR = 0.2
"""A part correlates at least so much with its whole: of 25 equal parts that never fire together each does."""
INSIDE = 0.7
"""A part fires where its whole does: this share of the way from chance to all of its squared activation lies there."""
MIN_PART = 0.05
"""A part brings at least this share of what the sum explains."""
MAX_PARTS = 16
"""Parts tried for one whole: those that correlate most with it."""

_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Parts:
    """For latents of one dictionary (wholes), those of the other whose weighted sum makes them up.

    Attributes:
        r: correlation of each whole with the sum of its parts, weights fitted without the rows they are judged on;
            0 for latents without two parts or more.
        left_out: the same without each block, ``[wholes, blocks]``.
        whole, part: members one by one, by position among the live latents; wholes ascend.
        weight: of each part, both scaled to norm 1.
    """

    r: Float[np.ndarray, " l"]
    left_out: Float[np.ndarray, "l k"]
    whole: Int[np.ndarray, " s"]
    part: Int[np.ndarray, " s"]
    weight: Float[np.ndarray, " s"]


def inside(wholes: Moments, i: np.ndarray, parts: Moments, j: np.ndarray) -> Float[np.ndarray, " p"]:
    """How far latent j fires only where latent i does: 1 when it does, 0 by chance, and for an i that always fires.

    It is the share of j's squared activation on rows on which i fires, beyond the share of such rows.
    """
    if not len(i):
        return np.zeros(0)
    everywhere = np.zeros_like(wholes.blocks)
    found = pair_sums(wholes.codes.firing, parts.codes.energy, i, j, everywhere, 1)[:, 0]
    fires = np.diff(wholes.codes.columns.indptr)[i] / len(everywhere)
    return (found - fires) / np.where(fires < 1, 1 - fires, np.inf)


def find_parts(
    wholes: Moments, i: np.ndarray, parts: Moments, j: np.ndarray, products: np.ndarray, r: np.ndarray
) -> Parts:
    """Make up latents of one dictionary from those of the other.

    Args:
        i, j: pairs of a whole and a possible part, that correlate by ``r``.
        products: their products by block, as ``Moments.products`` gives.
    """
    n_wholes, n_blocks = wholes.first.shape
    score, left_out = np.zeros(n_wholes), np.zeros((n_wholes, n_blocks))
    members: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    strong = r >= FLOOR
    several = np.bincount(i[strong], minlength=n_wholes)[i] >= 2
    chosen = np.flatnonzero(strong & several & (n_blocks > 1))
    chosen = chosen[inside(wholes, i[chosen], parts, j[chosen]) >= INSIDE]
    latents, table = _slots(i[chosen], r[chosen])
    for start in range(0, len(latents), _AT_ONCE):
        here = latents[start : start + _AT_ONCE]
        slots = table[start : start + _AT_ONCE]
        slots = slots[:, : (slots >= 0).sum(1).max()]
        given = slots >= 0
        pair = chosen[np.where(given, slots, 0)]
        part = j[pair]
        C = np.where(given[..., None], products[pair], 0)
        G = _gram(parts, part, given)
        weight, taken = _nonnegative(C.sum(-1), G.sum(-1), given)
        explained = weight * C.sum(-1)
        taken &= explained >= MIN_PART * explained.sum(1, keepdims=True)
        taken &= taken.sum(1, keepdims=True) >= 2
        weight = _solve(C.sum(-1), G.sum(-1), taken)
        first = np.where(taken[..., None], parts.first[part], 0)
        score[here], left_out[here] = _held_out(wholes, here, first, C, G, taken)
        row, slot = np.nonzero(taken)
        members.append((here[row], part[row, slot], weight[row, slot]))
    return Parts(score, left_out, *(np.concatenate(x) for x in zip(*members, strict=True)))


def _slots(i: np.ndarray, r: np.ndarray) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, "w s"]]:
    """Wholes with two candidates or more, and the numbers of the strongest of each; -1 where there are no more."""
    order = np.lexsort((-r, i))
    latents, first, count = np.unique(i[order], return_index=True, return_counts=True)
    latents, first, count = (x[count >= 2] for x in (latents, first, count))
    at = np.arange(MAX_PARTS)
    table = np.full((len(latents), MAX_PARTS), -1)
    given = at < count[:, None]
    table[given] = order[(first[:, None] + at)[given]]
    return latents, table


def _gram(parts: Moments, part: Int[np.ndarray, "w s"], given: Bool[np.ndarray, "w s"]) -> Float[np.ndarray, "w s s k"]:
    """Products of the candidates of one whole with each other, by block."""
    width, n_blocks = part.shape[1], len(parts.sizes)
    s, t = np.triu_indices(width, 1)
    whole, which = np.nonzero(given[:, s] & given[:, t])
    s, t = s[which], t[which]
    low, high = np.minimum(part[whole, s], part[whole, t]), np.maximum(part[whole, s], part[whole, t])
    keys, back = np.unique(low * parts.codes.m + high, return_inverse=True)
    products = parts.products(keys // parts.codes.m, parts, keys % parts.codes.m)
    G = np.zeros((*part.shape, width, n_blocks))
    G[whole, s, t] = G[whole, t, s] = products[back]
    diagonal = np.arange(width)
    G[:, diagonal, diagonal] = np.where(given[..., None], parts.second[part], 0)
    return G


def _solve(C: np.ndarray, G: np.ndarray, taken: np.ndarray) -> Float[np.ndarray, "... s"]:
    """Least-squares weights of the candidates that are taken; 0 for the others."""
    width = C.shape[-1]
    both = taken[..., :, None] & taken[..., None, :]
    # so little ridge that it only decides between candidates that are copies of each other
    system = np.where(both, G, 0) + np.eye(width) * np.where(taken, 1e-6, 1)[..., None]
    return np.linalg.solve(system, np.where(taken, C, 0)[..., None])[..., 0]


def _nonnegative(C: np.ndarray, G: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, Bool[np.ndarray, "w s"]]:
    """Weights of least squares after candidates of negative weight are dropped, and which candidates stay."""
    taken = given.copy()
    while True:
        weight = _solve(C, G, taken)
        negative = taken & (weight <= 0)
        if not negative.any():
            return weight, taken
        taken &= ~negative


def _held_out(
    wholes: Moments, here: np.ndarray, first: np.ndarray, C: np.ndarray, G: np.ndarray, taken: np.ndarray
) -> tuple[Float[np.ndarray, " w"], Float[np.ndarray, "w k"]]:
    """Correlation of wholes with sums whose weights come from the other blocks; over all rows, and without each block.

    Everything follows from sums by block: ``first`` [w, s, k] of the parts, ``C`` [w, s, k] of parts with wholes and
    ``G`` [w, s, s, k] among parts.
    """
    kept, own = wholes.kept, wholes.first[here]
    others_C = C.sum(-1, keepdims=True) - C - first * own[:, None] / kept
    others_G = G.sum(-1, keepdims=True) - G - first[:, :, None] * first[:, None] / kept
    weight = _solve(np.moveaxis(others_C, -1, 1), np.moveaxis(others_G, -1, 1), taken[:, None])
    total = np.einsum("wks,wsk->wk", weight, first)
    square = np.einsum("wks,wstk,wkt->wk", weight, G, weight)
    shared = np.einsum("wks,wsk->wk", weight, C)
    variance = 1 - wholes.second[here] - own**2 / kept
    n = wholes.sizes.sum()
    whole = _ratio(shared.sum(1), square.sum(1) - total.sum(1) ** 2 / n, np.ones(len(here)))
    without = total.sum(1, keepdims=True) - total
    covariance = shared.sum(1, keepdims=True) - shared + own * without / kept
    left = square.sum(1, keepdims=True) - square - without**2 / kept
    return whole, _ratio(covariance, left, variance)


def _ratio(covariance: np.ndarray, square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    spread = np.maximum(square, 0) * np.maximum(variance, 0)
    return np.clip(np.where(spread > 1e-12, covariance / np.sqrt(spread + (spread <= 1e-12)), 0), -1, 1)
