"""Attribution patching: the effect of every part to first order, from one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.behavior.differentiable import DifferentiableLogits
from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, Edit, batches
from mechdecouple.structure.mechanism.component import Component, hook_points
from mechdecouple.structure.mechanism.rig import Rig, chunk_of, keep
from mechdecouple.structure.mechanism.tape import Ablation, Chunk, Plan, Tape

PASSES = 3
"""Item passes that one item costs: forward once, backward about twice as long."""


def attribution(
    rig: Rig, components: Sequence[Component], *, ablation: Ablation = "resample", seed: int = 0
) -> Float[np.ndarray, "c n"]:
    """Drop of the right option's centred logit when each part is ablated, to first order: gradient times change.

    Exact where the logits are linear in the part; blind to a part whose slope is 0 where the model stands, such as a
    saturated unit. Options count by their first token. Costs three item passes an item, however many parts there are.
    Source: arXiv:2310.10348.

    Raises:
        ModelError: a part lies where no gradient flows.
    """
    points = tuple(dict.fromkeys((*hook_points(components), *(f.hook_point for c in components for f in c.leaves))))
    values, slopes = differentiated(rig, points)
    out = np.zeros((len(components), len(rig)))
    for i, component in enumerate(components):
        for leaf in component.leaves:
            source = leaf.source or leaf.hook_point
            for chunk in values.chunks:
                clean = values.clean(source, chunk.number)
                new = leaf.put(clean, values.reference(source, ablation, chunk.number, seed))
                out[i, chunk.items] -= along(slopes, leaf.hook_point, chunk, new - clean)
    return out


def along(slopes: Tape, hook_point: str, chunk: Chunk, change: Tensor) -> Float[np.ndarray, " b"]:
    """What a change at a hook point adds to the answer of each item of a batch, to first order."""
    return (slopes.clean(hook_point, chunk.number) * change).flatten(1).double().sum(dim=1).cpu().numpy()


def differentiated(rig: Rig, points: Sequence[str]) -> tuple[Tape, Tape]:
    """Activations at hook points, and the slopes of the right option's centred logit along them; batches of its own.

    Raises:
        ModelError: no slope differs from 0.
    """
    logits, chunks = DifferentiableLogits(rig.model, rig.task, rig.encoded, chat=rig.chat), list[Chunk]()
    assert logits.right is not None
    values: dict[str, list[Tensor]] = {p: [] for p in points}
    slopes: dict[str, list[Tensor]] = {p: [] for p in points}
    for chunk in _chunks(rig, logits):
        live: dict[str, Tensor] = {}
        with torch.enable_grad():
            rows = logits(chunk.batch, chunk.items, {p: _watch(live, p) for p in points})
            right = rows[torch.arange(len(chunk.items)), torch.as_tensor(logits.right[chunk.items])]
            if rig.classes is not None:
                right = right - rows[:, torch.as_tensor(rig.classes)].mean(dim=1)
            found = torch.autograd.grad(right.sum(), list(live.values()), allow_unused=True)
        chunks.append(chunk)
        for (point, value), slope in zip(live.items(), found, strict=True):
            values[point].append(value.detach())
            slopes[point].append(torch.zeros_like(value) if slope is None else slope.detach())
    rig.passes += PASSES * len(rig)
    if not any(bool(s.any()) for parts in slopes.values() for s in parts):
        raise ModelError(f"no gradient reaches the hook points of model {rig.model.name!r}: ablate its parts instead")
    return Tape(chunks, values), Tape(chunks, slopes)


def replayed(rig: Rig, points: Sequence[str], plan: Plan) -> Tape:
    """What passes hook points before the edits of a plan, in the batches of `differentiated`."""
    logits, chunks = DifferentiableLogits(rig.model, rig.task, rig.encoded, chat=rig.chat), list[Chunk]()
    values: dict[str, list[Tensor]] = {p: [] for p in points}
    for chunk in _chunks(rig, logits):
        made = plan(chunk)
        with torch.no_grad():
            logits(chunk.batch, chunk.items, {**made, **{p: keep(values[p], made.get(p)) for p in points}})
        chunks.append(chunk)
    rig.passes += len(rig)
    return Tape(chunks, values)


def _chunks(rig: Rig, logits: DifferentiableLogits) -> Iterator[Chunk]:
    inputs = rig.encoded if rig.encoded is not None else rig.task.inputs
    assert inputs is not None
    for number, items in enumerate(batches(inputs, batch_tokens=rig.batch_tokens)):
        yield chunk_of(number, logits.batch(items), items)


def _watch(live: dict[str, Tensor], point: str) -> Edit:
    def edit(x: Tensor, _: Batch) -> Tensor:
        # Weights may be frozen: then the first point starts the graph.
        live[point] = x if x.requires_grad else x.detach().requires_grad_()
        return live[point]

    return edit
