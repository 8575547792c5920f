"""Belief trajectory: layer by layer, the truth that a model represents and the truth that it would say by then."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechdecouple import stats
from mechdecouple.beliefs._curves import auroc_replicates, believed
from mechdecouple.beliefs.lens import logit_lens
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.extract import extract
from mechdecouple.models import HookedModel
from mechdecouple.probes import grouped_folds
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.tasks import Task

TRAJECTORY_GAP = Metric(
    name="trajectory_gap",
    family="beliefs",
    title="represented − expressed AUROC by layer",
    measures="truth that can be read from a layer and would not be said if the model answered from it",
    range="[-1, 1]",
    direction="lower",
    null="0",
    assumes="the last layer's head reads earlier layers too (logit lens); early layers may hold what it cannot read",
    source="nostalgebraist 2020; limits 2303.08112",
)
REACHED = 0.75
"""AUROC from which the truth counts as read, or said; below 1 less this, as said the other way round."""

_FOLDS, _BLOCKS, _MIN_GROUPS = 5, 20, 10


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory:
    """One model's truth by layer, as AUROC on statements of known truth.

    Attributes:
        hook_points: the layers; depth: [l] of each, 0 to 1.
        positions: where beliefs are read, in the order given; conditions: levels, the honest one first.
        represented: (position, condition) -> AUROC [l] of a probe fitted on honest statements of other groups.
        expressed: condition -> AUROC [l] of the probability of asserting each statement, were the layer the last.
        reason: why nothing is expressed (then ``expressed`` is empty); empty otherwise.
        ids: of the statements, in order.
    """

    model: str
    hook_points: tuple[str, ...]
    depth: Float[np.ndarray, " l"]
    positions: tuple[str, ...]
    conditions: tuple[str, ...]
    represented: Mapping[tuple[str, str], Replicates]
    expressed: Mapping[str, Replicates]
    reason: str
    ids: np.ndarray

    def gap(self, condition: str | None = None, position: str | None = None) -> Replicates:
        """Represented less expressed AUROC of each layer [l]; of the honest condition and first position by default.

        Raises:
            InputError: nothing is expressed, or no such condition or position.
        """
        condition = self.conditions[0] if condition is None else condition
        position = self.positions[0] if position is None else position
        if self.reason:
            raise InputError(f"{self.model} has no gap by layer: {self.reason}")
        if (position, condition) not in self.represented:
            known = "; ".join(f"{p}, {c or 'all items'}" for p, c in self.represented)
            raise InputError(f"nothing was read at {position}, {condition}; there are {known}")
        return self.represented[position, condition] - self.expressed[condition]

    def measurements(self) -> list[Measurement]:
        """The gap of every layer, position and condition; none where nothing is expressed."""
        if self.reason:
            return []
        return [
            _row(gap.estimate(TRAJECTORY_GAP, null=0.0, p=gap.p_differs(0.0)), self, layer, position, condition)
            for position, condition in self.represented
            for layer, gap in enumerate(self.gap(condition, position))
        ]

    @property
    def sentence(self) -> str:
        """For each condition: from which layer on the truth is read at each position, and whether it is said."""
        return " ".join(self._told(condition) for condition in self.conditions)

    def frame(self) -> pd.DataFrame:
        """One row a layer and curve: channel (represented, expressed), position, condition, value, low, high."""
        curves = [("represented", p, c, found) for (p, c), found in self.represented.items()]
        curves += [("expressed", "", c, found) for c, found in self.expressed.items()]
        parts = []
        for channel, position, condition, found in curves:
            low, high = found.interval()
            parts.append(
                pd.DataFrame(
                    {
                        "model": self.model,
                        "channel": channel,
                        "position": position,
                        "condition": condition,
                        "hook_point": self.hook_points,
                        "depth": self.depth,
                        "value": found.value,
                        "low": np.maximum(low, 0),
                        "high": np.minimum(high, 1),
                        "n": found.n,
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.frame().to_html(index=False, border=0)}"

    def _told(self, condition: str) -> str:
        stages = [self._read(p, self.represented[p, condition].value) for p in self.positions]
        if self.reason:
            stages.append(f"nothing is expressed ({self.reason})")
        else:
            stages.append(_said(self.expressed[condition].value, self.hook_points))
        return f"{self.model}{', ' + condition if condition else ''}: {', '.join(stages)}."

    def _read(self, position: str, curve: Float[np.ndarray, " l"]) -> str:
        place = position.removeprefix("position_")
        if np.isnan(curve).any():
            return f"nothing to read at {place}: these statements are all true or all false"
        if curve.max() < REACHED:
            return f"not read at {place} (AUROC at most {curve.max():.2f})"
        first = int(np.argmax(curve >= REACHED))
        return f"read at {place} from {self.hook_points[first]} on (AUROC up to {curve.max():.2f})"


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectories:
    """The trajectories of two models on the same statements."""

    a: Trajectory
    b: Trajectory

    def difference(self, condition: str | None = None, position: str | None = None) -> Replicates:
        """Gap of A less gap of B at each layer [l], paired by group.

        Raises:
            MismatchError: the models differ in their number of layers: there are no layers to pair.
            InputError: as ``Trajectory.gap``.
        """
        layers = len(self.a.hook_points), len(self.b.hook_points)
        if layers[0] != layers[1]:
            raise MismatchError(f"{self.a.model} has {layers[0]} layers, {self.b.model} {layers[1]}: none to pair")
        return self.a.gap(condition, position) - self.b.gap(condition, position)

    def measurements(self) -> list[Measurement]:
        """The gaps of both, and where their layers pair, gap of A less gap of B."""
        out = [*self.a.measurements(), *self.b.measurements()]
        if self.a.reason or self.b.reason or len(self.a.hook_points) != len(self.b.hook_points):
            return out
        metric = TRAJECTORY_GAP.contrasted()
        for position, condition in self.a.represented:
            for layer, paired in enumerate(self.difference(condition, position)):
                estimate = paired.estimate(metric, null=0.0, p=paired.p_differs(0.0))
                row = _row(estimate, self.a, layer, position, condition)
                other = self.b.hook_points[layer]
                out.append(dataclasses.replace(row, model_b=self.b.model, hook_point_b=other))
        return out

    @property
    def sentence(self) -> str:
        """What each of them reads and says."""
        return f"{self.a.sentence} {self.b.sentence}"

    def frame(self) -> pd.DataFrame:
        """The tables of both, one under the other."""
        return pd.concat([self.a.frame(), self.b.frame()], ignore_index=True)

    def _repr_html_(self) -> str:
        return self.a._repr_html_() + self.b._repr_html_()


def trajectories(
    a: HookedModel, b: HookedModel, task: Task, positions: Sequence[str] = ("last",), *, chat: bool = False,
    seed: int = 0,
) -> Trajectories:  # fmt: skip
    """Both models' trajectories, on one resampling plan; see `trajectory`."""
    return Trajectories(*(trajectory(model, task, positions, chat=chat, seed=seed) for model in (a, b)))


def trajectory(
    model: HookedModel,
    task: Task,
    positions: Sequence[str] = ("last",),
    *,
    hook_points: Sequence[str] | None = None,
    chat: bool = False,
    seed: int = 0,
) -> Trajectory:
    """Where on its way through the layers the truth is known, and where it would be said.

    Represented: at each layer and position a linear discriminant with Ledoit–Wolf shrinkage, fitted on honest
    statements of other groups (five folds) and read on statements of every condition. Expressed: the model's own answer
    with the last layer's residual stream replaced by that layer's (logit lens), at the place where it answers.
    Intervals hold the probes as they are: they do not include what other fitted groups would change.

    Args:
        positions: where to read beliefs, e.g. ``("position_statement", "last")`` to see the truth travel from the
            statement to the answer; ``"mean"`` is possible, ``"all"`` is not.
        hook_points: layers; the embedding and the residual stream after each layer by default.

    Raises:
        InputError: no truth, too few groups, ``"all"``, or no position.
        ModelError, TaskError: unknown hook points, or a task that does not fit the model.
    """
    points = model.layer_points if hook_points is None else tuple(hook_points)
    model.check_hook_points(points)
    if not points or not positions or "all" in positions:
        raise InputError(
            f"positions {tuple(positions)} at {len(points)} layers: expected one place of each item, such as 'last'"
        )
    truth = np.full(len(task), np.nan) if task.truth is None else task.truth
    known = np.flatnonzero(~np.isnan(truth) & ~task.shift_mask)
    honest, t, group = task.honest_mask[known], truth[known].astype(np.int64), task.groups[known]
    for value, word in ((1, "true"), (0, "false")):
        count = len(np.unique(group[honest & (t == value)]))
        if count < _MIN_GROUPS:
            raise InputError(
                f"only {count} groups of task {task.name!r} hold an honest {word} statement; a probe needs "
                f"{_MIN_GROUPS}"
            )
    part = task.select(known)
    level = np.full(len(known), "") if part.condition is None else part.condition
    first = part.honest or ""
    conditions = (first, *(str(c) for c in np.unique(level) if c != first))
    fold = grouped_folds(t, group, _FOLDS, seed)
    blocks = stats.jackknife_blocks(group, _BLOCKS, seed)

    def curves(scores: Sequence[Float[np.ndarray, " n"]]) -> dict[str, Replicates]:
        return {c: auroc_replicates(np.stack(scores), t, blocks, level == c, group) for c in conditions}

    represented = {}
    for position in positions:
        acts = extract(model, part, points, position, chat=chat, progress=False)
        read = [believed(acts[point], t, group, honest, fold, seed) for point in points]
        represented |= {(position, c): found for c, found in curves(read).items()}
    said, reason = logit_lens(model, part, points, chat=chat)
    return Trajectory(
        model=model.name,
        hook_points=points,
        depth=np.array([model.depth(point) for point in points]),
        positions=tuple(positions),
        conditions=conditions,
        represented=represented,
        expressed={} if reason else curves([said[point] for point in points]),
        reason=reason,
        ids=part.ids,
    )


def _row(estimate: Estimate, of: Trajectory, layer: int, position: str, condition: str) -> Measurement:
    return Measurement(
        metric=TRAJECTORY_GAP.name, family=TRAJECTORY_GAP.family, estimate=estimate, model=of.model,
        hook_point=of.hook_points[layer], position=position, context=condition,
    )  # fmt: skip


def _said(curve: Float[np.ndarray, " l"], hook_points: Sequence[str]) -> str:
    end = float(curve[-1])
    if np.isnan(end):
        return "nothing to say"
    if end >= REACHED:
        return f"said from {hook_points[int(np.argmax(curve >= REACHED))]} on (AUROC {end:.2f} at the end)"
    if end <= 1 - REACHED:
        return f"said the other way round (AUROC {end:.2f} at the end)"
    return f"not said (AUROC {end:.2f} at the end)"
