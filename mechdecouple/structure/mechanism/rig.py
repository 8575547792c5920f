"""Rig: a model on the items of a task, ready to be read under edits again and again, and counting what that costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from mechdecouple.behavior import prepare
from mechdecouple.models import Batch, Edit, HookedModel, encode
from mechdecouple.structure.mechanism.options import OptionLogits, right_options
from mechdecouple.structure.mechanism.tape import Chunk, Plan, Tape
from mechdecouple.tasks import Task


class Rig:
    """A model and the items it is read on.

    Attributes:
        model: must choose among options or classes. task: the items.
        chat: prompts go through the tokenizer's chat template.
        classes: the sorted classes that are answers, those right for some item; None where answers are options.
        passes: how many items went through the model so far; seconds: how long that took.

    Raises:
        InputError: at the first reading, where the answers are not among a few options.
    """

    def __init__(self, model: HookedModel, task: Task, *, chat: bool = False, batch_tokens: int = 8192) -> None:
        self.model, self.task, self.chat, self.batch_tokens = model, task, chat, batch_tokens
        self.encoded = encode(model, task, chat=chat) if model.input_kind == "tokens" else None
        self.classes = np.unique(right_options(task)) if task.performance == "class" else None
        self.passes, self.seconds = 0, 0.0
        self._read = prepare(model, task, chat=chat, batch_tokens=batch_tokens, encoded=self.encoded)

    @property
    def name(self) -> str:
        return self.model.name

    def __len__(self) -> int:
        return len(self.task)

    @cached_property
    def clean(self) -> OptionLogits:
        """The answers without edits."""
        return self.read()

    def read(self, plan: Plan | None = None) -> OptionLogits:
        """The answers to all items under the edits that ``plan`` makes for each batch."""
        number = 0

        def edits(batch: Batch, items: np.ndarray, _last: np.ndarray | None) -> Mapping[str, Edit]:
            nonlocal number
            number += 1
            return {} if plan is None else plan(chunk_of(number - 1, batch, items))

        start = time.perf_counter()
        answers = self._read(edits)
        self.passes += len(self)
        self.seconds += time.perf_counter() - start
        return OptionLogits.of(answers, self.task, self.classes)

    def tape(self, hook_points: Sequence[str], plan: Plan | None = None) -> Tape:
        """What passes the hook points in one reading, before the edits of ``plan`` act there."""
        return self.record(hook_points, plan)[1]

    def record(self, hook_points: Sequence[str], plan: Plan | None = None) -> tuple[OptionLogits, Tape]:
        """The answers and the tape of one reading; without a plan the answers are kept as `clean`."""
        chunks: list[Chunk] = []
        kept: dict[str, list[Tensor]] = {point: [] for point in hook_points}

        def edits(chunk: Chunk) -> Mapping[str, Edit]:
            chunks.append(chunk)
            made = {} if plan is None else plan(chunk)
            return {**made, **{point: keep(kept[point], made.get(point)) for point in hook_points}}

        logits = self.read(edits)
        if plan is None:
            self.__dict__.setdefault("clean", logits)
        return logits, Tape(chunks, kept)

    @property
    def seconds_per_pass(self) -> float:
        """Seconds that one item takes to go through the model, from what was read so far."""
        if not self.passes:
            _ = self.clean
        return self.seconds / self.passes

    def select(self, rows: np.ndarray) -> Rig:
        """The same model on some of the items, with the same classes to choose among."""
        part = Rig(self.model, self.task.select(rows), chat=self.chat, batch_tokens=self.batch_tokens)
        part.classes = self.classes
        return part


def keep(into: list[Tensor], edit: Edit | None) -> Edit:
    """An edit that keeps what it is given before another acts on it."""

    def record(x: Tensor, batch: Batch) -> Tensor:
        into.append(x.detach().clone())
        return x if edit is None else edit(x, batch)

    return record


def chunk_of(number: int, batch: Batch, items: np.ndarray) -> Chunk:
    """A batch with its items and the lengths of its rows."""
    lengths = np.ones(len(items), np.int64) if batch.mask is None else batch.mask.sum(dim=1).cpu().numpy()
    return Chunk(number, batch, items, lengths)
