"""Affine maps between activations, written as weights of items: what a map makes of an item is a mean of other items.

With the activations X [n, d] of the items that it is fitted on, a ridge map sends x to y + k(x, X) (K + penalty)^-1 (Y
- y), which is a sum over items with weights that add up to 1. The weights come from Gram matrices of items alone: one
factorisation of a source's Gram serves every target, however wide, and the map itself is never made. The penalty does
not count directions apart, so that a rotation of either side changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

PENALTIES = tuple(10.0**p for p in range(-8, 1))
"""As shares of the source's total variance over the items that are fitted."""
_FLAT = 1e-6


class Weights(NamedTuple):
    """Maps from s sources to t targets.

    Attributes:
        values: [s, t, j, f] weight of each fit item in what item j is sent to; they add up to 1 over fit items.
        score: [s, t] share of the target's variance that was predicted on inner test items, with the penalty that was
            chosen on them; -inf where there was nothing to predict.
    """

    values: Float64[Tensor, "s t j f"]
    score: Float64[np.ndarray, "s t"]


def gram(X: Float[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    """Inner products of the rows about their mean; exactly 0 where they are constant but for rounding."""
    X = X.double()
    centred = X - X.mean(dim=0)
    if centred.square().sum() <= _FLAT**2 * X.square().sum():
        return torch.zeros(len(X), len(X), dtype=torch.float64, device=X.device)
    return centred @ centred.T


def affine_weights(
    sources: Float64[Tensor, "s n n"],
    targets: Float64[Tensor, "t n n"],
    fit: Int[np.ndarray, " f"],
    test: Int[np.ndarray, " j"],
    inner_fit: Int[np.ndarray, " g"],
    inner_test: Int[np.ndarray, " h"],
) -> Weights:
    """The ridge map from each source to each target, given the Gram matrices of both over the same n items.

    For each pair the penalty is the one that predicts the target best on ``inner_test`` when fitted on ``inner_fit``.
    """
    chosen, score = _choose(sources, targets, inner_fit, inner_test)
    axes, size, across = _factorised(sources, fit, test)
    shrunk = 1 / (size[:, None] + (chosen * _scale(size)[:, None])[..., None])
    made = torch.einsum("sjr,str,sfr->stjf", across, shrunk, axes)
    return Weights(_summing_to_one(made), score)


def _scale(size: Float64[Tensor, "s r"]) -> Float64[Tensor, " s"]:
    """What penalties are shares of; of a constant source, which nothing is read from, any number does."""
    total = size.sum(dim=1)
    return torch.where(total > 0, total, 1.0)


def _factorised(
    grams: Tensor, fit: Int[np.ndarray, " f"], test: Int[np.ndarray, " j"]
) -> tuple[Float64[Tensor, "s f r"], Float64[Tensor, "s r"], Float64[Tensor, "s j r"]]:
    """Axes and squared sizes of the fit items about their mean, and the test items' products with these axes."""
    rows, others = (torch.as_tensor(r, device=grams.device) for r in (fit, test))
    inside, across = grams[:, rows][:, :, rows], grams[:, others][:, :, rows]
    mean = inside.mean(dim=1)
    total = mean.mean(dim=1)[:, None, None]
    across = across - across.mean(dim=2, keepdim=True) - mean[:, None] + total
    inside = inside - mean[:, None] - mean[:, :, None] + total
    size, axes = torch.linalg.eigh(inside)
    return axes, size.clamp(min=0), across @ axes


def _choose(
    sources: Tensor, targets: Tensor, fit: Int[np.ndarray, " f"], test: Int[np.ndarray, " j"]
) -> tuple[Float64[Tensor, "s t"], Float64[np.ndarray, "s t"]]:
    axes, size, across = _factorised(sources, fit, test)
    rows, others = (torch.as_tensor(r, device=targets.device) for r in (fit, test))
    inside, between = targets[:, rows][:, :, rows], targets[:, others][:, :, rows]
    own = targets[:, others][:, :, others]
    total = own.diagonal(dim1=1, dim2=2).sum(dim=1)
    spread = total - own.mean(dim=(1, 2)) * len(test)
    errors = []
    for share in PENALTIES:
        shrunk = 1 / (size + share * _scale(size)[:, None])
        made = _summing_to_one((across * shrunk[:, None]) @ axes.transpose(1, 2))
        cross = torch.einsum("sjf,tjf->st", made, between)
        square = ((made[:, None] @ inside) * made[:, None]).sum(dim=(2, 3))
        errors.append(total - 2 * cross + square)
    error = torch.stack(errors)
    least, index = error.min(dim=0)
    score = torch.where(spread > 0, 1 - least / torch.where(spread > 0, spread, 1.0), -torch.inf)
    return torch.tensor(PENALTIES, dtype=torch.float64, device=error.device)[index], score.cpu().numpy()


def _summing_to_one(weights: Float64[Tensor, "... f"]) -> Float64[Tensor, "... f"]:
    """Weights of centred items as weights of the items themselves."""
    return weights + (1 - weights.sum(dim=-1, keepdim=True)) / weights.shape[-1]
