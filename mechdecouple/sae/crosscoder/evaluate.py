"""How much of each model a crosscoder rebuilds, on rows that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped
from scipy.sparse import csr_matrix, vstack

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae.crosscoder.crosscoder import Crosscoder
from mechdecouple.sae.crosscoder.pairs import Pairs, Rows, model_of, pair_rows
from mechdecouple.stats import Replicates, jackknife_blocks

if TYPE_CHECKING:
    import pandas as pd

CROSSCODER_EXPLAINED_VARIANCE = Metric(
    name="crosscoder_explained_variance",
    family="sae",
    title="Crosscoder: explained variance",
    measures="1 − Σ‖x−x̂‖²/Σ‖x−x̄‖² of one model's rows, over all evaluated rows",
    range="(−∞, 1]",
    direction="higher",
    invariances="translation, rotation and scaling of either model's activations together with its crosscoder",
    null="0: predicting the mean of the evaluated rows",
    assumes="rows that the crosscoder was not trained on",
    source="2406.04093 (SAEs), 2504.02922 (crosscoders)",
)
CROSSCODER_L0 = Metric(
    name="crosscoder_l0",
    family="sae",
    title="Crosscoder: active latents a row",
    measures="mean number of latents that fire on a row",
    range="[0, m]",
    null="none: set by the training's sparsity",
    source="2504.02922",
)

MIN_EXPLAINED_VARIANCE = 0.7
"""In each model; with less, a feature that a model seems to lack may as well lie in its unexplained part."""


@dataclass(frozen=True, eq=False)
class CrosscoderEvaluation:
    """Quality of a crosscoder on held-out rows.

    Attributes:
        explained_a, explained_b: explained variance of each model.
        l0: mean latents firing on a row.
        frequency: share of rows on which each latent fires, ``[m]``.
        rows: number of rows evaluated.
    """

    explained_a: Estimate
    explained_b: Estimate
    l0: Estimate
    frequency: Float[np.ndarray, " m"]
    rows: int

    @property
    def shortcomings(self) -> str:
        """Why one should not speak of shared and exclusive features; empty when it is good enough."""
        reasons = [
            f"held-out explained variance of model {name} is {found}, expected at least {MIN_EXPLAINED_VARIANCE}"
            for name, found in (("A", self.explained_a), ("B", self.explained_b))
            if not found.value >= MIN_EXPLAINED_VARIANCE
        ]
        return "; ".join(reasons) if self.frequency.any() else "no latent fires on any of the rows"

    def measurements(
        self, model_a: str = "", model_b: str = "", *, hook_point: str = "", hook_point_b: str = "", position: str = ""
    ) -> list[Measurement]:
        """Its rows of the table of results."""
        point_b = hook_point_b or hook_point
        both = {"model": model_a, "model_b": model_b, "hook_point": hook_point, "hook_point_b": point_b}
        found = [
            (CROSSCODER_EXPLAINED_VARIANCE, self.explained_a, {"model": model_a, "hook_point": hook_point}),
            (CROSSCODER_EXPLAINED_VARIANCE, self.explained_b, {"model": model_b, "hook_point": point_b}),
            (CROSSCODER_L0, self.l0, both),
        ]
        return [Measurement(metric=m.name, family=m.family, estimate=e, position=position, **at) for m, e, at in found]

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a metric and model."""
        return frame(self.measurements("A", "B"))

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "model", "value", "low", "high", "n", "unit"]]
        return f"<p>{self.shortcomings or 'good enough'}</p>{table.to_html(index=False, float_format='%.3f')}"


def evaluate_crosscoder(
    crosscoder: Crosscoder,
    a: Rows,
    b: Rows,
    *,
    hook_point_a: str | None = None,
    hook_point_b: str | None = None,
    groups: Shaped[np.ndarray, " n"] | None = None,
    n_blocks: int = 20,
    seed: int = 0,
) -> CrosscoderEvaluation:
    """Evaluate a crosscoder on held-out rows (``holdout`` splits them off by group before training).

    Args:
        a, b: as for ``train_crosscoder``.
        hook_point_a, hook_point_b: which to read of Activations; by default those that it was trained on.
        groups: rows that belong together; by default the rows of one item.
        n_blocks: blocks of groups left out in turn for the intervals.

    Raises:
        InputError: rows of another width, or not finite.
        MismatchError: rows of different items or tokens, of another model or hook point than it was trained on, or
            groups of another length.
    """
    pairs = checked_pairs(crosscoder, a, b, hook_point_a, hook_point_b)
    blocks, n_groups = blocks_of(pairs, groups, n_blocks, seed)
    return evaluation_of(crosscoder, pairs, encoded(crosscoder, pairs), blocks, n_groups)


def evaluation_of(
    crosscoder: Crosscoder, pairs: Pairs, latents: csr_matrix, blocks: np.ndarray, n_groups: int
) -> CrosscoderEvaluation:
    """``evaluate_crosscoder`` of rows that are encoded already; one pass over them."""
    n_blocks = int(blocks.max()) + 1
    rows = np.bincount(blocks, minlength=n_blocks).astype(float)
    active = np.bincount(blocks, np.diff(latents.indptr), minlength=n_blocks)
    l0 = _left_out([active, rows], lambda active, rows: active / rows, n_groups)
    explained = []
    sums = [[np.zeros(n_blocks), np.zeros(n_blocks), np.zeros((n_blocks, d))] for d in (pairs.d_a, pairs.d_b)]
    for part, x, y in pairs.batches(np.arange(pairs.n)):
        f, block = latents[part], blocks[part]
        found = ((x, crosscoder.decode_a(f), crosscoder.mean_a), (y, crosscoder.decode_b(f), crosscoder.mean_b))
        for (error, square, total), (z, decoded, mean) in zip(sums, found, strict=True):
            centred = z.astype(np.float64) - mean
            np.add.at(error, block, np.square(z - decoded.astype(np.float64)).sum(1))
            np.add.at(square, block, np.square(centred).sum(1))
            np.add.at(total, block, centred)
    for error, square, total in sums:
        replicates = _left_out([error, square, total, rows], _explained_variance, n_groups)
        reason = "the evaluated rows do not vary" if np.isnan(replicates.value) else ""
        explained.append(replicates.estimate(CROSSCODER_EXPLAINED_VARIANCE, null=0.0, reason=reason))
    frequency = np.bincount(latents.indices, minlength=crosscoder.width) / pairs.n
    return CrosscoderEvaluation(explained[0], explained[1], l0.estimate(CROSSCODER_L0), frequency, pairs.n)


def checked_pairs(
    crosscoder: Crosscoder, a: Rows, b: Rows, hook_point_a: str | None, hook_point_b: str | None
) -> Pairs:
    """The rows in lock-step, of the models, hook points and widths that the crosscoder reads."""
    points = [_reading(crosscoder, side, source, point)
              for side, source, point in (("a", a, hook_point_a), ("b", b, hook_point_b))]  # fmt: skip
    pairs = pair_rows(a, b, *points)
    for name, width, expected in (("A", pairs.d_a, crosscoder.d_a), ("B", pairs.d_b, crosscoder.d_b)):
        if width != expected:
            raise InputError(
                f"rows of model {name} have width {width}, this crosscoder reads width {expected} of model {name}; "
                "use the hook points it was trained on"
            )
    return pairs


def _reading(crosscoder: Crosscoder, side: str, source: Rows, hook_point: str | None) -> str | None:
    """The hook point to read of one model's activations: the one that the crosscoder was trained on, if it says.

    Raises:
        MismatchError: another is asked for, or the activations are of a model with other weights.
    """
    if not isinstance(source, Activations):
        return None
    trained = crosscoder.training.get(f"hook_point_{side}") or None
    if hook_point and trained and hook_point != trained:
        raise MismatchError(
            f"this crosscoder was trained on hook point {trained!r} of model {side.upper()}, not {hook_point!r}; "
            "features of one are not those of another"
        )
    weights, there = crosscoder.training.get(f"weight_hash_{side}"), model_of(source)
    if weights and there.get("weight_hash") and weights != there["weight_hash"]:
        raise MismatchError(
            f"this crosscoder was trained on {crosscoder.training.get(f'model_{side}')!r} as model {side.upper()}, the "
            f"activations are of {there.get('name')!r} with other weights; to read them all the same, pass the array"
        )
    return hook_point or trained


def blocks_of(pairs: Pairs, groups: np.ndarray | None, n_blocks: int, seed: int) -> tuple[np.ndarray, int]:
    """The jackknife block of each row, and how many groups there are."""
    if groups is None:
        groups = pairs.a.items if isinstance(pairs.a, Activations) else np.arange(pairs.n)
    if len(groups) != pairs.n:
        raise MismatchError(f"{len(groups)} groups for {pairs.n} rows of activations; give one group a row")
    n_groups = len(np.unique(groups))
    return (jackknife_blocks(np.asarray(groups), n_blocks, seed) if n_groups > 1 else np.zeros(pairs.n, int)), n_groups


def encoded(crosscoder: Crosscoder, pairs: Pairs) -> csr_matrix:
    """Latents of all rows, sparse."""
    parts = [crosscoder.encode_sparse(x, y) for _, x, y in pairs.batches(np.arange(pairs.n))]
    return csr_matrix(vstack(parts, format="csr"))


def _left_out(parts: list[np.ndarray], statistic, n_groups: int) -> Replicates:
    """A statistic of sums over blocks, with its delete-a-block replicates."""
    whole = [p.sum(0) for p in parts]
    n_blocks = len(parts[0]) if len(parts[0]) > 1 else 0
    left_out = [statistic(*(w - p[b] for w, p in zip(whole, parts, strict=True))) for b in range(n_blocks)]
    return Replicates(statistic(*whole), np.array(left_out, float), "jackknife", n_groups)


def _explained_variance(error: float, square: float, total: np.ndarray, rows: float) -> float:
    variance = float(square - np.square(total).sum() / rows)
    return 1 - float(error) / variance if variance > 1e-12 * float(square) else np.nan
