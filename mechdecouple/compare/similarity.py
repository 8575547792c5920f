"""Similarity of the pair: every hook point of A with every one of B, of all that is there and of what is used."""

from __future__ import annotations

import dataclasses

import numpy as np

from mechdecouple import structure
from mechdecouple.compare.side import Pair, Side
from mechdecouple.compare.verdict import Verdict
from mechdecouple.results import Measurement
from mechdecouple.structure import CKA, SimilarityMatrix

MOST_ROWS = 4096
"""Rows on which neighbours, rotations and canonical correlations are sought: their cost grows with the square of the
rows, or with the cube of the widths for each block left out."""


def similarities(pair: Pair) -> list[Measurement]:
    """Debiased CKA of the activations and of the part of them that the answers depend on, mutual nearest neighbours,
    canonical correlation and Procrustes distance, each with its null."""
    a, b = (list(dict.fromkeys(side.points)) for side in (pair.a, pair.b))
    used_a, used_b = ([p for p in points if p in side.used] for points, side in ((a, pair.a), (b, pair.b)))
    config, groups = pair.a.config, pair.a.labels.groups
    facts = {"n_blocks": config.blocks, "seed": config.seed, "device": config.device}
    shuffles = {"n_permutations": config.permutations}
    some = _some(groups, config.seed)

    def rows(matrix: SimilarityMatrix, points: list[str], points_b: list[str]) -> list[Measurement]:
        return matrix.measurements(*pair.names, points, points_b, pair.a.acts.position)

    def layers(side: Side, points: list[str]) -> list[np.ndarray]:
        return [side.structural[p][some] for p in points]

    found = rows(
        structure.cka_matrix(
            [pair.a.structural[p] for p in a], [pair.b.structural[p] for p in b], groups, **shuffles, **facts
        ),
        a,
        b,
    )
    if used_a and used_b:
        matrix = structure.cka_matrix(
            [pair.a.used[p] for p in used_a], [pair.b.used[p] for p in used_b], groups, **shuffles, **facts
        )
        found += rows(dataclasses.replace(matrix, metric=CKA.functional()), used_a, used_b)
    left, right, own = layers(pair.a, a), layers(pair.b, b), groups[some]
    found += rows(structure.mutual_knn_matrix(left, right, own, **shuffles, **facts), a, b)
    found += rows(structure.cca_matrix(left, right, own, **facts), a, b)
    return found + rows(
        structure.procrustes_matrix(left, right, own, n_permutations=min(config.permutations, 200), **facts), a, b
    )


def _some(groups: np.ndarray, seed: int) -> np.ndarray:
    """Rows of whole groups, at most ``MOST_ROWS`` of them where groups are no larger than that."""
    if len(groups) <= MOST_ROWS:
        return np.arange(len(groups))
    names, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    taken = order[np.cumsum(size[order]) <= MOST_ROWS]
    return np.flatnonzero(np.isin(group, taken if len(taken) else order[:1]))


def similarity_verdict(pair: Pair, rows: list[Measurement]) -> Verdict:
    """How alike the two represent the items, in words. CKA has no margin, so it describes and never flags."""
    rows = [row for row in rows if row.metric == CKA.name]
    at = {(row.hook_point, row.hook_point_b): row.estimate for row in rows}
    found = [(site, at[site.a, site.b]) for site in pair.sites]
    found = [(site, e) for site, e in found if np.isfinite(e.value)]
    if not found:
        return Verdict(
            "similarity", "pair", None, "Similarity is not compared: activations are constant at every hook point."
        )
    values = [e.value for _, e in found]
    site, low = min(found, key=lambda pair_: pair_[1].value)
    # At zero the interval is degenerate: there p says whether anything is shared.
    lowest = f"{low.value:.3f}, p = {low.p:.2g}" if low.p > 0.05 else str(low)
    unrelated = sum(e.p > 0.05 for _, e in found)
    caution = f"At {unrelated} of {len(found)} it is not told apart from unrelated representations (by p). "
    sentence = (
        f"At paired hook points their debiased linear CKA averages {np.mean(values):.3f} and is lowest at {site.a} "
        f"({lowest}). {caution if unrelated else ''}CKA is blind to what the answer uses: high similarity is no proof "
        "of one organisation, and low similarity no proof of two."
    )
    return Verdict("similarity", "pair", False, sentence, tuple(rows))
