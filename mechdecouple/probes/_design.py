"""One layer made ready for many probes at once, and the batch that fits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechdecouple.probes import _checks
from mechdecouple.probes._lbfgs import Axes, minimise, principal_axes

_ENTRIES = 4_000_000
"""Scores held at once by one batch of problems."""
_CHUNK_ROWS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """One layer made ready: columns at zero mean and unit spread over all rows, and their axes.

    That is a frame of reference only: each problem standardises the columns by its own rows.
    """

    Z: Float[Tensor, "n d"]
    axes: Axes

    @classmethod
    def of(cls, layer: np.ndarray, device: str) -> Design:
        X = _checks.activations(layer)
        centre = X.mean(axis=0)
        Z = np.empty(X.shape, dtype=np.float32)
        energy = np.zeros(X.shape[1])
        for rows in _chunks(len(X)):
            moved = X[rows] - centre
            energy += np.einsum("ij,ij->j", moved, moved)
            Z[rows] = moved
        scale = np.sqrt(energy / len(X))
        Z *= np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), 1 / np.maximum(scale, 1e-300), 0.0)
        rows_ = torch.from_numpy(Z).to(_checks.device(device))
        return cls(rows_, principal_axes(rows_))

    def shrink(self, fit: Bool[Tensor, "n h"]) -> Float[Tensor, "d h"]:
        """1 / standard deviation of each column over each set of rows; 0 where it is constant there."""
        # In float64: a column that is constant on these rows only would keep its rounding error as a spread.
        share = fit.double() / fit.sum(dim=0)
        mean, square = torch.zeros(2, self.Z.shape[1], fit.shape[1], dtype=torch.float64, device=self.Z.device)
        for rows in _chunks(len(share)):
            part = self.Z[rows].double()
            mean += part.T @ share[rows]
            square += part.square_().T @ share[rows]
        variance = square - mean**2
        return torch.where(variance > 1e-10 * (1 + mean**2), variance.clamp_min(1e-300).rsqrt(), 0.0).float()


def _chunks(n: int) -> Iterator[slice]:
    return (slice(i, i + _CHUNK_ROWS) for i in range(0, n, _CHUNK_ROWS))


def fits(
    layer: np.ndarray | Design,
    y: Float[np.ndarray, "n k"],
    fit: Bool[np.ndarray, "n h"],
    penalties: Float[np.ndarray, " p"] | Float[np.ndarray, "k p"],
    device: str,
    tolerance: float,
    standardise: bool = True,
) -> Iterator[tuple[Int[np.ndarray, " c"], Float[Tensor, "n h c p"]]]:
    """Scores of all rows by probes fitted on each of h sets of rows, some concepts at a time.

    Args:
        fit: [n, h] the rows of each set; where a concept lacks a class in one of them, its scores are NaN.
        penalties: [p], or [k, p] for penalties of each concept's own.
        standardise: columns by each set's own rows, or as they are over all rows.
    """
    design = layer if isinstance(layer, Design) else Design.of(layer, device)
    Z = design.Z
    n, h = fit.shape
    rows = torch.from_numpy(fit).to(Z.device)
    shrink = design.shrink(rows) if standardise else None
    ridge = torch.from_numpy(np.broadcast_to(penalties, (y.shape[1], penalties.shape[-1])).astype(np.float32).copy())
    p = ridge.shape[1]
    step = max(1, _ENTRIES // (n * h * p))
    for start in range(0, y.shape[1], step):
        targets = np.arange(start, min(start + step, y.shape[1]))
        label = torch.from_numpy(y[:, targets]).to(Z.device, Z.dtype)
        known = ~label.isnan()
        label = label.nan_to_num()
        usable = torch.stack(
            [((rows[:, :, None] & (known & (label == c))[:, None]).any(dim=0)) for c in (0.0, 1.0)]
        ).all(dim=0)
        a, c = usable.nonzero(as_tuple=True)
        a, c = a.repeat_interleave(p), c.repeat_interleave(p)
        found = torch.full((n, h, len(targets), p), torch.nan, dtype=Z.dtype, device=Z.device)
        if len(a):
            strength = ridge[targets].to(Z.device)[c[::p]].flatten()
            weight = (rows[:, a] & known[:, c]).to(Z.dtype)
            factor = None if shrink is None else shrink[:, a]
            _, score = minimise(Z, label[:, c], weight, strength, design.axes, tolerance, factor)
            found[:, usable] = score.unflatten(1, (-1, p))
        yield targets, found
