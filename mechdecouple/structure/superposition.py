"""Superposition: how much of a dimension each feature of a dictionary has to itself, and what the others add to it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mechdecouple.errors import InputError
from mechdecouple.results import Metric

if TYPE_CHECKING:
    import pandas as pd

_SOURCE = "Elhage et al. 2022, arXiv 2209.10652"

SUPERPOSITION_DIMENSIONALITY = Metric(
    name="superposition_dimensionality",
    family="entanglement",
    title="Dimensionality of features",
    measures="share of a dimension that a decoder's feature has to itself, mean over features",
    range="[0, 1]",
    direction="higher",
    invariances="rotation, uniform scale",
    null="d / (m + d - 1): m random directions of equal length in d dimensions",
    assumes="decoder rows are features; their lengths say how strongly they are written",
    source=_SOURCE,
)
SUPERPOSITION_INTERFERENCE = Metric(
    name="superposition_interference",
    family="entanglement",
    title="Interference of features",
    measures="squared length that the other features write along a feature's direction, mean over features",
    range="[0, inf)",
    direction="lower",
    invariances="rotation; grows with the square of the scale",
    null="(m - 1) / d for m random directions of unit length in d dimensions",
    assumes="decoder rows are features of about unit length",
    source=_SOURCE,
)

_BLOCK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Superposition:
    """Superposition of each feature of a decoder; NaN where a feature's row is zero (``reason``).

    Attributes:
        dimensionality: [m] in [0, 1]; 1 for a direction of its own, ½ for each of an antipodal pair.
        interference: [m], 0 for a direction of its own.
        d: dimensions of the space.
    """

    dimensionality: Float[np.ndarray, " m"]
    interference: Float[np.ndarray, " m"]
    d: int

    reason = "the decoder's row of this feature is zero: it writes in no direction"

    @property
    def n_dead(self) -> int:
        """Features that write nothing; left out of the means."""
        return int(np.isnan(self.dimensionality).sum())

    @property
    def mean_dimensionality(self) -> float:
        """Mean over the features that write; NaN where none does."""
        return _mean(self.dimensionality)

    @property
    def mean_interference(self) -> float:
        """Mean over the features that write; NaN where none does."""
        return _mean(self.interference)

    @property
    def dimensions_used(self) -> float:
        """Sum of the dimensionalities; at most the rank of the decoder, equal to it where no dimension is contested."""
        return float(np.nansum(self.dimensionality))

    @property
    def random_dimensionality(self) -> float:
        """What as many random directions of equal length have, d / (m + d - 1)."""
        return self.d / max(1, len(self.dimensionality) - self.n_dead + self.d - 1)

    def frame(self) -> pd.DataFrame:
        """One row a feature."""
        import pandas as pd

        columns = {"dimensionality": self.dimensionality, "interference": self.interference}
        return pd.DataFrame({"feature": np.arange(len(self.dimensionality)), **columns})


def superposition(decoder: Float[np.ndarray, "m d"]) -> Superposition:
    """Superposition of the features of a sparse autoencoder's decoder, one a row.

    Dimensionality D_i = ‖w_i‖² / Σ_j (ŵ_i·w_j)², interference Σ_{j≠i} (ŵ_i·w_j)². Higher dimensionality and lower
    interference are tidier; with m > d features some superposition is unavoidable, as Σ D_i ≤ rank ≤ d. Both need one
    d x d product, and memory for some thousand rows.

    Args:
        decoder: [m, d], m features in d dimensions.

    Raises:
        InputError: not a finite matrix; the message names the first such row.

    >>> found = superposition(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]))
    >>> found.dimensionality.tolist(), found.interference.tolist()
    ([1.0, 0.5, 0.5], [0.0, 4.0, 4.0])
    """
    if decoder.ndim != 2 or 0 in decoder.shape:
        raise InputError(
            f"the decoder has shape {decoder.shape}, expected [features, dimensions], one of each at least"
        )
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(decoder), _BLOCK)]
    gram, size = np.zeros((decoder.shape[1], decoder.shape[1])), np.zeros(len(decoder))
    for rows in blocks:
        block = decoder[rows].astype(np.float64)
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise InputError(
                f"the decoder is {block[row, column]} at feature {rows.start + row}, dimension {column}: expected "
                "finite values"
            )
        gram += block.T @ block
        size[rows] = np.einsum("ij,ij->i", block, block)
    live = size > 0
    # Σ_j (w_i·w_j)² is a quadratic form in the one matrix Σ_j w_j w_jᵀ, so no m x m product is needed.
    along = np.empty(len(decoder))
    for rows in blocks:
        block = decoder[rows].astype(np.float64)
        along[rows] = np.einsum("ij,ij->i", block @ gram, block)
    along = np.divide(along, size, out=np.full_like(size, np.nan), where=live)
    size = np.where(live, size, np.nan)
    return Superposition(np.minimum(size / along, 1.0), np.maximum(along - size, 0.0), decoder.shape[1])


def _mean(values: Float[np.ndarray, " m"]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan
