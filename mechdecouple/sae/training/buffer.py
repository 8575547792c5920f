"""MixingBuffer: rows that come in as a model yields them go out as well-mixed batches, without the buffer being copied.

A pool that is concatenated and permuted whole at every refill costs a copy of itself for each piece that comes in.
Here a row is written once, into a slot that is free, and read once, when its slot is drawn: only slot numbers are
shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.errors import InputError

_ORDERS = ("free", "held", "queue")


class MixingBuffer:
    """A pool of ``capacity`` rows at several hook points, drawn from at random.

    Whenever it is full, a random half of it is lined up to be served, in random order, and the other half stays to be
    mixed with what comes in next; so a row waits for about ``capacity`` others, and the rows of a batch come from all
    over the pool. ``flush`` lines up all the rest: between two flushes each row that came in goes out exactly once.

    Args:
        widths: hook point to values a row.
        capacity: rows held; at least twice the batches that are taken.
        seed: of the order.
        device: where the rows are held and served.

    Example:
        >>> buffer = MixingBuffer({"x": 1}, capacity=8, seed=0)
        >>> buffer.add({"x": torch.arange(10.0)[:, None]})
        8
        >>> buffer.line_up()
        >>> buffer.waiting, buffer.take(2)["x"].shape
        (4, torch.Size([2, 1]))
    """

    def __init__(self, widths: Mapping[str, int], *, capacity: int, seed: int = 0, device: str = "cpu") -> None:
        if capacity < 2:
            raise InputError(f"a mixing buffer of {capacity} rows; expected at least 2")
        self.capacity = capacity
        self._slots = {name: torch.empty((capacity, width), device=device) for name, width in widths.items()}
        self._seed, self._draws = seed, 0
        self._free = np.arange(capacity)
        self._held = np.empty(0, np.int64)
        self._queue = np.empty(0, np.int64)

    @property
    def room(self) -> int:
        """Rows that can be added."""
        return len(self._free)

    @property
    def waiting(self) -> int:
        """Rows that are lined up and can be taken."""
        return len(self._queue)

    @property
    def held(self) -> dict[str, Float[Tensor, "r _"]]:
        """Copies of the rows that are not lined up."""
        return {name: pool[torch.from_numpy(self._held).to(pool.device)] for name, pool in self._slots.items()}

    def add(self, rows: Mapping[str, Float[Tensor, "r _"]]) -> int:
        """Puts in as many of the first rows as there is room for; returns their number."""
        fits = min(self.room, len(next(iter(rows.values()))))
        slots, self._free = self._free[:fits], self._free[fits:]
        self._held = np.concatenate([self._held, slots])
        for name, pool in self._slots.items():
            pool[torch.from_numpy(slots).to(pool.device)] = rows[name][:fits].to(pool)
        return fits

    def line_up(self) -> None:
        """Chooses at random half of the pool (less what is lined up already) to go out next."""
        self._choose(max(0, self.capacity // 2 - self.waiting))

    def flush(self) -> None:
        """Lines up all rows in the pool."""
        self._choose(len(self._held))

    def take(self, n: int) -> dict[str, Float[Tensor, "n _"]]:
        """The next ``n`` rows that are lined up, copies; their slots are free from now on."""
        if n > self.waiting:
            raise InputError(f"{n} rows were asked of a mixing buffer that has {self.waiting} lined up; add more first")
        slots, self._queue = self._queue[:n], self._queue[n:]
        self._free = np.concatenate([self._free, slots])
        return {
            name: pool.index_select(0, torch.from_numpy(slots).to(pool.device)) for name, pool in self._slots.items()
        }

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on alike: the rows, where they stand, and how often the order was drawn."""
        orders = {name: torch.from_numpy(getattr(self, f"_{name}").copy()) for name in _ORDERS}
        pools = {f"pool.{name}": pool for name, pool in self._slots.items()}
        return {**pools, **orders, "draws": torch.tensor(self._draws)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state`` was taken."""
        for name, pool in self._slots.items():
            pool.copy_(state[f"pool.{name}"])
        for name in _ORDERS:
            setattr(self, f"_{name}", state[name].numpy().copy())
        self._draws = int(state["draws"])

    def _choose(self, n: int) -> None:
        order = np.random.default_rng([self._seed, self._draws]).permutation(self._held)
        self._draws += 1
        self._queue = np.concatenate([self._queue, order[:n]])
        self._held = order[n:]
