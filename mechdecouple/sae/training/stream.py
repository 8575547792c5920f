"""ModelRows: rows straight from a model, which is run over the task again each epoch; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError
from mechdecouple.extract import Plan, extract, plan
from mechdecouple.extract.passes import run_batches
from mechdecouple.models import HookedModel
from mechdecouple.sae.training.buffer import MixingBuffer
from mechdecouple.sae.training.rows import Moments
from mechdecouple.tasks import Task


@dataclass(frozen=True, eq=False)
class ModelRows:
    """Rows to train on that come straight from a model, for when they would not fit on disk.

    Each epoch runs the model over all items, its batches in a new random order, and mixes their rows in a pool of
    ``buffer_rows``; every row is seen once an epoch. Where all rows fit into the pool the model runs only once.

    Attributes:
        model, task: what is run on what.
        hook_points: those that recipes may name; by default those that they do name.
        position, batch_tokens, dtype, chat, special: as in :func:`mechdecouple.extract`.
        buffer_rows: size of the pool; a larger one mixes better and takes more memory (4 bytes a value).
    """

    model: HookedModel
    task: Task
    hook_points: tuple[str, ...] = ()
    position: str = "all"
    batch_tokens: int = 8192
    dtype: str = "float32"
    chat: bool = False
    special: bool = False
    buffer_rows: int = 65_536

    def plan(self, hook_points: tuple[str, ...]) -> Plan:
        """What running the model at these hook points entails.

        Raises:
            InputError: hook points that are not among those asked for, or that the model lacks.
        """
        return plan(self.model, self.task, self._checked(hook_points), self.position, **self._options)

    def extract(self, hook_points: tuple[str, ...], *, progress: bool) -> Activations:
        """All rows at these hook points, in memory."""
        names = self._checked(hook_points)
        return extract(self.model, self.task, names, self.position, progress=progress, **self._options)

    def _checked(self, hook_points: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in hook_points if self.hook_points and name not in self.hook_points]
        if unknown:
            raise InputError(f"hook point {unknown[0]!r} is not among {', '.join(self.hook_points)}; name it there too")
        return hook_points

    @property
    def _options(self) -> dict[str, Any]:
        return {"batch_tokens": self.batch_tokens, "dtype": self.dtype, "chat": self.chat, "special": self.special}


class Stream:
    """The feed of :class:`ModelRows`: batches of a model in random order, their rows mixed in a pool."""

    def __init__(self, todo: Plan, buffer_rows: int, *, batch_size: int, seed: int, device: str) -> None:
        self._plan, self._batch_size, self._seed, self._device = todo, batch_size, seed, device
        self.n, self.widths = todo.rows, dict(todo.hook_points)
        capacity = max(buffer_rows, 4 * batch_size)
        self._buffer = MixingBuffer(self.widths, capacity=capacity, seed=seed, device=device)
        self._epoch, self._at = 0, 0  # the model batch that comes next
        self._left: dict[str, Tensor] = {}  # rows of the last one that the pool had no room for
        self.about: dict[str, Any] = {
            "kind": "model", "rows": todo.rows, "position": todo.position, "buffer_rows": capacity,
            **{key: todo.manifest()[key] for key in ("model", "task", "dtype", "chat", "special", "batch_tokens")},
        }  # fmt: skip

    @property
    def fingerprint(self) -> dict[str, str]:
        model, task = self.about["model"], self.about["task"]
        names = ("weight_hash", "tokenizer_hash", "dtype", "device")
        return {"task": task["fingerprint"], **{name: str(model[name]) for name in names}}

    def moments(self) -> dict[str, Moments]:
        """From the rows that fill the pool at first."""
        self._fill()
        return {name: Moments.of(rows.cpu().numpy()) for name, rows in self._buffer.held.items()}

    def batches(self, steps: int) -> Iterator[dict[str, Float[Tensor, "b _"]]]:
        for _ in range(steps):
            while self._buffer.waiting < self._batch_size:
                if self._fill():
                    self._buffer.flush()
                    self._epoch, self._at = self._epoch + 1, 0
                else:
                    self._buffer.line_up()
            yield self._buffer.take(self._batch_size)

    def state(self) -> dict[str, Tensor]:
        left = {f"left.{name}": rows for name, rows in self._left.items()}
        return {**self._buffer.state(), **left, "epoch": torch.tensor(self._epoch), "at": torch.tensor(self._at)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._buffer.restore(state)
        self._epoch, self._at = int(state["epoch"]), int(state["at"])
        self._left = {key[5:]: rows.to(self._device) for key, rows in state.items() if key.startswith("left.")}

    def _fill(self) -> bool:
        """Fills the pool; returns whether the epoch ended with room left."""
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._plan.batches))
        while self._buffer.room:
            if not self._left:
                if self._at == len(order):
                    return True
                _, rows = next(run_batches(self._plan, [int(order[self._at])]))
                self._left = {name: values.to(self._device, torch.float32) for name, values in rows.items()}
                self._at += 1
            taken = self._buffer.add(self._left)
            rest = {name: values[taken:] for name, values in self._left.items()}
            self._left = rest if len(next(iter(rest.values()))) else {}
        return False
