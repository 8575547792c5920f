"""Subject: one model made ready for interventions on a sample of items; what each hook point does to its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import torch

from mechdecouple import interventions, stats
from mechdecouple.activations import Activations
from mechdecouple.behavior import Answers, prepare
from mechdecouple.behavior.answers import LossUnit
from mechdecouple.compare.config import CompareConfig
from mechdecouple.extract.pick import picked_tokens
from mechdecouple.models import Batch, Edit, Encoded, HookedModel, encode
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates
from mechdecouple.tasks import Task

ABLATION_EFFECT = Metric(
    name="ablation_effect",
    family="causal",
    title="effect of resample ablation",
    range="[0, 1], or the unit of performance",
    measures="how far answers move when the activations read here are those of another item: total variation "
    "distance between the two distributions over options (change of the score where there are no options)",
    null="0 at a hook point that nothing reads",
    source="arXiv:2404.15255",
)
INERT = 0.01
"""A hook point whose ablation moves answers by less than this is inert and kept out of verdicts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model, a sample of items, and where on each item it is intervened on.

    Attributes:
        acts: the model's activations on the sample; a row an item.
        where: token index of each item [n]; None for every token (positions ``mean`` and ``all``, and tensor inputs).
        blocks: jackknife blocks of the items [n].
    """

    model: HookedModel
    task: Task
    acts: Activations
    where: np.ndarray | None
    blocks: np.ndarray
    groups: np.ndarray
    encoded: Encoded | None
    read: Callable[..., Answers]
    chat: bool

    @cached_property
    def baseline(self) -> Answers:
        return self.read(None)

    def answers(self, hook_point: str, make: Callable[[np.ndarray, np.ndarray | None], Edit]) -> Answers:
        """The answers under ``make(items of the batch, their token positions)`` at one hook point."""

        def edits(_batch: Batch, items: np.ndarray, _last: np.ndarray | None) -> Mapping[str, Edit]:
            return {hook_point: make(items, None if self.where is None else self.where[items])}

        return self.read(edits)

    def replicates(self, per_item: np.ndarray) -> Replicates:
        """The mean over items with its jackknife replicates; an array [n, *s] gives one mean a column."""
        return stats.jackknife(lambda rows: per_item[rows].mean(axis=0), self.blocks, len(np.unique(self.groups)))

    def ablation_effect(self, hook_point: str, seed: int) -> Replicates:
        """Resample ablation: every item gets another item's activations (their mean, where all tokens are read)."""
        values = self.acts[hook_point]
        donor = np.random.default_rng(seed).permutation(len(values))
        mean = values.mean(axis=0)

        def make(items: np.ndarray, positions: np.ndarray | None) -> Edit:
            if self.model.input_kind == "array":
                return lambda x, _: torch.as_tensor(values[donor[items]], device=x.device).reshape(x.shape).to(x.dtype)
            if positions is None:
                return interventions.ablate("mean", torch.as_tensor(mean))
            return interventions.ablate("resample", torch.as_tensor(values[donor[items]]), positions)

        return self.replicates(moved(self.baseline, self.answers(hook_point, make)))


def moved(before: Answers, after: Answers) -> np.ndarray:
    """How far each item's answer moved [n]."""
    if before.prob is not None and after.prob is not None:
        return 0.5 * np.abs(before.prob - after.prob).sum(axis=1)
    return np.abs(before.score - after.score)


def make_subject(
    model: HookedModel, task: Task, rows: np.ndarray, acts: Activations, config: CompareConfig, loss_unit: LossUnit
) -> Subject:
    """A subject on the items ``rows`` of ``task``; ``acts`` are the model's activations on the whole task."""
    sample = task.select(rows)
    encoded = encode(model, sample, chat=config.chat) if model.input_kind == "tokens" else None
    where = None
    if encoded is not None and config.position not in ("mean", "all"):
        where = np.array([tokens[0] for tokens in picked_tokens(encoded, sample, config.position, special=False)])
    read = prepare(
        model,
        sample,
        chat=config.chat,
        length_normalise=config.length_normalise,
        max_new_tokens=config.max_new_tokens,
        loss_unit=loss_unit,
        batch_tokens=config.batch_tokens,
        encoded=encoded,
    )
    kept = np.isin(acts.items, rows) if acts.position == "all" else rows
    return Subject(
        model,
        sample,
        acts.select(kept),
        where,
        stats.jackknife_blocks(sample.groups, config.blocks, config.seed),
        sample.groups,
        encoded,
        read,
        config.chat,
    )
