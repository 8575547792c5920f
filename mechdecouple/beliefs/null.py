"""The permutation null of a nested probe selection: the whole pipeline, train and test, truth permuted by group."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.linalg import cho_factor, cho_solve

from mechdecouple.beliefs._nested import FOLDS
from mechdecouple.probes import grouped_folds
from mechdecouple.stats import permutation_p

# Ridge penalties in units of the mean eigenvalue of the training covariance; the last, the limit, is mass-mean.
_PENALTIES = (0.01, 0.3, np.inf)
# More rows add no power that the gate needs; the null is drawn on a random part of the groups instead.
_MAX_ROWS = 1500
# Scores closer than this share of their scale are ties: equal rows differ by rounding after a float32 product.
_TIE = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Null:
    """What the selection pipeline scores when the truth says nothing.

    Attributes:
        observed: AUROC of the pipeline on the true labels, selection included.
        draws: the same on permuted labels [r].
        p: add-one p-value of ``observed`` among ``draws``.
        hook_point_p: p-value of each hook point by itself (penalty chosen inside), not corrected for their number.
        method: how it was made, in words.
    """

    observed: float
    draws: Float[np.ndarray, " r"]
    p: float
    hook_point_p: dict[str, float]
    method: str


def permutation_null(
    activations: Mapping[str, Float[np.ndarray, "n d"]],
    truth: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    n_permutations: int = 200,
    seed: int = 0,
) -> Null:
    """Null of nested grouped selection over hook points and probes, with a read-out that is refitted in one product.

    The pipeline is the one of :func:`mechdecouple.beliefs.represent`: outer grouped folds score, inner ones choose hook
    point and penalty. The read-out is a ridge regression (its limit is the mass-mean probe) on columns scaled by their
    standard deviation over all rows, so that one factorisation serves every permutation; true and permuted labels go
    through the very same steps, which makes the p-value exact. AUROCs compare statements within a fold.

    Permutation by group (:func:`permute_by_group`) keeps what rows of one group share. One permutation serves all hook
    points, so the choice among them is part of the null.
    """
    rng = np.random.default_rng(seed)
    keep = _some_groups(groups, rng)
    groups, truth = groups[keep], truth[keep]
    labels = np.stack([truth, *(permute_by_group(truth, groups, rng) for _ in range(n_permutations))]).astype(float)
    fold = grouped_folds(np.zeros(len(groups)), groups, FOLDS, seed)
    parts = [np.flatnonzero(fold == f) for f in range(fold.max() + 1)]
    pairs = np.stack([labels[:, rows].sum(1) * (1 - labels[:, rows]).sum(1) for rows in parts])

    inner, outer = [], []
    for X in activations.values():
        chosen_by, scored_by = _hook_point(_compact(X[keep]), labels, parts)
        inner.append(chosen_by)
        outer.append(scored_by)
    # [hook point, penalty, fold, labelling]
    inner, outer = np.stack(inner), np.stack(outer)
    others = pairs.sum(axis=0) - pairs
    total = pairs.sum(axis=0)
    quality = inner / np.where(others > 0, others, 1.0)

    def selected(quality: np.ndarray, wins: np.ndarray) -> np.ndarray:
        best = quality.argmax(axis=0)
        return np.take_along_axis(wins, best[None], axis=0)[0].sum(axis=0) / total

    flat = (-1, *quality.shape[2:])
    auroc = selected(quality.reshape(flat), outer.reshape(flat))
    each = {name: selected(quality[h], outer[h]) for h, name in enumerate(activations)}
    return Null(
        observed=float(auroc[0]),
        draws=auroc[1:],
        p=float(permutation_p(auroc[0], auroc[1:])),
        hook_point_p={name: float(permutation_p(values[0], values[1:])) for name, values in each.items()},
        method=f"{n_permutations} permutations of the truth by group through the nested selection, "
        f"ridge read-out, {len(truth)} rows",
    )


def permute_by_group(
    truth: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """One draw of truth under 'the activations say nothing', with the dependence inside groups kept.

    Groups of equal size exchange their label vectors. Where groups hold both classes that may change nothing (in a set
    of true–false pairs every vector is the same), so a balanced group is also negated with probability ½, and an
    unbalanced mixed one has its rows shuffled.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, groups[order][1:] != groups[order][:-1]])
    blocks = np.split(order, starts[1:])
    out = np.empty_like(truth)
    for _, same in itertools.groupby(sorted(blocks, key=len), key=len):
        rows = np.stack(list(same))
        values = truth[rows][rng.permutation(len(rows))]
        mixed = values.sum(axis=1)
        balanced = 2 * mixed == values.shape[1]
        flip = balanced & (rng.random(len(rows)) < 0.5)
        values[flip] = 1 - values[flip]
        uneven = ~balanced & (mixed > 0) & (mixed < values.shape[1])
        values[uneven] = rng.permuted(values[uneven], axis=1)
        out[rows] = values
    return out


def _some_groups(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if len(groups) <= _MAX_ROWS:
        return np.arange(len(groups))
    _, code, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(size))
    taken = order[: max(2 * FOLDS, int(np.searchsorted(np.cumsum(size[order]), _MAX_ROWS, "right")))]
    return np.flatnonzero(np.isin(code, taken))


def _compact(X: np.ndarray) -> np.ndarray:
    """Centred columns of unit spread in float32; with more columns than rows, in a basis of the rows' span.

    No label enters, and a ridge solution lies in that span, so the read-out loses nothing.
    """
    X = np.asarray(X, np.float64)
    X = X - X.mean(axis=0)
    spread = X.std(axis=0)
    X = X / np.where(spread > 1e-9 * max(float(spread.max()), 1e-300), spread, np.inf)
    if X.shape[1] <= len(X):
        return X.astype(np.float32)
    energy, left = np.linalg.eigh(X @ X.T)
    # Directions of rounding alone would tell equal rows apart.
    kept = energy > len(X) * np.finfo(float).eps * max(float(energy[-1]), 0.0)
    kept[-1] = True
    return (left[:, kept] * np.sqrt(np.maximum(energy[kept], 0.0))).astype(np.float32)


def _hook_point(Z: np.ndarray, labels: np.ndarray, parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rank wins [penalty, fold, labelling] of the inner folds (fold left out altogether) and of the outer fold itself.

    Leaving folds o and i out serves twice: as inner fold i of outer fold o, and the other way round.
    """
    count = len(parts)
    gram = np.stack([Z[rows].T @ Z[rows] for rows in parts])
    half = (labels - 0.5).astype(np.float32)
    cross = np.stack([Z[rows].T @ half[:, rows].T for rows in parts])
    sums = np.stack([Z[rows].sum(axis=0) for rows in parts])
    balance = np.stack([half[:, rows].sum(axis=1) for rows in parts])
    sizes = np.array([len(rows) for rows in parts])
    inner = np.zeros((len(_PENALTIES), count, len(labels)))
    outer = np.zeros_like(inner)
    for left_out in [*itertools.combinations(range(count), 2), *((f,) for f in range(count))]:
        kept = [f for f in range(count) if f not in left_out]
        n, s = np.float32(sizes[kept].sum()), sums[kept].sum(axis=0)
        G = gram[kept].sum(axis=0) - np.outer(s, s) / n
        C = cross[kept].sum(axis=0) - np.outer(s, balance[kept].sum(axis=0)) / n
        level = np.trace(G) / len(G)
        diagonal = np.diag(G).copy()
        for j, penalty in enumerate(_PENALTIES):
            W = C
            if np.isfinite(penalty) and level > 0:
                np.fill_diagonal(G, diagonal + penalty * level)
                W = cho_solve(cho_factor(G, check_finite=False), C, check_finite=False)
            for f in left_out:
                wins = _wins((Z[parts[f]] @ W).T, labels[:, parts[f]])
                if len(left_out) == 1:
                    outer[j, f] = wins
                else:
                    inner[j, left_out[0] if f == left_out[1] else left_out[1]] += wins
    return inner, outer


def _wins(score: Float[np.ndarray, "r m"], labels: Float[np.ndarray, "r m"]) -> Float[np.ndarray, " r"]:
    """True–false pairs ranked right, ties ½: the Mann–Whitney U of each labelling."""
    order = np.argsort(score, axis=1)
    ranked = np.take_along_axis(score, order, axis=1)
    m = score.shape[1]
    new = np.ones(score.shape, bool)
    scale = np.maximum(score.std(axis=1, keepdims=True), 1e-3 * np.abs(score).max(axis=1, keepdims=True))
    new[:, 1:] = np.diff(ranked, axis=1) > _TIE * scale
    place = np.arange(m)
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    last_of = np.ones(score.shape, bool)
    last_of[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(last_of, place, m)[:, ::-1], axis=1)[:, ::-1]
    true = np.take_along_axis(labels, order, axis=1)
    positives = labels.sum(axis=1)
    return (((first + last) / 2 + 1) * true).sum(axis=1) - positives * (positives + 1) / 2
