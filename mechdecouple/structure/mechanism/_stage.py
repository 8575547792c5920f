"""Stage: activations of fit and test items recorded once, and test items read again with parts of them replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.extract.pick import picked_tokens
from mechdecouple.models import Batch, Edit
from mechdecouple.structure.mechanism.counterfactuals import Pairs
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import PATTERNS, Chunk

FIT, POOL = 5, 2
"""Items that subspaces are found on and that pairs are drawn from, for each pair: they are read only once."""
_BYTES = 2**30
Move = Callable[[Tensor, np.ndarray], Tensor]
"""How far to move each of some pairs [b], given source less base [b, d]."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where something is swapped.

    Attributes:
        hook_point: of the model; depth: fraction of the network before it.
        position: ``all`` tokens together, ``last``, a ``position_*`` column, or the index of a token, as text.
    """

    hook_point: str
    position: str
    depth: float

    def __str__(self) -> str:
        return self.hook_point if self.position == "all" else f"{self.hook_point} at {self.position}"


class Stage:
    """Items of a rig, some to find subspaces on and others, of other groups, to try them on.

    Args:
        limit: most pairs to test.

    Attributes:
        fit, test: rows of the rig's task. limit: as given.
    """

    def __init__(self, rig: Rig, points: Sequence[str], *, limit: int, seed: int) -> None:
        self.rig, self.points = rig, tuple(points)
        rig.model.check_hook_points(points)
        bad = [p for p in points if p.endswith(PATTERNS)]
        if bad:
            raise InputError(f"hook point {bad[0]!r} holds pairs of tokens, not features: choose another one")
        self.limit = limit
        self.fit, self.test = halves(rig.task.groups, FIT * limit, POOL * limit, seed)
        self._rows = np.concatenate([self.fit, self.test])
        self._place_of = {int(row): i for i, row in enumerate(self._rows)}
        self._group = self._grouped()
        self._kept: dict[str, Tensor] = {}
        self._answers: OptionLogits | None = None

    @property
    def readings(self) -> int:
        """How often all items are read to record every hook point once: what is held at a time has a limit."""
        return 1 + max(self._group.values())

    @property
    def cost(self) -> int:
        """Item passes of recording every hook point once."""
        return len(self._rows) * self.readings

    @property
    def aligned(self) -> bool:
        """Whether all items have the same number of tokens, or none."""
        return self.rig.encoded is None or len(np.unique(self.rig.encoded.lengths)) == 1

    def positions(self) -> tuple[str, ...]:
        """Where single tokens can be swapped; nothing for tensor inputs."""
        if self.rig.encoded is None:
            return ()
        if not self.aligned:
            return ("last", *self.rig.task.positions)
        tokens = np.stack(self.rig.encoded.tokens)
        varied = np.flatnonzero((tokens != tokens[0]).any(axis=0))
        # What stands before the first token that varies is the same in all items, except where attention looks ahead.
        first = 0 if self.rig.model.head == "mlm" else int(varied.min(initial=tokens.shape[1] - 1))
        return tuple(str(i) for i in range(first, tokens.shape[1]))

    def place(self, hook_point: str, position: str = "all") -> Place:
        """A place, checked.

        Raises:
            InputError: all tokens together of prompts that differ in length; an unknown position.
        """
        if position == "all" and not self.aligned:
            raise InputError("prompts differ in length, so tokens have no places in common: swap at one position")
        place = Place(hook_point, position, self.rig.model.depth(hook_point))
        self.tokens(place)
        return place

    def in_order(self, place: Place) -> int:
        """Places that are recorded together have the same number; others should be visited in its order."""
        return self._group[place.hook_point]

    def _grouped(self) -> dict[str, int]:
        """Which reading records each hook point, so that none holds more than ``_BYTES``."""
        encoded, model = self.rig.encoded, self.rig.model
        group, held = {}, 0
        for point in self.points:
            # The widths of a plain module are not known before it ran; they are small.
            size = 0 if encoded is None else 4 * len(self._rows) * int(encoded.lengths.max()) * model.width(point)
            held += size
            number = max(group.values(), default=0)
            if held > _BYTES and group:
                number, held = number + 1, size
            group[point] = number
        return group

    def _recorded(self, point: str) -> Tensor:
        """What passes a hook point, [items, ...]."""
        if point not in self._kept:
            together = [p for p in self.points if self._group[p] == self._group[point]]
            part, made = self.rig.select(self._rows), {}
            self._answers = part.read(lambda chunk: {p: _keep(made, p, part, chunk) for p in together})
            self._account(part)
            # A copy that is made outside of inference mode may take part in gradients.
            self._kept = {p: values.clone() for p, values in made.items()}
        return self._kept[point]

    def n_tokens(self, place: Place) -> int:
        """Tokens whose features stand in one vector there; 1 for tensor inputs."""
        encoded = self.rig.encoded
        return 1 if encoded is None or place.position != "all" else int(encoded.lengths[0])

    def activations(self, place: Place, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
        """What passed a place on rows of the task, tokens and features in one vector."""
        return self.taken(place, rows).double().cpu().numpy()

    def clean(self, rows: Int[np.ndarray, " m"]) -> OptionLogits:
        """What the model answers to rows of the task when nothing is swapped."""
        if self._answers is None:
            self._recorded(self.points[0])
        assert self._answers is not None
        return self._answers.select(self._numbers(rows))

    def replaced(self, place: Place, pairs: Pairs, part: Rig, move: Move) -> Bool[np.ndarray, " m"]:
        """Whether each pair's base gives the right answer of the pair once it is moved towards its source.

        Args:
            part: the rig on the pairs' bases.
        """
        source = self.taken(place, pairs.source)

        def edit_for(chunk: Chunk) -> Edit:
            return self.moving(place, pairs.base[chunk.items], source[chunk.items], lambda d: move(d, chunk.items))

        answers = part.read(lambda chunk: {place.hook_point: edit_for(chunk)})
        self._account(part)
        return self.right(answers, pairs)

    def moving(
        self, place: Place, rows: Int[np.ndarray, " b"], source: Float[Tensor, "b d"], move: Callable[[Tensor], Tensor]
    ) -> Edit:
        """The edit that moves a batch at a place; ``rows``: of the task, ``source``: what to move towards."""
        at = self.tokens(place)

        def edit(x: Tensor, _: Batch) -> Tensor:
            where: Any = ...
            if at is not None:
                where = torch.arange(len(x), device=x.device), torch.as_tensor(at[rows], device=x.device)
            elif self.rig.encoded is not None:
                where = slice(None), slice(int(self.rig.encoded.lengths[0]))
            picked = x[where]
            flat = picked.flatten(1)
            out = x.clone()
            out[where] = (flat + move(source.to(flat.device, flat.dtype) - flat).to(flat.dtype)).reshape(picked.shape)
            return out

        return edit

    def right(self, answers: OptionLogits, pairs: Pairs) -> Bool[np.ndarray, " m"]:
        """Whether answers to the pairs' bases are the pairs' right ones."""
        classes = self.rig.classes
        return np.nanargmax(answers.values, axis=1) == (
            pairs.right if classes is None else np.searchsorted(classes, pairs.right)
        )

    def _account(self, part: Rig) -> None:
        self.rig.passes, self.rig.seconds = self.rig.passes + part.passes, self.rig.seconds + part.seconds
        part.passes, part.seconds = 0, 0.0

    def taken(self, place: Place, rows: Int[np.ndarray, " m"]) -> Float[Tensor, "m d"]:
        """`activations` as they are on the device."""
        kept = self._recorded(place.hook_point)
        numbers = torch.as_tensor(self._numbers(rows), device=kept.device)
        at = self.tokens(place)
        if at is None:
            return kept[numbers].flatten(1)
        return kept[numbers, torch.as_tensor(at[rows], device=kept.device)].flatten(1)

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        return np.array([self._place_of[int(row)] for row in rows], np.int64)

    def tokens(self, place: Place) -> Int[np.ndarray, " n"] | None:
        """Token of each item of the task; None for everything."""
        encoded, task, position = self.rig.encoded, self.rig.task, place.position
        if position == "all":
            return None
        if encoded is None:
            raise InputError(f"position {position!r}: tensor inputs have no tokens; leave the position out")
        if position == "last":
            return encoded.last()
        if position.isdigit():
            if int(position) >= encoded.lengths.min():
                raise InputError(f"position {position} is beyond the {encoded.lengths.min()} tokens of an item")
            return np.full(len(task), int(position))
        if position not in task.positions:
            known = ", ".join(("all", "last", *task.positions))
            raise InputError(f"position {position!r} is unknown; expected {known} or the index of a token")
        return np.concatenate(picked_tokens(encoded, task, position, special=True))


def _keep(made: dict[str, Tensor], point: str, part: Rig, chunk: Chunk) -> Edit:
    def record(x: Tensor, _: Batch) -> Tensor:
        items, shape = torch.as_tensor(chunk.items, device=x.device), list(x.shape[1:])
        if part.encoded is None:
            made.setdefault(point, x.new_zeros((len(part), *shape)))[items] = x
            return x
        # Rows that go on with an option are longer than the item; rows of one item have the same activations in it.
        longest = int(part.encoded.lengths.max())
        kept = made.setdefault(point, x.new_zeros((len(part), longest, *shape[1:])))
        kept[items, : min(longest, shape[0])] = x[:, :longest]
        return x

    return record


def halves(
    groups: np.ndarray, n_fit: int, n_test: int, seed: int
) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " t"]]:
    """Rows to fit on and rows to test on, at most so many and no more than half to test: whole groups at random.

    Raises:
        InputError: fewer than two groups.
    """
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise InputError("all items are of one group: held-out items need at least two groups")
    order = np.random.default_rng(seed).permutation(len(counts))
    upto = np.cumsum(counts[order])
    tested = int(np.clip(np.searchsorted(upto, min(n_test, len(groups) // 2), "right"), 1, len(counts) - 1))
    fitted = int(max(1, np.searchsorted(upto - upto[tested - 1], n_fit, "right") - tested))
    test, fit = order[:tested], order[tested : tested + fitted]
    return np.flatnonzero(np.isin(group, fit)), np.flatnonzero(np.isin(group, test))
