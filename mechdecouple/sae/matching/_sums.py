"""Sums over blocks of rows, and what they say when a block is left out: correlations, and weights fitted elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from mechdecouple.sae.matching._codes import Codes, pair_sums

_CONSTANT = 1e-4
"""Share of a latent's variance below which it counts as constant on the rows that stay."""


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second sums of each latent around its mean, block by block.

    Attributes:
        codes: the latents.
        blocks: block of each row; sizes: rows of each block.
        first, second: Σ(x − x̄) and Σ(x − x̄)² over the rows of each block, ``[latents, blocks]``.
    """

    codes: Codes
    blocks: Int[np.ndarray, " n"]
    sizes: Float[np.ndarray, " k"]
    first: Float[np.ndarray, "l k"]
    second: Float[np.ndarray, "l k"]

    @classmethod
    def of(cls, codes: Codes, blocks: Int[np.ndarray, " n"]) -> Moments:
        n, k = len(blocks), int(blocks.max()) + 1
        sizes = np.bincount(blocks, minlength=k).astype(float)
        member = sparse.csr_matrix((np.ones(n), (np.arange(n), blocks)), shape=(n, k))
        sums = np.asarray((codes.rows.T @ member).todense())
        squares = np.asarray((codes.rows.multiply(codes.rows).T @ member).todense())
        mean = codes.mean[:, None]
        return cls(codes, blocks, sizes, sums - mean * sizes, squares - 2 * mean * sums + mean**2 * sizes)

    def products(self, i: np.ndarray, other: Moments, j: np.ndarray) -> Float[np.ndarray, "p k"]:
        """Σ(x − x̄)(y − ȳ) over the rows of each block for pairs of a latent of this and one of the other."""
        raw = pair_sums(self.codes.columns, other.codes.columns, i, j, self.blocks, len(self.sizes))
        mean, their_mean = self.codes.mean[i, None], other.codes.mean[j, None]
        return raw - mean * other.first[j] - their_mean * self.first[i] - mean * their_mean * self.sizes

    @property
    def kept(self) -> Float[np.ndarray, " k"]:
        """Rows that stay without each block."""
        return self.sizes.sum() - self.sizes


def correlations(
    a: Moments, i: np.ndarray, b: Moments, j: np.ndarray, products: Float[np.ndarray, "p k"]
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "p k"]]:
    """Correlation of each pair, over all rows and without each block; 0 where a latent is constant on what stays."""
    whole = products.sum(1)
    if len(a.sizes) == 1:
        return np.minimum(whole, 1), np.full(products.shape, np.nan)
    covariance = whole[:, None] - products - a.first[i] * b.first[j] / a.kept
    spread = _left(a)[i] * _left(b)[j]
    return np.minimum(whole, 1), np.clip(np.where(spread > 0, covariance / np.sqrt(spread + (spread == 0)), 0), -1, 1)


def _left(m: Moments) -> Float[np.ndarray, "l k"]:
    """Variance that stays of each latent without each block, of 1 in all; 0 where hardly any does."""
    left = 1 - m.second - m.first**2 / m.kept
    return np.where(left > _CONSTANT, left, 0)
