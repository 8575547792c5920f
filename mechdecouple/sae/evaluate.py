"""Is the SAE good enough to speak of features: sparsity, explained variance, dead and dense latents, held-out rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae.autoencoder import check_activations
from mechdecouple.stats import Replicates, jackknife_blocks

if TYPE_CHECKING:
    import pandas as pd

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
    invariances="translation, rotation and one common scaling of activations and SAE",
    null="0: predicting the mean of the evaluated rows",
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

MIN_EXPLAINED_VARIANCE = 0.7
MAX_DEAD = 0.5
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
        explained_variance: EV; fvu: its complement, the fraction of variance unexplained.
        dead: share of the m latents that never fire here; dense: share that fire on more than a tenth of the rows.
        frequency: share of rows on which each latent fires, ``[m]``.
        rows: number of rows evaluated.
    """

    l0: Estimate
    explained_variance: Estimate
    fvu: Estimate
    dead: Estimate
    dense: Estimate
    frequency: Float[np.ndarray, " m"]
    rows: int

    @property
    def shortcomings(self) -> str:
        """Why one should not speak of this dictionary's features; empty when it is good enough.

        It must explain at least .7 of the held-out variance: with less, a feature 'missing' from a dictionary may as
        well lie in the unexplained part (published SAEs of language models leave .1 to .3). And at most half
        its latents may be dead: with more, it is in effect a much smaller dictionary, whose shares rest on few latents.
        """
        reasons = []
        if not self.explained_variance.value >= MIN_EXPLAINED_VARIANCE:
            found = self.explained_variance
            reasons.append(f"held-out explained variance {found} is below {MIN_EXPLAINED_VARIANCE}")
        if self.dead.value > MAX_DEAD:
            reasons.append(f"{self.dead.value:.0%} of its latents are dead, more than {MAX_DEAD:.0%}")
        return "; ".join(reasons)

    @property
    def good_enough(self) -> bool:
        """Whether later stages may speak of features; ``shortcomings`` says why not."""
        return not self.shortcomings

    def measurements(self, model: str = "", *, hook_point: str = "", position: str = "") -> list[Measurement]:
        """Its rows of the table of results."""
        found = {SAE_L0: self.l0, SAE_EXPLAINED_VARIANCE: self.explained_variance, SAE_DEAD_LATENTS: self.dead}
        place = {"model": model, "hook_point": hook_point, "position": position}
        return [Measurement(metric=m.name, family=m.family, estimate=e, **place) for m, e in found.items()]

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a metric."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "value", "low", "high", "n", "unit"]].to_html(index=False, float_format="%.3f")
        return f"<p>{'good enough' if self.good_enough else self.shortcomings}</p>{table}"


def evaluate(
    sae: Dictionary,
    X: Float[np.ndarray, "n d"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    n_blocks: int = 20,
    seed: int = 0,
    batch_size: int = 4096,
) -> Evaluation:
    """Evaluate a dictionary on held-out rows (``holdout`` splits them off by group before training).

    Explained variance is taken over the whole set, around the mean of that set: predicting the mean scores 0, wherever
    the origin lies. Intervals of L0, EV and FVU come from a delete-a-block jackknife over groups.

    Args:
        X: activations in raw units.
        groups: rows that belong together; each row on its own if not given.
        batch_size: rows encoded at once; changes memory, not the result.

    Raises:
        InputError: X is not a finite table of the SAE's width.
        MismatchError: groups and X differ in length.
    """
    check_activations(X)
    groups = np.arange(len(X)) if groups is None else np.asarray(groups)
    if len(groups) != len(X):
        raise MismatchError(f"{len(groups)} groups for {len(X)} rows of activations; give one group a row")
    n_groups = len(np.unique(groups))
    blocks = jackknife_blocks(groups, n_blocks, seed) if n_groups > 1 else np.zeros(len(X), int)

    centre = X.mean(0, dtype=np.float64)
    sums = _Sums(int(blocks.max()) + 1, X.shape[1])
    for start in range(0, len(X), batch_size):
        rows = slice(start, start + batch_size)
        latents = sae.encode(X[rows])
        error = X[rows].astype(np.float64) - sae.decode(latents)
        sums.add(blocks[rows], X[rows] - centre, error, latents != 0)

    ev = sums.replicates(lambda s: _explained_variance(*s), n_groups)
    constant = "the evaluated rows do not vary" if np.isnan(ev.value) else ""
    frequency = sums.fired / len(X)
    width = len(frequency)
    return Evaluation(
        l0=sums.replicates(lambda s: s[4] / s[0], n_groups).estimate(SAE_L0),
        explained_variance=ev.estimate(SAE_EXPLAINED_VARIANCE, null=0.0, reason=constant),
        fvu=(ev * -1.0 + 1.0).estimate(_FVU, null=1.0, reason=constant),
        dead=_share_of_latents(frequency == 0, width, SAE_DEAD_LATENTS, f"on {len(X)} rows; no interval"),
        dense=_share_of_latents(
            frequency > DENSE_FREQUENCY, width, _DENSE, f"on more than {DENSE_FREQUENCY:.0%} of the rows; no interval"
        ),
        frequency=frequency,
        rows=len(X),
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


_FVU = Metric(
    name="sae_fvu", family="sae", title="SAE: unexplained variance", measures="1 − explained variance", range="[0, ∞)",
    direction="lower",
)  # fmt: skip
_DENSE = Metric(
    name="sae_dense_latents", family="sae", title="SAE: dense latents", measures="share of latents firing on many rows",
    range="[0, 1]", direction="lower",
)  # fmt: skip


class _Sums:
    """Per-block sums: every statistic and its jackknife replicates follow from them, in one pass over the rows."""

    def __init__(self, n_blocks: int, d: int) -> None:
        self.rows, self.active = np.zeros(n_blocks), np.zeros(n_blocks)
        self.error, self.square = np.zeros(n_blocks), np.zeros(n_blocks)
        self.total = np.zeros((n_blocks, d))
        self.fired: np.ndarray = np.zeros(0)

    def add(self, blocks: np.ndarray, centred: np.ndarray, error: np.ndarray, firing: np.ndarray) -> None:
        np.add.at(self.rows, blocks, 1)
        np.add.at(self.active, blocks, firing.sum(1))
        np.add.at(self.error, blocks, np.square(error).sum(1))
        np.add.at(self.square, blocks, np.square(centred).sum(1))
        np.add.at(self.total, blocks, centred)
        self.fired = firing.sum(0) if not len(self.fired) else self.fired + firing.sum(0)

    def replicates(self, statistic, n_groups: int) -> Replicates:
        parts = (self.rows, self.error, self.square, self.total, self.active)
        whole = [p.sum(0) for p in parts]
        without: Iterable[int] = range(len(self.rows)) if len(self.rows) > 1 else ()
        left_out = [statistic([w - p[b] for w, p in zip(whole, parts, strict=True)]) for b in without]
        return Replicates(statistic(whole), np.array(left_out, float), "jackknife", n_groups)


def _explained_variance(
    rows: float, error: float, square: float, total: Float[np.ndarray, " d"], _active: float
) -> float:
    variance = float(square - np.square(total).sum() / rows)
    return 1 - float(error) / variance if variance > 1e-12 * float(square) else np.nan


def _share_of_latents(chosen: np.ndarray, width: int, metric: Metric, note: str) -> Estimate:
    return Estimate(value=float(chosen.mean()), n=width, unit="latents", direction=metric.direction, reason=note)
