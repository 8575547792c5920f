"""What a model asserts when activations at one token of each item are changed; items split into fit and held-out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from mechdecouple import stats
from mechdecouple.behavior import Answers, EditsFor, prepare
from mechdecouple.errors import InputError
from mechdecouple.extract.pick import POSITIONS, check_position, picked_tokens
from mechdecouple.interventions import splice
from mechdecouple.models import Batch, Edit, HookedModel, encode
from mechdecouple.probes import grouped_folds
from mechdecouple.probes.mass_mean import mass_mean
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, weighted_auroc
from mechdecouple.tasks import Task

Change = Callable[[Tensor, Int[np.ndarray, " b"]], Tensor]
"""New activations [b, d] of those given and the items [b] that they belong to."""

DECODABLE = Metric(
    name="decodable_auroc",
    family="causal",
    title="AUROC of the truth at the tested place",
    measures="how well the truth of held-out statements can be read linearly from the activations that are changed",
    range="[0, 1]",
    invariances="invertible affine maps of the activations, up to shrinkage",
    null="0.5",
)
ELSEWHERE = (
    "The answer rests on something else: the statement itself where the model can read it, another token, layer or "
    "direction."
)
READABLE = 0.6
"""The truth counts as decodable where the interval of its AUROC lies above this: a hint of it is not worth the word."""
ALPHA = 0.05
_MIN_GROUPS = 10
_BLOCKS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """A model on the items of a task, made ready to be read under changes.

    Attributes:
        where: [n] token that is read and changed; None for the last of each prompt, and for tensor inputs.
    """

    model: HookedModel
    task: Task
    where: Int[np.ndarray, " n"] | None
    read: Callable[[EditsFor | None], Answers]

    @classmethod
    def of(cls, model: HookedModel, task: Task, position: str = "last", chat: bool = False) -> Reader:
        """Make a model ready; ``position`` is ``"last"`` or a ``position_*`` column.

        Raises:
            InputError: a position that is not one token of each item.
            ModelError, TaskError: the task does not fit the model.
        """
        check_position(task, position)
        if position != "last" and (position in POSITIONS or model.input_kind == "array"):
            wanted = "'last', the whole input" if model.input_kind == "array" else "'last' or a position_* column"
            raise InputError(f"position {position!r} is not one place of each item; expected {wanted}")
        encoded = encode(model, task, chat=chat) if model.input_kind == "tokens" else None
        where = None
        if encoded is not None and position != "last":
            where = np.concatenate(picked_tokens(encoded, task, position, special=False))
        return cls(model, task, where, prepare(model, task, chat=chat, encoded=encoded))

    @cached_property
    def clean(self) -> Float[np.ndarray, " n"]:
        return self.affirmed({})

    def affirmed(self, changes: Mapping[str, Change]) -> Float[np.ndarray, " n"]:
        """Probability [n] of asserting each statement under changes by hook point; NaN where none can be read."""
        return affirmed(self.read(self._edits(changes, {}) if changes else None))

    def activations(
        self, hook_points: Sequence[str], changes: Mapping[str, Change] | None = None
    ) -> dict[str, Float[np.ndarray, "n d"]]:
        """Activations at each hook point, before the change that is made there."""
        kept: dict[str, np.ndarray] = {}
        nothing: dict[str, Change] = {point: lambda x, _: x for point in hook_points if point not in (changes or {})}
        keep: dict[str, dict[str, np.ndarray]] = {point: kept for point in hook_points}
        self.read(self._edits({**nothing, **(changes or {})}, keep))
        return kept

    def _edits(self, changes: Mapping[str, Change], keep: Mapping[str, dict[str, np.ndarray]]) -> EditsFor:
        def edits(_batch: Batch, items: np.ndarray, last: np.ndarray | None) -> Mapping[str, Edit]:
            at = last if self.where is None else self.where[items]
            return {point: self._edit(point, change, items, at, keep.get(point)) for point, change in changes.items()}

        return edits

    def _edit(
        self,
        point: str,
        change: Change,
        items: np.ndarray,
        at: np.ndarray | None,
        kept: dict[str, np.ndarray] | None,
    ) -> Edit:
        def of(x: Tensor) -> Tensor:
            flat = x.reshape(len(x), -1)
            if kept is not None:
                if point not in kept:
                    kept[point] = np.full((len(self.task), flat.shape[1]), np.nan)
                kept[point][items] = flat.double().cpu().numpy()
            return change(flat, items).to(x.dtype).reshape(x.shape)

        return splice(of, at)


@dataclasses.dataclass(frozen=True, eq=False)
class Halves:
    """One model on two halves of the groups: what is fitted on the honest items of one is tried on the other.

    Intervals of what is tried hold what was fitted as it is.

    Attributes:
        fit, held: readers of either half, statements of known truth only.
        reason: why nothing can be tried; empty otherwise.
    """

    fit: Reader
    held: Reader
    reason: str = ""

    @classmethod
    def of(
        cls, model: HookedModel, task: Task, position: str, scored: ArrayLike | None, chat: bool, seed: int
    ) -> Halves:
        truth = np.full(len(task), np.nan) if task.truth is None else task.truth
        known = ~np.isnan(truth) & ~task.shift_mask
        honest = known & task.honest_mask
        mask = honest if scored is None else np.asarray(scored, bool)
        if mask.shape != known.shape:
            raise InputError(f"scored has {mask.size} entries, task {task.name!r} has {len(task)} items: one an item")
        wanted = known & mask
        reason = _too_few(task.groups[honest], truth[honest]) or _too_few(task.groups[wanted], truth[wanted])
        if reason:
            whole = Reader.of(model, task, position, chat)
            return cls(whole, whole, reason)
        side, used = np.zeros(len(task), np.int64), honest | wanted
        side[used] = grouped_folds(truth[used], task.groups[used], 2, seed)
        fit, held = np.flatnonzero(honest & (side == 0)), np.flatnonzero(wanted & (side == 1))
        first, second = (Reader.of(model, task.select(rows), position, chat) for rows in (fit, held))
        return cls(first, second, _silent(second))

    @cached_property
    def truth(self) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " n"]]:
        """0 or 1 of the items of either half."""
        fit, held = self.fit.task.truth, self.held.task.truth
        assert fit is not None and held is not None
        return fit.astype(np.int64), held.astype(np.int64)

    @cached_property
    def blocks(self) -> Int[np.ndarray, " n"]:
        return stats.jackknife_blocks(self.held.task.groups, _BLOCKS)

    def replicates(self, statistic: Callable[[np.ndarray], float | np.ndarray]) -> Replicates:
        """A statistic of held-out rows with its jackknife replicates."""
        return stats.jackknife(statistic, self.blocks, len(np.unique(self.held.task.groups)))

    def decodable(self, fit: Float[np.ndarray, "f d"], held: Float[np.ndarray, "n d"]) -> Replicates:
        """AUROC of a linear discriminant of the fit half on the other."""
        weights, bias = mass_mean(fit, self.truth[0], "ledoit-wolf")
        return self.auroc(held @ weights + bias)

    def auroc(self, score: Float[np.ndarray, " n"]) -> Replicates:
        return self.replicates(lambda rows: float(weighted_auroc(score[rows], self.truth[1][rows])))


def affirmed(answers: Answers) -> Float[np.ndarray, " n"]:
    """Probability of asserting each statement: of the affirming choice; of class 1, where there are two classes."""
    prob = answers.prob
    if answers.performance == "class" and prob is not None and prob.shape[1] == 2:
        return prob[:, 1]
    return answers.expressed


def accuracy(asserted: Float[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 where the likelier claim is right, 0 where it is wrong, a half where neither is likelier."""
    return np.where(asserted == 0.5, 0.5, (asserted > 0.5) == (truth == 1))


def _too_few(groups: np.ndarray, truth: np.ndarray) -> str:
    for value, word in ((1, "true"), (0, "false")):
        count = len(np.unique(groups[truth == value]))
        if count < _MIN_GROUPS:
            return f"only {count} groups hold a {word} statement to work on; at least {_MIN_GROUPS} are needed"
    return ""


def _silent(reader: Reader) -> str:
    answers = reader.read(None)
    bad = np.isnan(affirmed(answers))
    if not bad.any():
        return ""
    return answers.reason or answers.expressed_reason or f"{int(bad.sum())} items do not offer the affirming choice"
