"""AUROC of many sparse latents at once, over strata of soft positives and negatives, with its jackknife."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csc_matrix

from mechdecouple.stats import Replicates


@dataclasses.dataclass(frozen=True, eq=False)
class Strata:
    """Pairs to be ranked: within each of s strata every positive is held against every negative.

    Attributes:
        stratum: [n, e] strata that each row takes part in.
        positive, negative: [n, e] how much it counts there as one and as the other (a probability, often 0).
        weight: [s] of each stratum in the mean, adding to 1.
        items: rows that speak: the smaller of positives and negatives, added up over strata.
    """

    stratum: Int[np.ndarray, "n e"]
    positive: Float[np.ndarray, "n e"]
    negative: Float[np.ndarray, "n e"]
    weight: Float[np.ndarray, " s"]
    items: float


def strata(
    positive: Float[np.ndarray, "n 2"],
    negative: Float[np.ndarray, "n 2"],
    condition: Int[np.ndarray, " n"],
    context: Int[np.ndarray, " n"],
    across: bool = False,
) -> Strata:
    """Strata of two questions, within each condition and context, or across each condition and the first.

    Across conditions, whatever differs between them would rank the pairs. So pairs with the positive in one condition
    weigh as much as pairs with it in the other: what a condition alone adds to a latent comes out at one half.

    Args:
        positive, negative: how much each row counts as one and the other in each question.
        condition, context: codes from 0; pairs never join two contexts.
    """
    n_conditions, n_contexts = int(condition.max()) + 1, int(context.max()) + 1
    if across:
        sides = [(condition == 0, condition == c) for c in range(1, n_conditions)]
        ways = [way for pair in sides for way in (pair, pair[::-1])]
        parts = [(positive * one[:, None], negative * other[:, None]) for one, other in ways]
        at = np.zeros(len(condition), np.int64)
    else:  # a row has one condition: all of them fit into one column a question
        parts, at = [(positive, negative)], condition
    first = (np.arange(len(parts))[:, None] * n_conditions + at) * n_contexts + context  # [parts, n]
    stratum = (
        np.concatenate([2 * cell[:, None] + np.arange(2) for cell in first], axis=1) if parts else _none(condition)
    )
    one, other = (np.concatenate([p[i] for p in parts], axis=1) if parts else _none(condition) * 1.0 for i in (0, 1))
    size = 2 * max(1, len(parts)) * n_conditions * n_contexts
    masses = [np.bincount(stratum.ravel(), x.ravel(), minlength=size) for x in (one, other)]
    weight = masses[0] * masses[1]
    if across and parts:
        by_way = weight.reshape(len(parts) // 2, 2, -1)
        total = by_way.sum(axis=2, keepdims=True)
        weight = (by_way * total.min(axis=1, keepdims=True) / np.where(total > 0, total, 1.0)).ravel()
    items = float(np.minimum(*masses)[weight > 0].sum())
    return Strata(stratum, one, other, weight / max(weight.sum(), 1e-300), items)


def stratified_auroc(latents: csc_matrix, given: Strata, blocks: Int[np.ndarray, " n"], n_groups: int) -> Replicates:
    """AUROC [m] of each latent, the mean over strata, ties one half; in [0, 1], .5 without relation.

    Only rows on which a latent fires are sorted; all others are one tie at 0.

    Args:
        latents: [n, m]; blocks: jackknife block of each row, 0 ... b-1.
    """
    n, e = given.stratum.shape
    size = len(given.weight)
    kept = np.concatenate([np.ones((1, n)), np.arange(int(blocks.max()) + 1)[:, None] != blocks]).T  # [n, 1 + b]
    positive, negative = (x[:, :, None] * kept[:, None, :] for x in (given.positive, given.negative))  # [n, e, 1 + b]
    totals = [_by_stratum(given.stratum.ravel(), x.reshape(n * e, -1), size) for x in (positive, negative)]
    pairs = totals[0] * totals[1]
    weight = given.weight[:, None] * (pairs > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_pair = weight / weight.sum(axis=0) / np.where(pairs > 0, pairs, 1.0)
    before = np.cumsum(totals[1], axis=0) - totals[1]
    out = np.empty((len(latents.indptr) - 1, kept.shape[1]))
    for j, bounds in enumerate(pairwise(latents.indptr)):
        part = slice(*bounds)
        rows, values = latents.indices[part], np.repeat(latents.data[part], e)
        stratum = given.stratum[rows].ravel()
        one, other = (x[rows].reshape(len(values), kept.shape[1]) for x in (positive, negative))
        # Rows on which it does not fire: one value 0 for each stratum.
        rest = [whole - _by_stratum(stratum, x, size) for whole, x in zip(totals, (one, other), strict=True)]
        stratum, values = np.append(stratum, np.arange(size)), np.append(values, np.zeros(size))
        order = np.lexsort((values, stratum))
        stratum, values = stratum[order], values[order]
        new = np.r_[True, (stratum[1:] != stratum[:-1]) | (values[1:] != values[:-1])]
        starts = np.flatnonzero(new)
        one, other = (
            np.add.reduceat(np.concatenate([x, r])[order], starts) for x, r in zip((one, other), rest, strict=True)
        )
        of = stratum[starts]
        below = np.cumsum(other, axis=0) - other / 2 - before[of]
        out[j] = (one * below * per_pair[of]).sum(axis=0)
    return Replicates(out[:, 0], out[:, 1:].T, "jackknife", n_groups)


def oriented(found: Replicates, turned: Bool[np.ndarray, " m"]) -> Replicates:
    """The AUROC of the latents with the sign of some turned round: 1 - AUROC there."""
    sign = np.where(turned, -1.0, 1.0)
    return dataclasses.replace(found, value=turned + sign * found.value, replicates=turned + sign * found.replicates)


def _by_stratum(stratum: np.ndarray, values: Float[np.ndarray, "x r"], size: int) -> Float[np.ndarray, "s r"]:
    out = np.zeros((size, values.shape[1]))
    np.add.at(out, stratum, values)
    return out


def _none(condition: np.ndarray) -> np.ndarray:
    return np.zeros((len(condition), 0), np.int64)
