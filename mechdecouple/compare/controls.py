"""Controls of what probes find: would they find it in labels that mean nothing, in no training, in the embedding?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from mechdecouple import stats
from mechdecouple.compare.side import Pair, Side
from mechdecouple.errors import InputError
from mechdecouple.extract import extract
from mechdecouple.models import untrained
from mechdecouple.probes import (
    DESCRIPTION_LENGTH,
    PROBE_COMPRESSION,
    PROBE_SELECTIVITY,
    cross_validated,
    description_length,
    selectivity,
)
from mechdecouple.progress import bar
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates

PROBE_ACCURACY_HELD_OUT = Metric(
    name="probe_accuracy_held_out",
    family="controls",
    title="Held-out AUROC of a probe",
    measures="AUROC of a concept's logistic probe on groups that it was not fitted on",
    range="[0, 1]",
    invariances="translation, scale of each dimension",
    null=".5: the concept cannot be read linearly",
    assumes="one read-out for all contexts; the interval holds the probes as fitted",
    source="Alain & Bengio, arXiv 1610.01644",
)
PROBE_ACCURACY_UNTRAINED = dataclasses.replace(
    PROBE_ACCURACY_HELD_OUT,
    name="probe_accuracy_untrained",
    title="Held-out AUROC, untrained copy",
    measures="the same AUROC at the same hook point of the same architecture with fresh weights",
)
PROBE_ACCURACY_EMBEDDING = dataclasses.replace(
    PROBE_ACCURACY_HELD_OUT,
    name="probe_accuracy_embedding",
    title="Held-out AUROC, first hook point",
    measures="the same AUROC at the model's first hook point, before any layer has worked on the input",
)
PROBE_ACCURACY_ABOVE = dataclasses.replace(
    PROBE_ACCURACY_HELD_OUT,
    name="probe_accuracy_above_baseline",
    title="Held-out AUROC above its baselines",
    measures="held-out AUROC minus the larger of those in the untrained copy and at the first hook point",
    range="[-1, 1]",
    null="0: training and layers have added nothing that a linear probe can read",
)

POINTS = 5
DRAWS = 5
ORDERS = 2
"""Hook points looked at, control tasks drawn, and orders of the online code."""
_HELD = "the interval holds the probes as fitted"


def control_rows(pair: Pair, progress: bool) -> list[Measurement]:
    """The controls of each side's probes. They describe what its probe accuracy means and are never flagged."""
    sides = bar((pair.a, pair.b), progress=progress, desc="controls", leave=False)
    return [row for side in sides for row in control_measurements(side)]


def control_measurements(side: Side) -> list[Measurement]:
    """Every control of every concept, at up to ``POINTS`` hook points, on a sample of whole groups."""
    if not side.labels.concepts:
        return []
    return [
        Measurement(
            metric=metric.name,
            family=metric.family,
            estimate=estimate,
            model=side.name,
            hook_point=point,
            position=side.acts.position,
            concept=concept,
        )
        for metric, point, concept, estimate in _Controls(side)
    ]


class _Controls:
    """One side's sample, and what is measured on it: (metric, hook point, concept, estimate)."""

    def __init__(self, side: Side) -> None:
        self.side = side
        keep = np.unique(np.linspace(0, len(side.points) - 1, min(POINTS, len(side.points))).round().astype(int))
        self.points = [side.points[i] for i in keep]
        self.sample = _whole_groups(side.labels.groups, side.config.probe_items, side.config.seed)
        self.groups = side.labels.groups[self.sample]
        self.n_groups = len(np.unique(self.groups))
        self.concepts = {name: y[self.sample] for name, y in side.labels.concepts.items()}
        self.blocks = stats.jackknife_blocks(self.groups, side.config.blocks, side.config.seed)

    def __iter__(self) -> Iterator[tuple[Metric, str, str, Estimate]]:
        own = self.side.structural.select(self.sample)
        layers = [own[point] for point in self.points]
        yield from self._accuracies(layers)
        for point, X in zip(self.points, layers, strict=True):
            for concept, y in self.concepts.items():
                found = selectivity(X, y, self.groups, draws=DRAWS, seed=self.side.config.seed)
                yield PROBE_SELECTIVITY, point, concept, found.estimate(self.blocks, self.n_groups)
                for metric, estimate in self._lengths(X, y):
                    yield metric, point, concept, estimate

    def _accuracies(self, layers: Sequence[np.ndarray]) -> Iterator[tuple[Metric, str, str, Estimate]]:
        n, first = len(layers), self.side.model.layer_points[0]
        fresh, no_fresh = self._elsewhere("untrained", self.points)
        embedding = [layers[self.points.index(first)]] if first in self.points else None
        no_embedding = ""
        if embedding is None:
            embedding, no_embedding = self._elsewhere("own", [first])
        found, reason = self._aurocs([*layers, *(fresh or layers), *(embedding or layers[:1])])
        for c, concept in enumerate(self.concepts):
            for i, point in enumerate(self.points):
                places = (
                    (PROBE_ACCURACY_HELD_OUT, i, 0.5, reason),
                    (PROBE_ACCURACY_UNTRAINED, n + i, 0.5, reason or no_fresh),
                    (PROBE_ACCURACY_EMBEDDING, 2 * n, 0.5, reason or no_embedding),
                    (
                        PROBE_ACCURACY_ABOVE,
                        2 * n + 1 + i,
                        0.0,
                        reason or no_fresh or no_embedding or _own(point, first),
                    ),
                )
                for metric, at, null, why in places:
                    yield (
                        metric,
                        point,
                        concept,
                        _estimate(None if why or found is None else found[at, c], metric, null, why),
                    )

    def _aurocs(self, layers: Sequence[np.ndarray]) -> tuple[Replicates | None, str]:
        """AUROC of the model's layers, those of its untrained copy, the embedding, and what the first are above."""
        n = (len(layers) - 1) // 2
        try:
            fitted = cross_validated(
                layers, np.column_stack(list(self.concepts.values())), self.groups, seed=self.side.config.seed
            )
        except InputError as error:
            return None, str(error)

        def statistic(rows: np.ndarray) -> np.ndarray:
            auroc = fitted.auroc(rows)
            return np.concatenate([auroc, auroc[:n] - np.maximum(auroc[n : 2 * n], auroc[2 * n])])

        return stats.jackknife(statistic, self.blocks, self.n_groups), ""

    def _lengths(self, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[Metric, Estimate]]:
        code = description_length(X, y, self.groups, orders=ORDERS, seed=self.side.config.seed)
        if code.reason:
            yield from ((m, Estimate.undefined(code.reason)) for m in (DESCRIPTION_LENGTH, PROBE_COMPRESSION))
            return
        bits = stats.jackknife(code, self.blocks, self.n_groups).map(np.log)
        yield DESCRIPTION_LENGTH, _positive(bits, DESCRIPTION_LENGTH, 1 / code.base_compression)
        yield PROBE_COMPRESSION, _positive(-bits, PROBE_COMPRESSION, code.base_compression)

    def _elsewhere(self, which: str, points: Sequence[str]) -> tuple[list[np.ndarray] | None, str]:
        """Activations of the sampled rows at ``points`` of the model or its untrained copy, or why there are none."""
        side, config = self.side, self.side.config
        own = side.structural.select(self.sample)
        items = np.unique(own.items)
        try:
            model = untrained(side.model, config.seed) if which == "untrained" else side.model
            acts = extract(
                model,
                side.task.select(items),
                list(points),
                config.position,
                batch_tokens=config.batch_tokens,
                dtype=config.dtype,
                chat=config.chat,
                progress=False,
            )
            # Whole groups were drawn, so the items' rows are the sampled rows, in the same order.
            own.check_aligned(acts)
        except InputError as error:
            return None, str(error)
        return [acts[point] for point in points], ""


def _own(point: str, first: str) -> str:
    return "this hook point is the baseline itself" if point == first else ""


def _estimate(found: Replicates | None, metric: Metric, null: float, reason: str) -> Estimate:
    if found is None or not np.isfinite(found.value):
        return Estimate.undefined(reason or "a probe needs several groups of both classes", direction=metric.direction)
    return found.estimate(metric, null=null, reason=_HELD if np.isfinite(found.interval()[0]) else "")


def _positive(log: Replicates, metric: Metric, null: float) -> Estimate:
    """A positive quantity from replicates of its logarithm: the interval cannot reach zero."""
    found = _estimate(log, metric, float("nan"), "")
    value, low, high = (float(np.exp(x)) for x in (log.value, *log.interval()))
    return dataclasses.replace(found, value=value, low=low, high=high, null=null, method=f"{log.method}, of the log")


def _whole_groups(groups: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of groups drawn at random, as many as fit into ``most`` rows, in the order of the table."""
    if len(groups) <= most:
        return np.arange(len(groups))
    codes = np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
    fits = np.cumsum(np.bincount(codes)[order]) <= most
    # However large groups are, a handful is needed to hold any out.
    chosen = order[: max(int(fits.sum()), 10)]
    return np.flatnonzero(np.isin(codes, chosen))
