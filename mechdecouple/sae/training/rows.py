"""Rows to train on, wherever they lie, in an order that is random over all of them and never repeats itself.

An order is a permutation of all rows, then another, and so on. Rows on disk are gathered in windows of it: sorted
within a window the gather runs at the speed of the disk, and what is held does not grow with the number of rows.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError

SAMPLE_ROWS = 65_536
"""Rows from which mean and scale are taken; all of them where there are no more."""
_DISK_WINDOW, _MEMORY_WINDOW = 128 * 2**20, 8 * 2**20


@dataclass(frozen=True)
class Moments:
    """Where rows lie and how far they spread: their mean, their root-mean-square distance from it, and a fingerprint.

    Attributes:
        rows: how many rows they are taken from.
        sha256: of these rows; empty where unknown.
    """

    mean: Float[np.ndarray, " d"]
    rms: float
    rows: int
    sha256: str = ""

    @classmethod
    def of(cls, X: Float[np.ndarray, "n d"]) -> Moments:
        """Those of the given rows, summed in float64.

        Raises:
            InputError: all rows are the same.
        """
        mean = X.mean(0, dtype=np.float64)
        square = 0.0
        for start in range(0, len(X), 4096):
            square += float(np.square(X[start : start + 4096] - mean).sum())
        rms = float(np.sqrt(square / len(X)))
        if not rms > 1e-6 * float(np.linalg.norm(mean)):
            raise InputError(f"all {len(X)} rows of the activations are the same; an SAE needs rows that differ")
        return cls(mean, rms, len(X), hashlib.sha256(np.ascontiguousarray(X).data).hexdigest())


class Order:
    """Row numbers 0 to n − 1 in random order, one permutation after another."""

    def __init__(self, n: int, seed: int) -> None:
        self._n, self._generator = n, np.random.default_rng(seed)
        self._waiting = np.empty(0, np.int64)

    def take(self, k: int) -> Int[np.ndarray, " k"]:
        """The next k. After s rows in all, each was drawn ⌊s/n⌋ or ⌈s/n⌉ times."""
        parts = [self._waiting]
        while sum(map(len, parts)) < k:
            parts.append(self._generator.permutation(self._n))
        drawn = np.concatenate(parts)
        self._waiting = drawn[k:]
        return drawn[:k]

    def skip(self, k: int) -> None:
        """Go past the next k."""
        while k > len(self._waiting):
            k -= len(self._waiting)
            self._waiting = self._generator.permutation(self._n)
        self._waiting = self._waiting[k:]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that can be read by their numbers.

    Attributes:
        n: number of rows.
        widths: hook point to values a row.
        read: rows by number, float32, at every hook point.
        name: what to call a row by its number in an error.
        window: rows to read at once.
        about: what they are, for the record.
    """

    n: int
    widths: dict[str, int]
    read: Callable[[Int[np.ndarray, " r"]], dict[str, Float[np.ndarray, "r _"]]]
    name: Callable[[int], str]
    window: int
    about: dict[str, Any]

    def checked(self, rows: Int[np.ndarray, " r"]) -> dict[str, Float[np.ndarray, "r _"]]:
        """The rows, all of them finite.

        Raises:
            InputError: one is not; it is named.
        """
        found = self.read(rows)
        for hook_point, values in found.items():
            # One finite sum proves all terms finite; a sum that overflowed proves nothing.
            with np.errstate(over="ignore", invalid="ignore"):
                proven = np.isfinite(values.sum())
            if not proven and not (finite := np.isfinite(values).all(axis=1)).all():
                where = f" at hook point {hook_point!r}" if hook_point else ""
                name = self.name(int(rows[np.argmin(finite)]))
                raise InputError(f"{name} of the activations holds NaN or infinity{where}; drop such rows first")
        return found


class Feed(Protocol):
    """What a training draws its batches from.

    Attributes:
        n: rows an epoch.
        widths: hook point to values a row.
        about: what the rows are, for the record.
    """

    n: int
    widths: dict[str, int]
    about: dict[str, Any]

    @property
    def fingerprint(self) -> dict[str, str]:
        """Hashes that agree for the same rows."""
        ...

    def moments(self) -> dict[str, Moments]:
        """Of each hook point, from all rows or a sample of them; asked for before the first batch, if at all."""
        ...

    def batches(self, steps: int) -> Iterator[dict[str, Float[Tensor, "b _"]]]:
        """The next batches: at every hook point the same rows, each row once an epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on alike after the batches that were drawn."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state`` was taken."""
        ...


class Stored:
    """The feed of a table: a permutation of all its rows each epoch, gathered a window at a time."""

    def __init__(self, rows: Table, *, batch_size: int, seed: int = 0, device: str = "cpu") -> None:
        self.n, self.widths, self.about = rows.n, rows.widths, rows.about
        self._table, self._batch_size, self._seed, self._device = rows, batch_size, seed, device
        self._drawn = 0

    @property
    def fingerprint(self) -> dict[str, str]:
        return {hook_point: found.sha256 for hook_point, found in self._moments.items()}

    def moments(self) -> dict[str, Moments]:
        return self._moments

    @functools.cached_property
    def _moments(self) -> dict[str, Moments]:
        chosen = np.arange(self.n)
        if self.n > SAMPLE_ROWS:
            chosen = np.sort(np.random.default_rng(self._seed).choice(self.n, SAMPLE_ROWS, replace=False))
        return {hook_point: Moments.of(values) for hook_point, values in self._table.checked(chosen).items()}

    def batches(self, steps: int) -> Iterator[dict[str, Float[Tensor, "b _"]]]:
        order = Order(self.n, self._seed)
        order.skip(self._drawn * self._batch_size)
        at_once = max(1, self._table.window // self._batch_size)
        for first in range(0, steps, at_once):
            number = min(at_once, steps - first)
            found = self._table.checked(order.take(number * self._batch_size))
            window = {hook_point: torch.from_numpy(values).to(self._device) for hook_point, values in found.items()}
            for at in range(0, number * self._batch_size, self._batch_size):
                self._drawn += 1
                yield {hook_point: values[at : at + self._batch_size] for hook_point, values in window.items()}

    def state(self) -> dict[str, Tensor]:
        return {"drawn": torch.tensor(self._drawn)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._drawn = int(state["drawn"])


def table(source: np.ndarray | Activations, hook_points: tuple[str, ...]) -> Table:
    """The rows of an array (at its only hook point, whatever its name) or of activations.

    Raises:
        InputError: no table of numbers, no rows, or hook points that are not there.
    """
    if isinstance(source, Activations):
        return _of_activations(source, hook_points)
    array = np.asanyarray(source)
    if len(hook_points) != 1:
        raise InputError(f"an array holds one hook point, the recipes name {', '.join(hook_points)}; give Activations")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"activations have shape {array.shape}, expected [rows, width] with at least one row")
    if array.dtype.kind not in "fiu":
        raise InputError(f"activations have dtype {array.dtype}, expected numbers")
    about = {"kind": "array", "rows": len(array)}
    return _of_arrays({hook_points[0]: array}, lambda row: f"row {row}", about)


def _of_arrays(arrays: Mapping[str, np.ndarray], name: Callable[[int], str], about: dict[str, Any]) -> Table:
    widths = {hook_point: values.shape[1] for hook_point, values in arrays.items()}
    mapped = any(isinstance(values, np.memmap) for values in arrays.values())

    def read(rows: np.ndarray) -> dict[str, np.ndarray]:
        if not mapped:
            return {hook_point: values[rows].astype(np.float32, copy=False) for hook_point, values in arrays.items()}
        order = np.argsort(rows)
        return {hook_point: _undone(order, values[rows[order]]) for hook_point, values in arrays.items()}

    window = (_DISK_WINDOW if mapped else _MEMORY_WINDOW) // (4 * sum(widths.values()))
    return Table(len(next(iter(arrays.values()))), widths, read, name, max(1, window), about)


def _of_activations(source: Activations, hook_points: tuple[str, ...]) -> Table:
    if not len(source):
        raise InputError("the activations have no rows; expected at least one")
    widths = {hook_point: source.width(hook_point) for hook_point in hook_points}
    manifest = source.manifest
    about = {
        "kind": "activations", "rows": len(source), "position": source.position, "model": manifest.get("model", {}),
        "task": manifest.get("task", {}),
    }  # fmt: skip

    def name(row: int) -> str:
        token = "" if source.tokens is None else f" (token {int(source.tokens[row])})"
        return f"item {str(source.ids[row])!r}{token}"

    row_bytes = 4 * sum(widths.values())
    if source.path is None or len(source) * row_bytes <= _DISK_WINDOW:
        return _of_arrays({hook_point: source[hook_point] for hook_point in hook_points}, name, about)

    def read(rows: np.ndarray) -> dict[str, np.ndarray]:
        order = np.argsort(rows)
        chosen = source.select(rows[order])
        return {hook_point: _undone(order, chosen[hook_point]) for hook_point in hook_points}

    return Table(len(source), widths, read, name, max(1, _DISK_WINDOW // row_bytes), about)


def _undone(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float32 rows put back from sorted order to that in which they were asked for."""
    out = np.empty(values.shape, np.float32)
    out[order] = values
    return out
