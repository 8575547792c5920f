"""Pairs: the same rows in two models, read in lock-step; arrays, or activations that may lie on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.training.rows import Order

Rows: TypeAlias = np.ndarray | Activations

_WINDOW = 2**24
_SAMPLE = 65_536
_READ = 4096


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of model A beside those of model B; made by ``pair_rows``.

    Attributes:
        a, b: tables ``[n, d_a]`` and ``[n, d_b]``, or activations with a hook point.
        hook_point_a, hook_point_b: what is read of activations; empty for arrays.
        n: rows of each. d_a, d_b: their widths.
    """

    a: Rows
    b: Rows
    hook_point_a: str
    hook_point_b: str
    n: int
    d_a: int
    d_b: int

    def rows(self, index: Int[np.ndarray, " r"]) -> tuple[Float[np.ndarray, "r da"], Float[np.ndarray, "r db"]]:
        """The rows at ``index`` in both models, float32. Ascending indices are read fastest from disk.

        Raises:
            InputError: NaN or infinity among them; the row, and its item where ids are known, is named.
        """
        return self._side("A", self.a, self.hook_point_a, index), self._side("B", self.b, self.hook_point_b, index)

    def batches(self, index: Int[np.ndarray, " r"], size: int = _READ) -> Iterator[tuple[np.ndarray, ...]]:
        """The rows at ``index`` in order, at most ``size`` at a time: (their indices, rows of A, rows of B)."""
        for start in range(0, len(index), size):
            part = index[start : start + size]
            yield (part, *self.rows(part))

    def shuffled(self, size: int, steps: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of both for ``steps`` steps: permutations of all n rows, one after another, cut into equal batches.

        After s steps each row was seen ⌊s·size/n⌋ or ⌈s·size/n⌉ times. Rows are read in windows of 64 MiB in ascending
        order and dealt out in the order of the permutation, so that memory is flat and a disk is read forwards.
        """
        order, at_once = Order(self.n, seed), max(_WINDOW // (self.d_a + self.d_b) // size, 1)
        for first in range(0, steps, at_once):
            now = order.take(size * min(at_once, steps - first))
            ascending = np.argsort(now, kind="stable")
            a, b = self.rows(now[ascending])
            place = np.empty_like(ascending)
            place[ascending] = np.arange(len(now))
            for start in range(0, len(now), size):
                yield a[place[start : start + size]], b[place[start : start + size]]

    def moments(self) -> tuple[Moments, Moments]:
        """Mean and scale of each model, from at most 65,536 rows spread evenly over all.

        Raises:
            InputError: the rows of a model do not differ.
        """
        index = np.unique(np.linspace(0, self.n - 1, min(self.n, _SAMPLE)).astype(np.int64))
        sums = [np.zeros(self.d_a), np.zeros(self.d_b)]
        for _, *rows in self.batches(index):
            for total, x in zip(sums, rows, strict=True):
                total += x.sum(0, dtype=np.float64)
        means = [total / len(index) for total in sums]
        squares = np.zeros(2)
        for _, *rows in self.batches(index):
            squares += [np.square(x - mean).sum() for x, mean in zip(rows, means, strict=True)]
        found = []
        for name, mean, square in zip("AB", means, squares, strict=True):
            rms = math.sqrt(square / len(index))
            if not rms > 1e-6 * float(np.linalg.norm(mean)):
                raise InputError(f"all {self.n} rows of model {name} are the same; a crosscoder needs rows that differ")
            found.append(Moments(mean.astype(np.float32), math.sqrt((self.d_a + self.d_b) / 2) / rms))
        return found[0], found[1]

    def _side(self, name: str, source: Rows, hook_point: str, index: np.ndarray) -> Float[np.ndarray, "r d"]:
        stored = isinstance(source, Activations)
        x = source.select(index)[hook_point] if stored else np.asarray(source[index], np.float32)
        if not np.isfinite(x).all():
            row = int(index[int(np.argmin(np.isfinite(x).all(axis=1)))])
            item = f" (item {str(source.ids[row])!r})" if stored else ""
            raise InputError(f"row {row}{item} of model {name} holds NaN or infinity; drop such rows in both models")
        return x


@dataclass(frozen=True, eq=False)
class Moments:
    """Of one model's rows: their mean, and what brings their rms distance from it to √((d_a + d_b)/2)."""

    mean: Float[np.ndarray, " d"]
    scale: float


def pair_rows(a: Rows, b: Rows, hook_point_a: str | None = None, hook_point_b: str | None = None) -> Pairs:
    """Lay two models' rows side by side.

    Args:
        a, b: arrays ``[n, d]`` whose rows are of the same items and tokens, or Activations, where that is checked.
        hook_point_a, hook_point_b: which to read of Activations; not needed where there is only one.

    Raises:
        InputError: not a table, no rows, or no such hook point.
        MismatchError: another number of rows, another id or token somewhere; the first is named.
    """
    point_a, d_a = _width("A", a, hook_point_a)
    point_b, d_b = _width("B", b, hook_point_b)
    if isinstance(a, Activations) and isinstance(b, Activations):
        a.check_aligned(b)
        _check_tokens(a, b)
    elif len(a) != len(b):
        raise MismatchError(
            f"model A has {len(a)} rows and model B {len(b)}; give the same items of both, in one order"
        )
    if not len(a):
        raise InputError("there are no rows; a crosscoder needs activations of both models on the same items")
    return Pairs(a, b, point_a, point_b, len(a), d_a, d_b)


def model_of(source: Rows) -> dict[str, Any]:
    """What activations know of the model that they are of; nothing for arrays."""
    return (source.manifest.get("model") or {}) if isinstance(source, Activations) else {}


def _width(name: str, source: Rows, hook_point: str | None) -> tuple[str, int]:
    if isinstance(source, Activations):
        if hook_point is None and len(source.hook_points) != 1:
            raise InputError(
                f"model {name} has hook points {', '.join(source.hook_points)}; name one with hook_point_{name.lower()}"
            )
        hook_point = source.hook_points[0] if hook_point is None else hook_point
        return hook_point, source.width(hook_point)
    if not isinstance(source, np.ndarray) or source.ndim != 2 or not source.shape[1]:
        shape = getattr(source, "shape", type(source).__name__)
        raise InputError(f"rows of model {name} have shape {shape}, expected an array [rows, width] or Activations")
    return hook_point or "", source.shape[1]


def _check_tokens(a: Activations, b: Activations) -> None:
    if (a.position == "all") != (b.position == "all"):
        raise MismatchError(
            f"model A was read at position {a.position!r} and model B at {b.position!r}; extract both at one position"
        )
    if a.tokens is None or b.tokens is None:
        return
    (differ,) = np.nonzero(a.tokens != b.tokens)
    if len(differ):
        at = int(differ[0])
        raise MismatchError(
            f"rows are not aligned: row {at} (item {str(a.ids[at])!r}) is token {a.tokens[at]} in model A and "
            f"{b.tokens[at]} in model B; a crosscoder needs both models to read the same tokens"
        )
