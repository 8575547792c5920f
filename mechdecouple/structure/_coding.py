"""Coding vectors by context: how the activations move with one concept while the other concepts stand still."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mechdecouple.structure._rows import Rows


class CodingVectors:
    """Coefficients of the regression of X on all concepts together, for any context, folds and subset of the rows.

    For a concept alone, or for balanced labels, they are the differences of class means. Otherwise they do not count
    what the labels of two concepts share by accident, which has opposite signs in the two parts of a balanced design.
    """

    def __init__(self, rows: Rows, fold: Int[np.ndarray, " n"], n_folds: int) -> None:
        known = ~np.isnan(rows.y)
        # A row whose label of another concept is unknown says nothing about that one: it stands midway.
        self.design = np.column_stack([np.ones(len(rows.y)), np.where(known, rows.y - 0.5, 0.0)])
        self._masked = self.design[:, None, :] * known[:, :, None]
        self._X = rows.X
        self._cells = [
            [np.flatnonzero((rows.context == c) & (fold == f)) for f in range(n_folds)] for c in range(len(rows.names))
        ]

    def of(self, kept: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Gram matrices [contexts, folds, k, p, p] of the design and products [contexts, folds, k, p, r] with X."""
        shape = (len(self._cells), len(self._cells[0]), *self._masked.shape[1:])
        gram, product = np.zeros((*shape, shape[-1])), np.zeros((*shape, self._X.shape[1]))
        for c, cells in enumerate(self._cells):
            for f, cell in enumerate(cells):
                here = cell[kept[cell]]
                masked = self._masked[here]
                flat = masked.reshape(len(here), shape[2] * shape[3]).T
                product[c, f] = (flat @ self._X[here]).reshape(product.shape[2:])
                gram[c, f] = (flat @ self.design[here]).reshape(gram.shape[2:])
        return gram, product


def coding_vectors(
    gram: Float[np.ndarray, "contexts folds k p p"], product: Float[np.ndarray, "contexts folds k p r"]
) -> Float[np.ndarray, "contexts k r"]:
    """Coding vector of each concept in each context over the given folds; NaN where a class is missing."""
    gram, product = gram.sum(axis=1), product.sum(axis=1)
    own = np.arange(gram.shape[1])
    row = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)[:, own, own + 1]
    vectors = np.einsum("ckp,ckpr->ckr", row, product)
    excess = np.abs(gram[:, own, 0, own + 1])
    both = np.asarray(excess < gram[:, own, 0, 0] / 2 - 1e-9)[..., None]
    return np.where(both, vectors, np.nan)


def coding_vectors_over(
    gram: Float[np.ndarray, "contexts folds k p p"],
    product: Float[np.ndarray, "contexts folds k p r"],
    folds: Sequence[Int[np.ndarray, " _"]],
) -> Float[np.ndarray, "sets contexts k r"]:
    """Coding vectors over each of several sets of folds, solved together."""
    member = np.array([np.isin(np.arange(gram.shape[1]), chosen) for chosen in folds], dtype=float)
    grams, products = (np.tensordot(member, sums, axes=(1, 1)) for sums in (gram, product))
    flat = (len(folds) * len(gram), 1)
    vectors = coding_vectors(grams.reshape(*flat, *gram.shape[2:]), products.reshape(*flat, *product.shape[2:]))
    return vectors.reshape(len(folds), len(gram), *vectors.shape[1:])


def pooled_difference(
    gram: Float[np.ndarray, "contexts folds k p p"], product: Float[np.ndarray, "contexts folds k p r"]
) -> Float[np.ndarray, "k r"]:
    """Plain difference of class means over all contexts and the given folds; zeros where a class is missing."""
    gram, product = gram.sum(axis=(0, 1)), product.sum(axis=(0, 1))
    own = np.arange(len(gram))
    half, excess = gram[own, 0, 0] / 2, gram[own, 0, own + 1]
    count = np.maximum(np.stack([half - excess, half + excess]), 1e-300)
    total = np.stack([product[own, 0] / 2 - product[own, own + 1], product[own, 0] / 2 + product[own, own + 1]])
    difference = total[1] / count[1][:, None] - total[0] / count[0][:, None]
    return np.where(np.all(count > 1e-9, axis=0)[..., None], difference, 0.0)


def without_other_concepts(
    score: Float[np.ndarray, "m k"], design: Float[np.ndarray, "m p"], known: Bool[np.ndarray, "m k"]
) -> Float[np.ndarray, "m k"]:
    """Scores less what the other concepts' labels explain of them (regression on all labels in these rows)."""
    adjusted = score.copy()
    for j in range(score.shape[1]):
        rows = known[:, j]
        effect = np.linalg.lstsq(design[rows], score[rows, j], rcond=None)[0]
        effect[[0, j + 1]] = 0.0
        adjusted[:, j] -= design @ effect
    return adjusted
