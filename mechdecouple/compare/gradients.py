"""What the answers depend on: gradients of the option-centred logits at all hook points, from one pass a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mechdecouple.behavior.options import Options, encode_options
from mechdecouple.compare.subject import Subject
from mechdecouple.models import Batch, collate

LIMIT = 256
N_OUTPUTS = 4
_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients on some items of a subject.

    Attributes:
        items: [n] which of the subject's items.
        outputs: hook point -> [n, r, d] gradients of r contrasts of the centred logits, which span what the answers
            depend on.
        answer: hook point -> [n, d] gradient of the right answer's centred logit; None where there is no right answer.
    """

    items: np.ndarray
    outputs: Mapping[str, np.ndarray]
    answer: Mapping[str, np.ndarray] | None


def answer_gradients(subject: Subject, points: Sequence[str]) -> Gradients:
    """Gradients with respect to the activations at ``points``, where they are read, on at most ``LIMIT`` items.

    A logit carries an arbitrary constant per item, so logits are centred over the options first (over the classes, or
    the vocabulary, where the task has no options). With more than ``N_OUTPUTS`` of them, random orthogonal contrasts
    of the centred logits stand for all.
    """
    task, model = subject.task, subject.model
    items = np.unique(np.linspace(0, len(task) - 1, min(LIMIT, len(task))).round().astype(int))
    options = None
    if subject.encoded is not None and task.choices is not None:
        options = encode_options(model, task, subject.encoded, chat=subject.chat)
    inputs = subject.encoded if subject.encoded is not None else task.inputs
    assert inputs is not None
    right = _right(subject, options)
    outputs: dict[str, list[np.ndarray]] = {point: [] for point in points}
    answer: dict[str, list[np.ndarray]] = {point: [] for point in points}
    for start in range(0, len(items), _BATCH):
        some = items[start : start + _BATCH]
        batch = collate(inputs, some, model=model)
        held: dict[str, Tensor] = {}

        def hold(point: str, held: dict[str, Tensor] = held):
            def edit(x: Tensor, _: Batch) -> Tensor:
                held[point] = x if x.requires_grad else x.detach().requires_grad_(True)
                return held[point]

            return edit

        logits = model.forward(batch, edits={point: hold(point) for point in points}).logits
        assert logits is not None
        if options is not None:
            logits = _option_logits(logits, options, some)
        elif subject.encoded is not None:
            logits = logits[torch.arange(len(some)), torch.as_tensor(subject.encoded.last()[some])]
        centred = logits - logits.mean(dim=1, keepdim=True)
        columns = list(_contrasts(centred).unbind(dim=1))
        if right is not None:
            columns.append(centred.gather(1, torch.as_tensor(right[some], device=centred.device)[:, None])[:, 0])
        found = [_gradients(column.sum(), held, points, subject, some, batch) for column in columns]
        for point in points:
            rows = [one[point] for one in found]
            if right is not None:
                answer[point].append(rows.pop())
            outputs[point].append(np.stack(rows, axis=1))
    return Gradients(
        items,
        {point: np.concatenate(parts) for point, parts in outputs.items()},
        None if right is None else {point: np.concatenate(parts) for point, parts in answer.items()},
    )


def _gradients(
    output: Tensor, held: Mapping[str, Tensor], points: Sequence[str], subject: Subject, items: np.ndarray, batch: Batch
) -> dict[str, np.ndarray]:
    """[b, d] gradient of one output at each hook point; zero where nothing reads it."""
    where = None if subject.where is None else subject.where[items]
    gradients = torch.autograd.grad(output, [held[p] for p in points], retain_graph=True, allow_unused=True)
    return {
        point: _at(torch.zeros_like(held[point]) if g is None else g, where, batch).double().cpu().numpy()
        for point, g in zip(points, gradients, strict=True)
    }


def _right(subject: Subject, options: Options | None) -> np.ndarray | None:
    """[n] index of the right option or class; None where answers are not among given ones."""
    task = subject.task
    if task.answers is None:
        return None
    if task.performance == "class":
        return np.asarray(task.answers, dtype=np.int64)
    if options is None or task.choices is None:
        return None
    return np.array([c.index(a) for c, a in zip(task.choices, task.answers.tolist(), strict=True)])


def _option_logits(logits: Tensor, options: Options, items: np.ndarray) -> Tensor:
    """Logits of each item's options' first tokens [b, m]; items with fewer options repeat their first."""
    width = max(len(options.tokens[i]) for i in items)
    first = [[tokens[0] for tokens in options.tokens[i]] for i in items]
    ids = torch.tensor([f + f[:1] * (width - len(f)) for f in first], device=logits.device)
    at = torch.as_tensor(options.at[items], device=logits.device)
    return logits[torch.arange(len(items), device=logits.device), at].gather(1, ids)


def _contrasts(centred: Tensor) -> Tensor:
    m = centred.shape[1]
    if m == 2:
        return centred[:, :1]
    if m <= N_OUTPUTS:
        return centred
    generator = torch.Generator().manual_seed(0)
    mix = torch.linalg.qr(torch.randn(m, N_OUTPUTS, generator=generator))[0].to(centred)
    return centred @ mix


def _at(gradient: Tensor, where: np.ndarray | None, batch: Batch) -> Tensor:
    if batch.mask is None:
        return gradient.flatten(1)
    if where is None:
        return (gradient * batch.mask[..., None].to(gradient.device)).flatten(2).sum(dim=1)
    return gradient.flatten(2)[
        torch.arange(len(where), device=gradient.device), torch.as_tensor(where, device=gradient.device)
    ]
