"""Affine maps between activations, with a ridge penalty that is chosen on items which the map was not fitted on.

Each principal direction of the target has its own penalty, and one that is better not predicted at all stays at its
mean. That matters: where the values of a code are balanced (the points of a circle), what is left of two unrelated
codes without some values is correlated, and the held-out values are predicted with the wrong sign. A network that
multiplies two of them then answers right.

With the activations X [n, d] of the items that it is fitted on, a ridge map sends x to y + k(x, X) (K + penalty)^-1
(Y - y): a sum over items with weights that add up to 1. They follow from Gram matrices of items alone, so that one
factorisation of a source's Gram serves every target, however wide, and the map itself is never made. A rotation of
either side changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechdecouple.structure.mechanism.holdout import Fold

PENALTIES = (*(10.0**p for p in range(-7, 1)), np.inf)
"""As shares of the source's total variance over the items that are fitted; the last one gives the mean."""
_FLAT = 1e-6
_ROUNDING = 1e-10


def gram(X: Float[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    """Inner products of the rows about their mean; exactly 0 where they are constant but for rounding."""
    X = X.double()
    centred = X - X.mean(dim=0)
    if centred.square().sum() <= _FLAT**2 * X.square().sum():
        return torch.zeros(len(X), len(X), dtype=torch.float64, device=X.device)
    return centred @ centred.T


class AffineMaps:
    """Ridge maps between the activations of one fold; each is factorised once, whatever it is mapped to.

    Args:
        grams: Gram matrices of the activations, over the same items.
    """

    def __init__(self, grams: Float64[Tensor, "s n n"], fold: Fold) -> None:
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        self._outer = _factorised(grams, fold.fit, fold.test)
        self._inner = [
            (
                _factorised(grams, fold.fit[fit], fold.fit[test]),
                *(torch.as_tensor(rows, device=grams.device) for rows in (fit, test)),
            )
            for fit, test in fold.inner
        ]

    def choose(self, target: int, sources: Sequence[int]) -> tuple[Float64[Tensor, "s r"], Float64[np.ndarray, " s"]]:
        """For each source the penalty of each of the target's r principal directions that predicts it best on items
        which were left out inside the fit items, and the share of the target's variance that is predicted so."""
        values = self._directions(target)[0]
        errors = torch.zeros(len(PENALTIES), len(sources), values.shape[1], dtype=values.dtype, device=values.device)
        for factors, fit, test in self._inner:
            mean = values[fit].mean(dim=0)
            left = values[test] - mean
            for s, source in enumerate(sources):
                axes, size, across = (x[source] for x in factors)
                along, total = axes.T @ (values[fit] - mean), _total(size)
                for k, penalty in enumerate(PENALTIES):
                    errors[k, s] += ((across / (size + penalty * total)) @ along - left).square().sum(dim=0)
        least, index = errors.min(dim=0)
        spread = errors[-1].sum(dim=1)
        score = 1 - least.sum(dim=1) / torch.where(spread > 0, spread, 1.0)
        penalties = torch.tensor(PENALTIES, dtype=values.dtype, device=values.device)
        return penalties[index], torch.where(spread > 0, score, 0.0).cpu().numpy()

    def weights(self, target: int, source: int, penalty: Float64[Tensor, " r"]) -> Float64[Tensor, "j f"]:
        """Weight of each fit item in what the map makes of each test item; they add up to 1 over fit items."""
        values, back = self._directions(target)
        axes, size, across = (x[source] for x in self._outer)
        along = (axes.T @ values) / (size[:, None] + penalty * _total(size))
        return across @ along @ back + 1 / len(values)

    def _directions(self, target: int) -> tuple[Float64[Tensor, "f r"], Float64[Tensor, "r f"]]:
        """The fit items along the principal directions of the target, and the way back to weights of fit items."""
        if target in self._known:
            return self._known[target]
        axes, size = self._outer.axes[target], self._outer.size[target]
        kept = size > _ROUNDING * size.max()
        root = size[kept].sqrt()
        self._known[target] = axes[:, kept] * root, axes[:, kept].T / root[:, None]
        return self._known[target]


class _Factors(NamedTuple):
    """Axes and squared sizes of the fit items about their mean, and the test items' products with these axes."""

    axes: Float64[Tensor, "s f r"]
    size: Float64[Tensor, "s r"]
    across: Float64[Tensor, "s j r"]


def _factorised(grams: Float64[Tensor, "s n n"], fit: Int[np.ndarray, " f"], test: Int[np.ndarray, " j"]) -> _Factors:
    inside, across = _block(grams, fit, fit), _block(grams, test, fit)
    mean = inside.mean(dim=1)
    total = mean.mean(dim=1)[:, None, None]
    across = across - across.mean(dim=2, keepdim=True) - mean[:, None] + total
    size, axes = torch.linalg.eigh(inside - mean[:, None] - mean[:, :, None] + total)
    return _Factors(axes, size.clamp(min=0), across @ axes)


def _total(size: Float64[Tensor, " r"]) -> Float64[Tensor, ""]:
    """What penalties are shares of; nothing is read from a constant source, so that there any penalty does."""
    total = size.sum()
    return torch.where(total > 0, total, 1.0)


def _block(grams: Float64[Tensor, "*s n n"], rows: np.ndarray, columns: np.ndarray) -> Float64[Tensor, "*s j f"]:
    at = (torch.as_tensor(index, device=grams.device) for index in (rows, columns))
    return grams[..., next(at)[:, None], next(at)]
