"""Affine maps between activations, with a ridge penalty that is chosen on items which the map was not fitted on.

The penalty does not tell directions apart, so that a rotation of either side changes nothing. With the activations X
[n, d] of the items that it is fitted on, such a map sends x to y + k(x, X) (K + penalty)^-1 (Y - y): a sum over items
with weights that add up to 1. They follow from Gram matrices of items alone, so that one factorisation of a source's
Gram serves every target, however wide, and the map itself is never made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechdecouple.structure.mechanism.holdout import Fold

PENALTIES = tuple(10.0**p for p in range(-7, 1))
"""As shares of the source's total variance over the items that are fitted."""
_FLAT = 1e-6


def gram(X: Float[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    """Inner products of the rows about their mean; exactly 0 where they are constant but for rounding."""
    X = X.double()
    centred = X - X.mean(dim=0)
    if centred.square().sum() <= _FLAT**2 * X.square().sum():
        return torch.zeros(len(X), len(X), dtype=torch.float64, device=X.device)
    return centred @ centred.T


class AffineMaps:
    """Ridge maps from several sources, fitted on one fold; each source is factorised once, for all targets.

    Args:
        sources: Gram matrices of the activations that are mapped.
    """

    def __init__(self, sources: Float64[Tensor, "s n n"], fold: Fold) -> None:
        self._fold = fold
        self._inner = _factorised(sources, fold.inner_fit, fold.inner_test)
        self._outer = _factorised(sources, fold.fit, fold.test)

    def penalties(
        self, target: Float64[Tensor, "n n"], sources: Sequence[int]
    ) -> tuple[Float64[np.ndarray, " s"], Float64[np.ndarray, " s"]]:
        """For each source the penalty that predicts the target, given by its Gram matrix, best on inner test items,
        and the share of its variance there that is predicted so: -inf where the target does not vary."""
        fit, test = self._fold.inner_fit, self._fold.inner_test
        axes, size, across = (x[list(sources)] for x in self._inner)
        inside, between, own = (_block(target, *rows) for rows in ((fit, fit), (test, fit), (test, test)))
        total = own.diagonal().sum()
        errors = []
        for penalty in PENALTIES:
            made = _weights(axes, size, across, penalty)
            cross, square = (made * between).sum(dim=(1, 2)), ((made @ inside) * made).sum(dim=(1, 2))
            errors.append(total - 2 * cross + square)
        least, index = torch.stack(errors).min(dim=0)
        spread = total - own.mean() * len(test)
        score = 1 - least / spread if spread > 0 else torch.full_like(least, -torch.inf)
        return np.array(PENALTIES)[index.cpu().numpy()], score.cpu().numpy()

    def weights(self, source: int, penalty: float) -> Float64[Tensor, "j f"]:
        """Weight of each fit item in what the map makes of each test item; they add up to 1 over fit items."""
        axes, size, across = (x[[source]] for x in self._outer)
        return _weights(axes, size, across, penalty)[0]


def _factorised(
    grams: Float64[Tensor, "s n n"], fit: Int[np.ndarray, " f"], test: Int[np.ndarray, " j"]
) -> tuple[Float64[Tensor, "s f r"], Float64[Tensor, "s r"], Float64[Tensor, "s j r"]]:
    """Axes and squared sizes of the fit items about their mean, and the test items' products with these axes."""
    inside, across = _block(grams, fit, fit), _block(grams, test, fit)
    mean = inside.mean(dim=1)
    total = mean.mean(dim=1)[:, None, None]
    across = across - across.mean(dim=2, keepdim=True) - mean[:, None] + total
    size, axes = torch.linalg.eigh(inside - mean[:, None] - mean[:, :, None] + total)
    return axes, size.clamp(min=0), across @ axes


def _weights(
    axes: Float64[Tensor, "s f r"], size: Float64[Tensor, "s r"], across: Float64[Tensor, "s j r"], penalty: float
) -> Float64[Tensor, "s j f"]:
    """Nothing is read from a constant source, so that there any penalty does."""
    total = size.sum(dim=1, keepdim=True)
    shrunk = 1 / (size + penalty * torch.where(total > 0, total, 1.0))
    centred = (across * shrunk[:, None]) @ axes.transpose(1, 2)
    return centred + (1 - centred.sum(dim=2, keepdim=True)) / axes.shape[1]


def _block(grams: Float64[Tensor, "*s n n"], rows: np.ndarray, columns: np.ndarray) -> Float64[Tensor, "*s j f"]:
    at = (torch.as_tensor(index, device=grams.device) for index in (rows, columns))
    return grams[..., next(at)[:, None], next(at)]
