"""Component: a part of a model that can be taken out, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

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
        kind: ``embedding``, ``input``, ``pattern``, ``head pattern``, ``head``, ``attention``, ``mlp``, ``skip``,
            ``module``, ``units`` or ``latents``. Parts of one kind and depth play the same role in two models.
        hook_point: where it is read and replaced.
        depth: fraction of the network before it, in [0, 1].
        axis: axis of the activation, from the right (-2: heads), that ``index`` picks from.
        index: which entries of that axis belong to it; None for all.
        basis: [k, d] orthonormal directions of the last axis that it consists of; None for whole entries.
        source: of a skip path, the hook point that it carries on to what is added at ``hook_point``; else empty.
        parts: what it consists of, where it lies at several hook points; then those of the others do not count.
    """

    name: str
    kind: str
    hook_point: str
    depth: float
    axis: int = -1
    index: tuple[int, ...] | None = None
    basis: Float[np.ndarray, "k d"] | None = None
    source: str = ""
    parts: tuple[Component, ...] = ()

    @property
    def leaves(self) -> tuple[Component, ...]:
        """The parts that each lie at one hook point: itself where it does."""
        return tuple(leaf for part in self.parts for leaf in part.leaves) if self.parts else (self,)

    @property
    def hook_points(self) -> tuple[str, ...]:
        """Those whose activations an ablation takes from a tape."""
        return tuple(dict.fromkeys(leaf.source or leaf.hook_point for leaf in self.leaves))

    @property
    def fine(self) -> bool:
        """Whether it is one of several parts of an activation whose numbering or basis differs from model to model."""
        return any(leaf.index is not None or leaf.basis is not None for leaf in self.leaves) and self.kind != "input"

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        """``x`` with this part taken from ``new``."""
        if self.basis is not None:
            q = torch.as_tensor(self.basis, device=x.device, dtype=x.dtype)
            return x + ((new.to(x.dtype) - x) @ q.T) @ q
        if self.index is None:
            return new.to(x.dtype)
        where = torch.as_tensor(self.index, device=x.device)
        return x.index_copy(x.ndim + self.axis, where, new.to(x.dtype).index_select(x.ndim + self.axis, where))


def combined(name: str, kind: str, parts: Sequence[Component]) -> Component:
    """Several components as one, which is taken out at once."""
    return Component(name, kind, parts[0].hook_point, min(part.depth for part in parts), parts=tuple(parts))


def hook_points(components: Iterable[Component]) -> tuple[str, ...]:
    """What a tape must hold so that all of them can be ablated."""
    return tuple(dict.fromkeys(point for component in components for point in component.hook_points))


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


def _putting(components: Sequence[Component], given: Callable[[str, Chunk], Tensor]) -> Plan:
    leaves = _merged(leaf for component in components for leaf in component.leaves)
    at: dict[str, list[Component]] = {}
    for leaf in leaves:
        if not leaf.source:
            at.setdefault(leaf.hook_point, []).append(leaf)
    skips = [leaf for leaf in leaves if leaf.source]

    def plan(chunk: Chunk) -> Mapping[str, Edit]:
        made = {point: _put(parts, given(point, chunk)) for point, parts in at.items()}
        # A skip path goes last at both of its ends: it carries what the other parts leave in the stream.
        for skip in skips:
            passed: list[Tensor] = []
            for point, edit in (
                (skip.source, _keep(passed)),
                (skip.hook_point, _carry(passed, given(skip.source, chunk))),
            ):
                made[point] = _both(made[point], edit) if point in made else edit
        return made

    return plan


def _merged(leaves: Iterable[Component]) -> list[Component]:
    """Single entries of one axis as one component: many units are put in one step."""
    out: list[Component] = []
    picks: dict[tuple[str, int], list[Component]] = {}
    for leaf in leaves:
        if leaf.index is None or leaf.basis is not None:
            out.append(leaf)
        else:
            picks.setdefault((leaf.hook_point, leaf.axis), []).append(leaf)
    for parts in picks.values():
        index = tuple(sorted({i for part in parts for i in part.index or ()}))
        out.append(dataclasses.replace(parts[0], index=index))
    return out


def _put(parts: Sequence[Component], new: Tensor) -> Edit:
    def edit(x: Tensor, _: Batch) -> Tensor:
        for part in parts:
            x = part.put(x, new)
        return x

    return edit


def _keep(into: list[Tensor]) -> Edit:
    def edit(x: Tensor, _: Batch) -> Tensor:
        into.append(x)
        return x

    return edit


def _carry(passed: list[Tensor], new: Tensor) -> Edit:
    return lambda x, _: x + (new.to(x.dtype) - passed.pop())


def _both(first: Edit, second: Edit) -> Edit:
    return lambda x, batch: second(first(x, batch), batch)
