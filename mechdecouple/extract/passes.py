"""Passes: batches of a plan run through the model, their rows landing in host memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mechdecouple.activations import store
from mechdecouple.errors import InputError
from mechdecouple.extract.lanes import Clock, Lane, Mark, lane
from mechdecouple.extract.planning import Plan
from mechdecouple.models import collate

# Lots in host memory: one is filled while the one before is kept.
_LANDINGS = 2
# Batches that the device has been given and the host has not waited for.
_AHEAD = 2

Keep = Callable[[int, dict[str, Tensor]], None]


class NotFinite(Exception):
    """Some activation of a batch is not finite."""

    def __init__(self, batch: int) -> None:
        super().__init__(batch)
        self.batch = batch


class Landing:
    """Host memory for the rows of one lot of batches at a time, [rows, width] a hook point, in the storage dtype."""

    def __init__(self, todo: Plan, rows: int, batches: int, way: Lane) -> None:
        self._todo, dtype = todo, store.DTYPES[todo.dtype]
        self._rows = {
            name: torch.empty((rows, width), dtype=dtype, pin_memory=way.pinned)
            for name, width in todo.hook_points.items()
        }
        self._sums = torch.empty((batches, len(todo.hook_points)), pin_memory=way.pinned)
        self._way, self._batches, self._marks, self._filled = way, [], [], 0

    def begin(self) -> None:
        """Forgets the last lot."""
        self._batches, self._marks, self._filled = [], [], 0

    def add(self, number: int, rows: dict[str, Tensor], sums: Tensor) -> Mark:
        """Sends the rows of a batch behind those that were sent before, with the sum of each hook point's values."""
        size = len(next(iter(rows.values())))
        pairs = [(values, self._rows[name][self._filled : self._filled + size]) for name, values in rows.items()]
        mark = self._way.copy([*pairs, (sums, self._sums[len(self._batches)])])
        self._batches.append((number, self._filled, self._filled + size))
        self._marks.append(mark)
        self._filled += size
        return mark

    def rows(self) -> dict[str, Tensor]:
        """The rows, once all of them are there.

        Raises:
            NotFinite: one of them is not.
        """
        for mark in self._marks:
            mark.wait()
        for (number, start, stop), sums in zip(self._batches, self._sums, strict=False):
            # A finite sum proves all its terms finite; a sum that overflowed proves nothing.
            for finite, values in zip(torch.isfinite(sums).tolist(), self._rows.values(), strict=True):
                if not finite and not torch.isfinite(values[start:stop]).all():
                    raise NotFinite(number)
        return {name: values[: self._filled] for name, values in self._rows.items()}


class Passes:
    """Runs lots of batches, one after the other, and hands each to its keeper while the next one is computed.

    Args:
        keep: takes a lot's number and its rows, which are overwritten after it returns; called in order.
        ran: called with each batch's number when it has been given to the device.
        behind: whether keeping waits for something other than this processor (a disk, a device), so that a thread of
            its own pays.

    Attributes:
        seconds: that the device spent in the model; complete when :meth:`run` has returned.
    """

    def __init__(self, todo: Plan, keep: Keep, ran: Callable[[int], object], *, behind: bool) -> None:
        self._todo, self._keep, self._ran = todo, keep, ran
        self._lane = lane(todo.model.device)
        self._behind = behind or self._lane.behind
        self._ahead: deque[tuple[Mark, Clock]] = deque()
        self.seconds = 0.0

    def run(self, lots: Mapping[int, range]) -> None:
        """Runs the batches of these lots in order.

        Args:
            lots: by number, the batches of each.

        Raises:
            InputError: an activation that is not finite, with its item and hook point. What ``keep`` raises.
        """
        try:
            if self._behind:
                with ThreadPoolExecutor(1, thread_name_prefix="extract") as pool:
                    self._run(lots, pool.submit)
            else:
                self._run(lots, _at_once)
        except NotFinite as fault:
            raise blame(self._todo, fault.batch) from None

    def _run(self, lots: Mapping[int, range], submit: Callable[..., Future]) -> None:
        waiting: deque[Future] = deque()
        spare: deque[Landing] = deque()
        largest = self._largest(lots.values())
        for made, (number, lot) in enumerate(lots.items()):
            if made < _LANDINGS:
                landing = Landing(self._todo, *largest, self._lane)
            else:
                while len(waiting) >= _LANDINGS:
                    waiting.popleft().result()
                landing = spare.popleft()
            landing.begin()
            for batch in lot:
                # What went wrong behind is told now, and not after a lot more.
                while waiting and waiting[0].done():
                    waiting.popleft().result()
                self._batch(batch, landing)
                self._ran(batch)
            waiting.append(submit(self._finish, number, landing, spare))
        while waiting:
            waiting.popleft().result()
        while self._ahead:
            self._wait()

    def _largest(self, lots: Iterable[range]) -> tuple[int, int]:
        """Most rows, and most batches, of a lot."""
        sizes = [int(self._todo.rows_per_item[batch].sum()) for batch in self._todo.batches]
        held = [(sum(sizes[batch] for batch in lot), len(lot)) for lot in lots]
        return max((rows for rows, _ in held), default=0), max((batches for _, batches in held), default=0)

    def _batch(self, number: int, landing: Landing) -> None:
        while len(self._ahead) >= _AHEAD:
            self._wait()
        rows, sums, clock = run_batch(self._todo, number, self._lane)
        self._ahead.append((landing.add(number, rows, sums), clock))

    def _wait(self) -> None:
        mark, clock = self._ahead.popleft()
        mark.wait()
        self.seconds += clock.seconds()

    def _finish(self, lot: int, landing: Landing, spare: deque[Landing]) -> None:
        self._keep(lot, landing.rows())
        spare.append(landing)


def _at_once(work: Callable[..., None], *arguments: object) -> Future:
    done: Future[None] = Future()
    work(*arguments)
    done.set_result(None)
    return done


def run_batch(todo: Plan, number: int, way: Lane) -> tuple[dict[str, Tensor], Tensor, Clock]:
    """A batch's rows [r, d] a hook point, on the device in the storage dtype; their sums; the time in the model."""
    names, items = tuple(todo.hook_points), todo.batches[number]
    with torch.inference_mode():
        batch = collate(todo.items, items, model=todo.model)
        clock = way.clock()
        found = todo.model.forward(batch, capture=names, logits=False).activations
        clock.stop()
        picker = todo.picker(items, batch)
        dtype = store.DTYPES[todo.dtype]
        rows = {name: todo.pick(items, found.pop(name), name, picker).to(dtype) for name in names}
        sums = torch.stack([values.sum(dtype=torch.float32) for values in rows.values()])
    return rows, sums, clock


def run_batches(todo: Plan, numbers: Iterable[int]) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Runs batches of a plan; for each its number and its rows [r, d] a hook point, on the CPU in the storage dtype.

    Raises:
        InputError: an activation that is not finite, with its item and hook point.
    """
    way = lane(todo.model.device)
    for number in numbers:
        landing = Landing(todo, int(todo.rows_per_item[todo.batches[number]].sum()), 1, way)
        rows, sums, _ = run_batch(todo, number, way)
        landing.add(number, rows, sums)
        try:
            landed = landing.rows()
        except NotFinite:
            raise blame(todo, number) from None
        yield number, landed


def blame(todo: Plan, number: int) -> InputError:
    """The error that names the first value of a batch that is not finite; the batch is run again to find it."""
    items = todo.batches[number]
    with torch.inference_mode():
        batch = collate(todo.items, items, model=todo.model)
        found = todo.model.forward(batch, capture=tuple(todo.hook_points), logits=False).activations
        picker = todo.picker(items, batch)
        for name in todo.hook_points:
            values = todo.pick(items, found.pop(name), name, picker)
            finite = torch.isfinite(values.to(store.DTYPES[todo.dtype]))
            if not finite.all():
                row, column = (int(at) for at in torch.nonzero(~finite)[0])
                item = np.repeat(items, todo.rows_per_item[items])[row]
                value = values[row, column].item()
                where = f"item {str(todo.task.ids[item])!r} has {value:g} at hook point {name!r}"
                if np.isfinite(value):
                    return InputError(f"{where}, too large for {todo.dtype}; use bfloat16 or float32")
                return InputError(f"{where}; expected finite values: check the model's weights and dtype")
    first, last = (str(todo.task.ids[item]) for item in (items[0], items[-1]))
    return InputError(
        f"a value that is not finite came up among items {first!r} to {last!r}, and not when they were run again; "
        "expected the same values each time: check the device"
    )
