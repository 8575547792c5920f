"""Attribution patching: the effect of every part to first order, from one backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.behavior.differentiable import DifferentiableLogits
from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, Edit, batches
from mechdecouple.structure.mechanism.component import Component, hook_points
from mechdecouple.structure.mechanism.rig import Rig, chunk_of
from mechdecouple.structure.mechanism.tape import Ablation, Chunk, Tape

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
    values, slopes = _recorded(rig, points)
    out = np.zeros((len(components), len(rig)))
    for i, component in enumerate(components):
        for chunk in values.chunks:
            for leaf in component.leaves:
                source = leaf.source or leaf.hook_point
                clean = values.clean(source, chunk.number)
                change = leaf.put(clean, values.reference(source, ablation, chunk.number, seed)) - clean
                slope = slopes.clean(leaf.hook_point, chunk.number)
                out[i, chunk.items] -= (slope * change).flatten(1).double().sum(dim=1).cpu().numpy()
    return out


def _recorded(rig: Rig, points: Sequence[str]) -> tuple[Tape, Tape]:
    """Activations at hook points, and the slopes of the right option's centred logit along them."""
    logits = DifferentiableLogits(rig.model, rig.task, rig.encoded, chat=rig.chat)
    assert logits.right is not None
    classes = np.unique(logits.right) if rig.task.performance == "class" else None
    inputs = rig.encoded if rig.encoded is not None else rig.task.inputs
    assert inputs is not None
    chunks: list[Chunk] = []
    values: dict[str, list[Tensor]] = {p: [] for p in points}
    slopes: dict[str, list[Tensor]] = {p: [] for p in points}
    for items in batches(inputs, batch_tokens=rig.batch_tokens):
        batch, live = logits.batch(items), dict[str, Tensor]()
        with torch.enable_grad():
            rows = logits(batch, items, {p: _watch(live, p) for p in points})
            right = rows[torch.arange(len(items)), torch.as_tensor(logits.right[items])]
            if classes is not None:
                right = right - rows[:, torch.as_tensor(classes)].mean(dim=1)
            found = torch.autograd.grad(right.sum(), list(live.values()), allow_unused=True)
        chunks.append(chunk_of(len(chunks), batch, items))
        for (point, value), slope in zip(live.items(), found, strict=True):
            values[point].append(value.detach())
            slopes[point].append(torch.zeros_like(value) if slope is None else slope.detach())
    rig.passes += PASSES * len(rig)
    if not any(bool(s.any()) for parts in slopes.values() for s in parts):
        raise ModelError(f"no gradient reaches the hook points of model {rig.model.name!r}: ablate its parts instead")
    return Tape(chunks, values), Tape(chunks, slopes)


def _watch(live: dict[str, Tensor], point: str) -> Edit:
    def edit(x: Tensor, _: Batch) -> Tensor:
        # Weights may be frozen: then the first point starts the graph.
        live[point] = x if x.requires_grad else x.detach().requires_grad_()
        return live[point]

    return edit
