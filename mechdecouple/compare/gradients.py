"""What the answers depend on: gradients of the option-centred logits at all hook points, from one pass a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mechdecouple.behavior.differentiable import DifferentiableLogits
from mechdecouple.compare.subject import Subject
from mechdecouple.models import Batch

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
    task = subject.task
    items = np.unique(np.linspace(0, len(task) - 1, min(LIMIT, len(task))).round().astype(int))
    read = DifferentiableLogits(subject.model, task, subject.encoded, chat=subject.chat)
    right = read.right
    outputs: dict[str, list[np.ndarray]] = {point: [] for point in points}
    answer: dict[str, list[np.ndarray]] = {point: [] for point in points}
    for start in range(0, len(items), _BATCH):
        some = items[start : start + _BATCH]
        batch = read.batch(some)
        held: dict[str, Tensor] = {}

        def hold(point: str, held: dict[str, Tensor] = held):
            def edit(x: Tensor, _: Batch) -> Tensor:
                held[point] = x if x.requires_grad else x.detach().requires_grad_(True)
                return held[point]

            return edit

        centred = read(batch, some, {point: hold(point) for point in points})
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
