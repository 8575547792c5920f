"""Subject: one model made ready for interventions on a sample of items; what each hook point does to its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mechdecouple import interventions, stats
from mechdecouple.activations import Activations
from mechdecouple.behavior import Answers, prepare
from mechdecouple.behavior.answers import LossUnit
from mechdecouple.behavior.options import Options, encode_options
from mechdecouple.compare.config import CompareConfig
from mechdecouple.extract.pick import picked_tokens
from mechdecouple.models import Batch, Edit, Encoded, HookedModel, collate, encode
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


def gradients(subject: Subject, hook_point: str, limit: int = 256, n_outputs: int = 4) -> np.ndarray:
    """Gradients of the option-centred logits at a hook point [n, r, d], on up to ``limit`` items.

    A logit carries an arbitrary constant per item, so logits are centred over the options first (over the classes, or
    the vocabulary, where the task has no options). With more than ``n_outputs`` of them, r random orthogonal contrasts
    of the centred logits stand for all.
    """
    n = min(limit, len(subject.task))
    model, task = subject.model, subject.task
    options = None
    if subject.encoded is not None and task.choices is not None:
        options = encode_options(model, task, subject.encoded, chat=subject.chat)
    inputs = subject.encoded if subject.encoded is not None else task.inputs
    assert inputs is not None
    found = []
    for start in range(0, n, 64):
        items = np.arange(start, min(start + 64, n))
        batch = collate(inputs, items, model=model)
        held: dict[str, Tensor] = {}

        def hold(x: Tensor, _: Batch, held: dict[str, Tensor] = held) -> Tensor:
            held["x"] = x.detach().requires_grad_(True)
            return held["x"]

        logits = model.forward(batch, edits={hook_point: hold}).logits
        assert logits is not None
        if options is not None:
            logits = _option_logits(logits, options, items)
        elif subject.encoded is not None:
            logits = logits[torch.arange(len(items)), torch.as_tensor(subject.encoded.last()[items])]
        outputs = _contrasts(logits, n_outputs)
        rows = []
        for k in range(outputs.shape[1]):
            (gradient,) = torch.autograd.grad(outputs[:, k].sum(), held["x"], retain_graph=True)
            rows.append(_at(gradient, None if subject.where is None else subject.where[items], batch))
        found.append(torch.stack(rows, dim=1).double().cpu().numpy())
    return np.concatenate(found)


def _option_logits(logits: Tensor, options: Options, items: np.ndarray) -> Tensor:
    """Logits of each item's options' first tokens [b, m]; items with fewer options repeat their first."""
    width = max(len(options.tokens[i]) for i in items)
    first = [[tokens[0] for tokens in options.tokens[i]] for i in items]
    ids = torch.tensor([f + f[:1] * (width - len(f)) for f in first], device=logits.device)
    at = torch.as_tensor(options.at[items], device=logits.device)
    return logits[torch.arange(len(items), device=logits.device), at].gather(1, ids)


def _contrasts(logits: Tensor, n_outputs: int) -> Tensor:
    centred = logits - logits.mean(dim=1, keepdim=True)
    m = logits.shape[1]
    if m == 2:
        return centred[:, :1]
    if m <= n_outputs:
        return centred
    generator = torch.Generator().manual_seed(0)
    mix = torch.linalg.qr(torch.randn(m, n_outputs, generator=generator))[0].to(logits)
    return centred @ mix


def _at(gradient: Tensor, where: np.ndarray | None, batch: Batch) -> Tensor:
    if batch.mask is None:
        return gradient.flatten(1)
    if where is None:
        return (gradient * batch.mask[..., None]).flatten(2).sum(dim=1)
    return gradient.flatten(2)[
        torch.arange(len(where), device=gradient.device), torch.as_tensor(where, device=gradient.device)
    ]
