"""Which latents of a crosscoder are features of both models, and which of one alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae.crosscoder.crosscoder import Crosscoder
from mechdecouple.sae.crosscoder.evaluate import (
    CrosscoderEvaluation,
    blocks_of,
    checked_pairs,
    encoded,
    evaluation_of,
)
from mechdecouple.sae.crosscoder.pairs import Rows
from mechdecouple.sae.crosscoder.scaling import Scaling, latent_scalings
from mechdecouple.stats import Replicates

if TYPE_CHECKING:
    import pandas as pd

CROSSCODER_SHARED = Metric(
    name="crosscoder_shared",
    family="sae",
    title="Crosscoder: shared latents",
    measures="share of live latents that write to both models",
    range="[0, 1]",
    invariances="rotation, scaling and translation of either model's activations",
    null="1 for a model against itself",
    assumes="the crosscoder explains at least .7 of the variance of either model",
    source="2504.02922",
)
CROSSCODER_EXCLUSIVE = Metric(
    name="crosscoder_exclusive",
    family="sae",
    title="Crosscoder: latents of one model alone",
    measures="share of live latents shown to be in this model and not in the other",
    range="[0, 1]",
    invariances=CROSSCODER_SHARED.invariances,
    null="0 for a model against itself",
    assumes=CROSSCODER_SHARED.assumes,
    source="2504.02922, 2602.11729",
)

SHARED, ONLY_A, ONLY_B, ARTEFACT, DEAD, UNDECIDED = "shared", "only a", "only b", "artefact", "dead", "undecided"
MAX_RELATIVE_NORM = 0.1
MAX_LEFT = 0.1
MAX_REBUILT = 0.5


@dataclass(frozen=True, eq=False)
class Exclusivity:
    """What each latent is.

    Attributes:
        table: one row a latent, columns

            - ``latent``; ``kind``: "shared", "only a", "only b", "artefact" (looks exclusive, is not shown to be so),
              "dead", or "undecided" where the crosscoder is not good enough; ``reason``: why, in words;
            - ``density``: share of rows on which it fires;
            - ``relative_norm``: share of A in its decoder norms, in [0, 1];
            - ``beta_a``, ``beta_b`` (``_low``, ``_high``): the scale of its own contribution that would fit each model
              best: 1 where the decoder is right, more where it was shrunk; NaN where the model hardly has it;
            - ``left`` (and ends): ν_ε, how much of it is in what the other latents leave of the model that it writes
              less to, against the model that it writes more to; ``rebuilt``: ν_r, the same in the
              reconstructions. 0: nothing, 1: as much; below 0 by chance only.
        evaluation: how much of each model the crosscoder rebuilds.
    """

    table: pd.DataFrame
    evaluation: CrosscoderEvaluation

    def share(self, kind: str) -> Estimate:
        """Share of the live latents that are of a kind.

        For the exclusive kinds the upper end adds the latents whose checks do not rule exclusivity out.
        """
        metric = CROSSCODER_SHARED if kind == SHARED else CROSSCODER_EXCLUSIVE
        live = self.table[self.table.kind != DEAD]
        if kind not in (SHARED, ONLY_A, ONLY_B, ARTEFACT):
            raise InputError(f"unknown kind {kind!r}; expected {SHARED!r}, {ONLY_A!r}, {ONLY_B!r} or {ARTEFACT!r}")
        if not len(live) or self.evaluation.shortcomings:
            return Estimate.undefined(self.evaluation.shortcomings or "all latents are dead", unit="latents")
        value = float((live.kind == kind).mean())
        facts = {"n": len(live), "unit": "latents", "invariances": metric.invariances}
        if kind not in (ONLY_A, ONLY_B):
            return Estimate(value=value, reason="no interval: a count of latents, each with its own", **facts)
        side = live.relative_norm > 0.5 if kind == ONLY_A else live.relative_norm < 0.5
        open_ = (live.kind == ARTEFACT) & side & (live.left_low < MAX_LEFT) & (live.rebuilt_low < MAX_REBUILT)
        method = "latents shown exclusive, to those not shown to be shared, by 95 % intervals of each"
        return Estimate(value=value, low=value, high=value + float(open_.mean()), method=method, null=0.0, **facts)

    def measurements(
        self, model_a: str = "", model_b: str = "", *, hook_point: str = "", hook_point_b: str = "", position: str = ""
    ) -> list[Measurement]:
        """Rows of the table of results, the evaluation's included; an exclusive share stands under its model."""
        point_b = hook_point_b or hook_point
        both = {"model": model_a, "model_b": model_b, "hook_point": hook_point, "hook_point_b": point_b}
        found = [
            (CROSSCODER_SHARED, self.share(SHARED), both),
            (CROSSCODER_EXCLUSIVE, self.share(ONLY_A), {"model": model_a, "hook_point": hook_point}),
            (CROSSCODER_EXCLUSIVE, self.share(ONLY_B), {"model": model_b, "hook_point": point_b}),
        ]
        rows = [Measurement(metric=m.name, family=m.family, estimate=e, position=position, **at) for m, e, at in found]
        of = {"hook_point": hook_point, "hook_point_b": hook_point_b, "position": position}
        return rows + self.evaluation.measurements(model_a, model_b, **of)

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a metric and model; ``table`` has the latents."""
        return frame(self.measurements("A", "B"))

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{n} {kind}" for kind, n in self.table.kind.value_counts().items())
        table = self.table.sort_values("density", ascending=False).head(20)
        note = self.evaluation.shortcomings
        return f"<p>{counts}{'; ' + note if note else ''}</p>{table.to_html(index=False, float_format='%.2f')}"


def exclusivity(
    crosscoder: Crosscoder,
    a: Rows,
    b: Rows,
    *,
    hook_point_a: str | None = None,
    hook_point_b: str | None = None,
    groups: Shaped[np.ndarray, " n"] | None = None,
    min_rows: int = 10,
    n_blocks: int = 20,
    seed: int = 0,
) -> Exclusivity:
    """Tell latents of one model alone from shared ones, and from those that only look exclusive.

    A latent whose relative norm is within .1 of 0 or 1 looks exclusive. It is called so only if the other model holds
    nothing of it, by the upper ends of two intervals: less than a tenth of its strength in what the other latents leave
    of that model (more means that it was shrunk away, or is weaker there), and less than half of it in that model's
    reconstruction (more means that other latents carry it there: 2504.02922). If that is not shown it is an artefact.
    A latent that passes both checks is exclusive whatever its relative norm, which training brings to its end slowly.
    Of features that often fire together each counts in part as carried by the others: this errs towards artefacts.

    Args:
        a, b: held-out rows, as for ``train_crosscoder``.
        hook_point_a, hook_point_b: which to read of Activations; by default those that it was trained on.
        groups: rows that belong together; by default the rows of one item.
        min_rows: a latent that fires on fewer rows is dead, as is one that fires in one block of groups only.
        n_blocks: blocks of groups left out in turn for the intervals.

    Raises:
        InputError: rows of another width, or not finite.
        MismatchError: rows of different items or tokens, of another model or hook point than it was trained on, or
            groups of another length.

    Example:
        >>> found = exclusivity(crosscoder, held_a, held_b)  # doctest: +SKIP
        >>> found.table[found.table.kind == "only b"]  # doctest: +SKIP
    """
    import pandas as pd

    pairs = checked_pairs(crosscoder, a, b, hook_point_a, hook_point_b)
    blocks, n_groups = blocks_of(pairs, groups, n_blocks, seed)
    latents = encoded(crosscoder, pairs)
    evaluation = evaluation_of(crosscoder, pairs, latents, blocks, n_groups)
    of_a, of_b = latent_scalings(crosscoder, pairs, latents, blocks, n_groups)
    norm = crosscoder.relative_norm
    columns: dict[str, np.ndarray] = {"density": evaluation.frequency, "relative_norm": norm}
    for name, scaling in (("beta_a", of_a), ("beta_b", of_b)):
        columns |= _columns(name, scaling.beta.value, scaling.beta.interval())
    for name in ("left", "rebuilt"):
        columns |= _columns(name, *_ratio(of_a, of_b, name, norm > 0.5))
    dead = _dead(latents, blocks, min_rows)
    for name in columns:
        if name not in ("density", "relative_norm"):
            columns[name] = np.where(dead, np.nan, columns[name])
    table = pd.DataFrame(columns)
    kinds = [_kind(row, bool(d), evaluation.shortcomings) for row, d in zip(table.itertuples(), dead, strict=True)]
    table.insert(0, "reason", [reason for _, reason in kinds])
    table.insert(0, "kind", [kind for kind, _ in kinds])
    table.insert(0, "latent", np.arange(crosscoder.width))
    return Exclusivity(table, evaluation)


def _dead(latents, blocks: np.ndarray, min_rows: int) -> np.ndarray:
    """Latents that fire on too few rows, or in one block only, where there is nothing to compare a block with."""
    width = latents.shape[1]
    fires = np.bincount(latents.indices, minlength=width)
    row = np.repeat(blocks, np.diff(latents.indptr))
    apart = np.unique(latents.indices * (int(blocks.max()) + 1) + row) // (int(blocks.max()) + 1)
    return (fires < min_rows) | (np.bincount(apart, minlength=width) < 2)


def _ratio(
    of_a: Scaling, of_b: Scaling, name: str, mostly_a: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """ν and the ends of its interval: strength in the model a latent writes less to, against the other one's.

    The interval is that of the ratio of squares, whose ends are then rooted: near 0 the root itself has no slope.
    """
    a, b = getattr(of_a, name), getattr(of_b, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = [np.where(mostly_a, y, x) / np.where(mostly_a, x, y)
                   for x, y in ((a.value, b.value), (a.replicates, b.replicates))]  # fmt: skip
    low, high = Replicates(squares[0], squares[1], "jackknife", a.n).interval()
    return _root(squares[0]), (_root(low), _root(high))


def _root(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def _columns(name: str, value: np.ndarray, interval: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _kind(row, dead: bool, shortcomings: str) -> tuple[str, str]:
    """The kind of a latent from its row of the table, and why."""
    if dead:
        return DEAD, f"fires on {row.density:.2%} of the rows: too few to tell"
    if shortcomings:
        return UNDECIDED, shortcomings
    kind, other = (ONLY_A, "B") if row.relative_norm > 0.5 else (ONLY_B, "A")
    left = f"ν_ε {row.left:.2f} [{row.left_low:.2f}, {row.left_high:.2f}]"
    rebuilt = f"ν_r {row.rebuilt:.2f} [{row.rebuilt_low:.2f}, {row.rebuilt_high:.2f}]"
    if row.left_high < MAX_LEFT and row.rebuilt_high < MAX_REBUILT:
        return kind, f"model {other} holds nothing of it: {left}, {rebuilt}"
    if MAX_RELATIVE_NORM <= row.relative_norm <= 1 - MAX_RELATIVE_NORM:
        return SHARED, f"writes to both models: relative norm {row.relative_norm:.2f}, {left}"
    if row.left_low >= MAX_LEFT:
        return ARTEFACT, f"model {other} has it, too, outside its reconstruction: {left}"
    if row.rebuilt_low >= MAX_REBUILT:
        return ARTEFACT, f"model {other} has it, too, through other latents: {rebuilt}"
    return ARTEFACT, f"not shown to be absent from model {other}: {left}, {rebuilt}"
