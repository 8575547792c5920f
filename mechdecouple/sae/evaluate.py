"""Evaluate a dictionary on held-out rows: sparsity, reconstruction, dead and dense latents, shrinkage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae._reconstruction import Reconstructions
from mechdecouple.sae._source import Rows
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.sae.quality import judge
from mechdecouple.stats import jackknife_blocks

if TYPE_CHECKING:
    import pandas as pd

_COMMON = "translation, rotation and one common scaling of activations and SAE"

SAE_L0 = Metric(
    name="sae_l0",
    family="sae",
    title="SAE: active latents a row",
    measures="mean number of latents that fire on a row",
    range="[0, m]",
    null="none: set by the training's sparsity",
    source="2406.04093",
)
SAE_EXPLAINED_VARIANCE = Metric(
    name="sae_explained_variance",
    family="sae",
    title="SAE: explained variance",
    measures="1 − Σ‖x−x̂‖²/Σ‖x−x̄‖² over all evaluated rows",
    range="(−∞, 1]",
    direction="higher",
    invariances=_COMMON,
    null="0: predicting the mean of the evaluated rows",
)
SAE_FVU = Metric(
    name="sae_fvu",
    family="sae",
    title="SAE: unexplained variance",
    measures="1 − explained variance",
    range="[0, ∞)",
    direction="lower",
    invariances=_COMMON,
    null="1: predicting the mean of the evaluated rows",
)
SAE_COSINE = Metric(
    name="sae_cosine",
    family="sae",
    title="SAE: cosine of reconstructions",
    measures="mean cosine of a row and its reconstruction, about the origin",
    range="[-1, 1]",
    direction="higher",
    invariances="rotation and one common scaling of activations and SAE",
    null="cosine of the rows with their mean: large wherever activations lie far from the origin",
)
SAE_MSE = Metric(
    name="sae_mse",
    family="sae",
    title="SAE: squared error a dimension",
    measures="mean squared error of reconstructions, a dimension",
    range="[0, ∞)",
    direction="lower",
    invariances="translation, rotation",
    null="variance a dimension: predicting the mean of the evaluated rows",
)
SAE_SHRINKAGE = Metric(
    name="sae_shrinkage",
    family="sae",
    title="SAE: scale of reconstructions",
    measures="Σ‖x̂−x̄‖²/Σ⟨x̂−x̄, x−x̄⟩, one over the factor that fits reconstructions to the rows best",
    range="(−∞, ∞)",
    invariances=_COMMON,
    null="1: neither shrunk (below 1) nor overstated",
    source="2404.16014",
)
SAE_NORM_RATIO = Metric(
    name="sae_norm_ratio",
    family="sae",
    title="SAE: norm ratio",
    measures="mean ratio of the norms of a reconstruction and its row, about the origin",
    range="[0, ∞)",
    invariances="rotation and one common scaling of activations and SAE",
    null="none: below 1 for any reconstruction that leaves something out, shrunk or not",
)
SAE_DEAD_LATENTS = Metric(
    name="sae_dead_latents",
    family="sae",
    title="SAE: dead latents",
    measures="share of latents that fire on none of the evaluated rows",
    range="[0, 1]",
    direction="lower",
    null="none: falls with the number of evaluated rows",
)
SAE_DENSE_LATENTS = Metric(
    name="sae_dense_latents",
    family="sae",
    title="SAE: dense latents",
    measures="share of latents firing on more than a tenth of the rows",
    range="[0, 1]",
    direction="lower",
    null="none: rises with active latents a row over latents",
)
DENSE_FREQUENCY = 0.1


@runtime_checkable
class Dictionary(Protocol):
    """What can be evaluated: anything that encodes rows to latents and decodes them back."""

    def encode(self, X: np.ndarray) -> np.ndarray: ...

    def decode(self, latents: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Quality of a dictionary on rows it was not trained on.

    Attributes:
        l0: mean latents firing on a row.
        explained_variance: EV; fvu: its complement, the fraction of variance unexplained; mse: the squared error a
            dimension.
        cosine: mean cosine of rows and reconstructions; its null is what predicting the mean row reaches.
        shrinkage: scale of the reconstructions about the mean row, 1 where least squares would leave it; norm_ratio:
            mean ‖x̂‖/‖x‖.
        dead: share of the m latents that never fire here; dense: share that fire on more than a tenth of the rows.
        frequency: share of rows on which each latent fires, ``[m]``.
        rows: number of rows evaluated; d: their width.
    """

    l0: Estimate
    explained_variance: Estimate
    fvu: Estimate
    mse: Estimate
    cosine: Estimate
    shrinkage: Estimate
    norm_ratio: Estimate
    dead: Estimate
    dense: Estimate
    frequency: Float[np.ndarray, " m"]
    rows: int
    d: int

    @property
    def shortcomings(self) -> str:
        """Why one should not speak of this dictionary's features; empty when it is good enough.

        The required checks of ``judge``, which also takes the dictionary spliced into its model.
        """
        return judge(self).shortcomings

    @property
    def good_enough(self) -> bool:
        """Whether later stages may speak of features; ``shortcomings`` says why not."""
        return not self.shortcomings

    def measurements(self, model: str = "", *, hook_point: str = "", position: str = "") -> list[Measurement]:
        """Its rows of the table of results."""
        found = {
            SAE_L0: self.l0,
            SAE_EXPLAINED_VARIANCE: self.explained_variance,
            SAE_FVU: self.fvu,
            SAE_MSE: self.mse,
            SAE_COSINE: self.cosine,
            SAE_SHRINKAGE: self.shrinkage,
            SAE_NORM_RATIO: self.norm_ratio,
            SAE_DEAD_LATENTS: self.dead,
            SAE_DENSE_LATENTS: self.dense,
        }
        place = {"model": model, "hook_point": hook_point, "position": position}
        return [Measurement(metric=m.name, family=m.family, estimate=e, **place) for m, e in found.items()]

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a metric."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "value", "low", "high", "null", "n", "unit"]]
        return judge(self)._repr_html_() + table.to_html(index=False, float_format="%.3f", border=0)


def evaluate(
    sae: Dictionary,
    X: Float[np.ndarray, "n d"] | Activations,
    hook_point: str | None = None,
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    n_blocks: int = 20,
    seed: int = 0,
    batch_size: int = 1024,
) -> Evaluation:
    """Evaluate a dictionary on held-out rows (``holdout`` splits them off by group before training).

    Every sum runs over the whole set, around the mean of that set: predicting the mean scores an explained variance of
    0, wherever the origin lies and however rows are batched. Rows are read twice, first for their mean; memory does
    not grow with their number. Intervals come from a delete-a-block jackknife over groups.

    SAELens' evaluation gives the same L0, explained variance, cosine, norm ratio and (over d) squared error on the same
    rows. Two of its numbers are others: ``explained_variance_legacy`` averages a ratio a row, in which rows near the
    mean weigh without bound, and ``relative_reconstruction_bias`` is the shrinkage about the origin, where an offset
    that all rows share hides it.

    Args:
        X: activations in raw units: an array, or Activations in memory or on disk.
        hook_point: which of the Activations' hook points; by default the one the SAE was trained on, or the only one.
        groups: rows that belong together; by default each row of an array on its own, and the tokens of an item.
        batch_size: rows encoded at once; changes memory, not the result.

    Raises:
        InputError: rows that are not finite or not of the SAE's width, no rows, an unknown hook point.
        MismatchError: groups and X differ in length, or the SAE was trained on another model or hook point.

    Example:
        >>> found = evaluate(sae, Activations.open("acts").select(held))  # doctest: +SKIP
        >>> found.explained_variance, found.shortcomings  # doctest: +SKIP
    """
    rows = Rows.of(sae, X, hook_point)
    if isinstance(sae, SparseAutoencoder) and isinstance(X, Activations):
        sae.check_model(X)
    groups = rows.groups if groups is None else np.asarray(groups)
    n = len(rows)
    if len(groups) != n:
        raise MismatchError(f"{len(groups)} groups for {n} rows of activations; give one group a row")
    n_groups = len(np.unique(groups))
    blocks = jackknife_blocks(groups, n_blocks, seed) if n_groups > 1 else np.zeros(n, int)

    centre = rows.mean()
    sums = Reconstructions(int(blocks.max()) + 1, n_groups, centre)
    for start, x in rows.batches(batch_size):
        latents = sae.encode(x)
        rebuilt = sae.reconstruct(x) if isinstance(sae, SparseAutoencoder) and sae.by_row else sae.decode(latents)
        sums.add(blocks[start : start + len(x)], x, rebuilt, latents != 0)

    ev = sums.explained_variance()
    constant = "the evaluated rows do not vary" if np.isnan(ev.value) else ""
    shrinkage = sums.shrinkage()
    blank = "no reconstruction differs from the mean row along the rows" if np.isnan(shrinkage.value) else ""
    frequency = sums.fired / n
    on_rows = f"on {n} rows; no interval"
    return Evaluation(
        l0=sums.mean("active").estimate(SAE_L0),
        explained_variance=ev.estimate(SAE_EXPLAINED_VARIANCE, null=0.0, reason=constant),
        fvu=(ev * -1.0 + 1.0).estimate(SAE_FVU, null=1.0, reason=constant),
        mse=(sums.mean("error") * (1 / len(centre))).estimate(SAE_MSE, null=sums.variance() / len(centre)),
        cosine=sums.mean("cosine").estimate(SAE_COSINE, null=float(sums.mean("null_cosine").value)),
        shrinkage=shrinkage.estimate(SAE_SHRINKAGE, null=1.0, reason=blank),
        norm_ratio=sums.mean("norm_ratio").estimate(SAE_NORM_RATIO),
        dead=_share_of_latents(frequency == 0, SAE_DEAD_LATENTS, on_rows),
        dense=_share_of_latents(
            frequency > DENSE_FREQUENCY, SAE_DENSE_LATENTS, f"on more than {DENSE_FREQUENCY:.0%} of the rows; {on_rows}"
        ),
        frequency=frequency,
        rows=n,
        d=len(centre),
    )


def holdout(groups: Shaped[np.ndarray, " n"], *, share: float = 0.2, seed: int = 0) -> Bool[np.ndarray, " n"]:
    """True for rows to keep from training: about ``share`` of them, whole groups together.

    Raises:
        InputError: share is not between 0 and one half, or there are fewer than two groups.
    """
    if not 0 < share <= 0.5:
        raise InputError(f"share is {share}, expected more than 0 and at most 0.5")
    if len(np.unique(groups)) < 2:
        raise InputError("all rows are of one group, so none can be held out; give groups that differ")
    return jackknife_blocks(np.asarray(groups), round(1 / share), seed) == 0


def _share_of_latents(chosen: np.ndarray, metric: Metric, note: str) -> Estimate:
    return Estimate(value=float(chosen.mean()), n=len(chosen), unit="latents", direction=metric.direction, reason=note)
