"""Component: a part of a model that can be taken out, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.models import Batch, Edit
from mechdecouple.structure.mechanism.tape import Ablation, Chunk, Plan, Tape


@dataclasses.dataclass(frozen=True, eq=False)
class Component:
    """A part of a model, as entries of, or directions in, the activation at one hook point.

    Attributes:
        name: unique in its model, e.g. ``"L0H3"`` or ``"L1 MLP"``.
        kind: ``embedding``, ``pattern``, ``head``, ``attention``, ``mlp``, ``skip``, ``module``, ``units`` or
            ``latents``. Parts of one kind and depth play the same role in two models.
        hook_point: where it is read and replaced.
        depth: fraction of the network before it, in [0, 1].
        axis: axis of the activation, from the right (-2: heads), that ``index`` picks from.
        index: which entries of that axis belong to it; None for all.
        basis: [k, d] orthonormal directions of the last axis that it consists of; None for whole entries.
    """

    name: str
    kind: str
    hook_point: str
    depth: float
    axis: int = -1
    index: tuple[int, ...] | None = None
    basis: Float[np.ndarray, "k d"] | None = None

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        """``x`` with this part taken from ``new``."""
        if self.basis is not None:
            q = torch.as_tensor(self.basis, device=x.device, dtype=x.dtype)
            return x + ((new - x) @ q.T) @ q
        if self.index is None:
            return new.to(x.dtype)
        where = torch.as_tensor(self.index, device=x.device)
        return x.index_copy(x.ndim + self.axis, where, new.to(x.dtype).index_select(x.ndim + self.axis, where))


def ablating(components: Sequence[Component], tape: Tape, kind: Ablation, seed: int = 0) -> Plan:
    """The plan that takes several components out at once: each is given what ``tape`` holds for this ablation."""
    return _putting(components, lambda point, chunk: tape.reference(point, kind, chunk.number, seed))


def restoring(components: Sequence[Component], tape: Tape) -> Plan:
    """The plan that gives components what they had when ``tape`` was recorded."""
    return _putting(components, lambda point, chunk: tape.clean(point, chunk.number))


def together(*plans: Plan) -> Plan:
    """Several plans in one; at a hook point that several edit, the later ones act on what the earlier ones gave."""

    def plan(chunk: Chunk) -> Mapping[str, Edit]:
        made: dict[str, Edit] = {}
        for one in plans:
            for point, edit in one(chunk).items():
                made[point] = edit if point not in made else _both(made[point], edit)
        return made

    return plan


def _putting(components: Sequence[Component], given) -> Plan:
    at: dict[str, list[Component]] = {}
    for component in components:
        at.setdefault(component.hook_point, []).append(component)

    def plan(chunk: Chunk) -> Mapping[str, Edit]:
        return {point: _put(parts, given(point, chunk)) for point, parts in at.items()}

    return plan


def _put(parts: Sequence[Component], new: Tensor) -> Edit:
    def edit(x: Tensor, _: Batch) -> Tensor:
        for part in parts:
            x = part.put(x, new)
        return x

    return edit


def _both(first: Edit, second: Edit) -> Edit:
    return lambda x, batch: second(first(x, batch), batch)
