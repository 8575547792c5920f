"""Stitched: how well one model answers when it is driven by another, beside what controls make of it."""

from __future__ import annotations

import dataclasses
import html
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates, holm, jackknife_blocks
from mechdecouple.structure.mechanism.holdout import Holdout
from mechdecouple.structure.mechanism.options import OptionLogits

if TYPE_CHECKING:
    import pandas as pd

_ASSUMES = "the map is affine; intervals hold for these maps and the groups of the task"

STITCHED = Metric(
    name="stitched_accuracy", family="mechanism", title="accuracy when driven by the other model",
    measures="accuracy of a model whose activations at a hook point are made, by one affine map, of the other model's",
    range="[0, 1]", invariances="any rotation, shift and common scale of either side",
    null="the best of the other model with fresh weights and of the right answer's name, stitched in the same way",
    assumes=_ASSUMES, source="arXiv:1411.5908, arXiv:2106.07682",
)  # fmt: skip
KEPT = Metric(
    name="stitched_variance", family="mechanism", title="answers kept when driven by the other model",
    measures="share of the variance over items of the option-centred logits that a model keeps when it is driven by "
    "the other one: 1 where every logit is as before, 0 where they are no nearer than their mean, negative beyond",
    range="(-inf, 1]", invariances="any rotation, shift and common scale of either side",
    null="none of its own: see the controls of stitched_accuracy",
    assumes=_ASSUMES, source="arXiv:1411.5908, arXiv:2106.07682",
)  # fmt: skip
MEANING = (
    "A stitch that works is evidence that both models hold the same variables there; one that fails is no evidence of "
    "another mechanism: what they share may not be affine, or be held by too few values to fit."
)
GAP = 0.2
"""A pair of layers is informative where the self-stitch is right this much more often than the controls."""
SHARED, PARTLY = 0.8, 0.25
"""How far from the controls to the self-stitch a stitch must get to speak for shared variables, for some of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Direction:
    """One model driven by the other, at all pairs of hook points.

    Attributes:
        source, target: names of the models; source_points, target_points: their hook points.
        accuracy: [s, t] accuracy of the target; kept: [s, t] share of the variance of its centred logits.
        random: [t] accuracy driven by the source with fresh weights, from the layer that fits best: what looking
            values up gives. answer: [t] driven by the name of the right answer alone: what knowing the answer gives.
        ceiling: [t] accuracy driven by the target itself, through the same map and the same held-out values.
        clean: its accuracy without a map.
    """

    source: str
    target: str
    source_points: tuple[str, ...]
    target_points: tuple[str, ...]
    accuracy: Replicates
    kept: Replicates
    random: Replicates
    answer: Replicates
    ceiling: Replicates
    clean: Replicates

    @cached_property
    def floor(self) -> Replicates:
        """[t] the better control."""
        higher = np.asarray(self.random.value) >= np.asarray(self.answer.value)
        pick = [self.random[t] if up else self.answer[t] for t, up in enumerate(higher)]
        return Replicates.stack(pick)

    @cached_property
    def informative(self) -> Bool[np.ndarray, "s t"]:
        """Pairs at which success would say something: the target can be driven through such a map, yet neither by
        values looked up nor by the answer alone."""
        gap = self.ceiling - self.floor
        told = (np.asarray(gap.value) >= GAP) & (np.asarray(gap.interval()[0]) > 0)
        return np.broadcast_to(told, self.accuracy.shape).copy()

    @cached_property
    def transfer(self) -> Replicates:
        """[s, t] how far the accuracy gets from the better control (0) to the self-stitch (1); NaN where the pair is
        not informative."""
        spread = _over_sources(self.ceiling - self.floor, len(self.source_points))
        gained = self.accuracy - _over_sources(self.floor, len(self.source_points))
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(self.informative, gained.value / spread.value, np.nan)
            replicates = np.where(self.informative, gained.replicates / spread.replicates, np.nan)
            resolution = np.where(self.informative, gained.resolution / spread.value, 0.0)
        return Replicates(value, replicates, gained.kind, gained.n, resolution)

    @cached_property
    def p(self) -> Float[np.ndarray, "s t"]:
        """One-sided p of an accuracy no higher than the better control's, Holm over the informative pairs."""
        raw = np.asarray((self.accuracy - _over_sources(self.floor, len(self.source_points))).p_above(0.0))
        known = self.informative & np.isfinite(raw)
        out = np.full(raw.shape, np.nan)
        out[known] = holm(raw[known]) if known.any() else np.nan
        return out

    @cached_property
    def works(self) -> Bool[np.ndarray, "s t"]:
        """Pairs that are evidence of shared variables: beyond chance above the controls and near the self-stitch."""
        return self._gets(SHARED)

    @cached_property
    def works_partly(self) -> Bool[np.ndarray, "s t"]:
        """Pairs that are evidence that some variables are shared (those that work included)."""
        return self._gets(PARTLY)

    def _gets(self, share: float) -> Bool[np.ndarray, "s t"]:
        with np.errstate(invalid="ignore"):
            return (self.p < 0.05) & (np.asarray(self.transfer.value) >= share)

    @property
    def best(self) -> tuple[int, int] | None:
        """The informative pair at which the target is driven best; None where no pair is informative."""
        if not self.informative.any():
            return None
        s, t = np.unravel_index(int(np.nanargmax(self.transfer.value)), self.accuracy.shape)
        return int(s), int(t)

    @property
    def sentence(self) -> str:
        """What was found, and what it is worth."""
        if self.best is None:
            return (
                f"{self.source} drives {self.target}: no pair of layers is informative (the self-stitch is right "
                f"{np.max(self.ceiling.value):.2f} of the time at best, the controls {np.max(self.floor.value):.2f})"
            )
        s, t = self.best
        told = "evidence that some variables are shared" if self.works_partly[s, t] else "no evidence either way"
        told = "evidence of shared variables" if self.works[s, t] else told
        return (
            f"{self.source} at {self.source_points[s]} drives {self.target} at {self.target_points[t]}: right "
            f"{self.accuracy[s, t].value:.2f} of the time, self-stitch {self.ceiling[t].value:.2f}, controls "
            f"{self.floor[t].value:.2f}: {told}"
        )

    def measurements(self) -> list[Measurement]:
        """Accuracy (null: the better control) and variance kept of every pair; controls and ceiling by context."""
        rows = []
        for s, one in enumerate(self.source_points):
            for t, other in enumerate(self.target_points):
                reason = "" if self.informative[s, t] else "not informative: self-stitch and controls are too close"
                place = dict(model=self.target, model_b=self.source, hook_point=other, hook_point_b=one)
                accuracy = self.accuracy[s, t].estimate(
                    STITCHED, null=self.floor[t].value, p=self.p[s, t], reason=reason
                )
                rows.append(_row(STITCHED, accuracy, place, "driven"))
                rows.append(
                    _row(KEPT, self.kept[s, t].estimate(KEPT, reason=_undefined(self.kept[s, t])), place, "driven")
                )
        for name, values in (("fresh weights", self.random), ("answer alone", self.answer), ("itself", self.ceiling)):
            for t, point in enumerate(self.target_points):
                place = dict(model=self.target, model_b=self.source, hook_point=point)
                rows.append(_row(STITCHED, values[t].estimate(STITCHED), place, name))
        return rows


@dataclasses.dataclass(frozen=True, eq=False)
class Stitching:
    """Two models stitched both ways. ``holdout`` rows are rows of the task; ``passes`` is what it took."""

    forward: Direction
    backward: Direction
    holdout: Holdout
    passes: int
    notes: tuple[str, ...] = ()

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """A drives B, B drives A."""
        return self.forward, self.backward

    @property
    def sentence(self) -> str:
        return "; ".join([*(d.sentence for d in self.directions), self.holdout.sentence, *self.notes]) + ". " + MEANING

    def measurements(self) -> list[Measurement]:
        return [row for direction in self.directions for row in direction.measurements()]

    def frame(self) -> pd.DataFrame:
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.frame().to_html(index=False, border=0)}"


class Scores:
    """Means over test items with jackknife replicates over their groups."""

    def __init__(self, groups: np.ndarray) -> None:
        _, code, counts = np.unique(groups, return_inverse=True, return_counts=True)
        self.n = len(counts)
        blocks = jackknife_blocks(groups) if self.n > 1 else np.zeros(len(code), np.int64)
        self._kept = np.arange(blocks.max() + 1)[:, None] != blocks
        self._resolution = 2 * float(((counts / counts.sum()) ** 2).sum())

    def mean(self, values: Float[np.ndarray, "*p n"]) -> Replicates:
        return Replicates(values.mean(axis=-1), self._without(values), "jackknife", self.n, self._resolution)

    def share(self, error: Float[np.ndarray, "*p n"], clean: OptionLogits) -> Replicates:
        """1 less the mean squared error over the variance of the clean logits."""

        def spread(kept: np.ndarray) -> float:
            values = clean.values[kept]
            some = values[:, ~np.isnan(values).all(axis=0)]
            return float(np.nansum((some - np.nanmean(some, axis=0)) ** 2)) / len(values)

        everything = np.ones(error.shape[-1], bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = 1 - error.mean(axis=-1) / spread(everything)
            own = np.array([spread(kept) for kept in self._kept]).reshape(-1, *[1] * (error.ndim - 1))
            replicates = 1 - self._without(error) / own
        bad = ~np.isfinite(value)
        value, replicates = np.where(bad, np.nan, value), np.where(bad, np.nan, replicates)
        return Replicates(value, replicates, "jackknife", self.n)

    def _without(self, values: np.ndarray) -> np.ndarray:
        """[b, *p] means without each block; none where there is one group."""
        if len(self._kept) < 2:
            return np.empty((0, *values.shape[:-1]))
        return np.stack([values[..., kept].mean(axis=-1) for kept in self._kept])


def _over_sources(values: Replicates, n: int) -> Replicates:
    return Replicates.stack([values] * n)


def _undefined(values: Replicates) -> str:
    return "" if np.isfinite(values.value) else "the answers do not vary over the test items"


def _row(metric: Metric, estimate: Estimate, place: dict[str, str], context: str) -> Measurement:
    return Measurement(metric=metric.name, family=metric.family, estimate=estimate, context=context, **place)
