"""Activations: rows named by item id, at several hook points, in memory or lazily read from disk."""

from __future__ import annotations

import difflib
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from mechdecouple.activations import store
from mechdecouple.errors import InputError, MismatchError, StoreError


class Source(Protocol):
    """Where the values lie: a :class:`~mechdecouple.activations.store.Store`, or memory."""

    manifest: dict[str, Any]

    @property
    def item_ids(self) -> np.ndarray: ...
    @property
    def items(self) -> np.ndarray: ...
    @property
    def tokens(self) -> np.ndarray | None: ...
    def read(self, hook_point: str, rows: np.ndarray) -> np.ndarray: ...


class Memory:
    """A source whose values are arrays [rows, width], in item order."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        item_ids: np.ndarray,
        items: np.ndarray,
        tokens: np.ndarray | None,
        manifest: Mapping[str, Any],
    ) -> None:
        self.arrays, self.item_ids, self.items, self.tokens = dict(arrays), item_ids, items, tokens
        widths = [[name, values.shape[1]] for name, values in arrays.items()]
        self.manifest = {**manifest, "hook_points": widths, "items": len(item_ids), "rows": len(items)}

    def read(self, hook_point: str, rows: np.ndarray) -> np.ndarray:
        return self.arrays[hook_point][rows]


class Activations:
    """Activations of one model on one task: for each hook point an array float32 [rows, width].

    Made by :func:`mechdecouple.extract`, :meth:`open` and :meth:`from_arrays`. A row is an item; at position ``"all"``
    it is a token of an item. Rows are in item order, and in an item in token order.

    Attributes:
        hook_points: names that can be read, in the order they were asked for.
        position: ``"last"``, ``"mean"``, ``"all"`` or the task's position column.
        dtype: what the values are stored in; they come out as float32.
        manifest: what the rows are and what made them.
        path: the folder they are read from; None for rows in memory.
    """

    def __init__(self, source: Source, rows: np.ndarray | None = None, path: Path | None = None) -> None:
        self._source, self._rows, self.path = source, rows, path
        self.manifest = source.manifest
        self._widths: dict[str, int] = {name: int(width) for name, width in source.manifest["hook_points"]}
        self.hook_points = tuple(self._widths)
        self.position: str = source.manifest["position"]
        self.dtype: str = source.manifest["dtype"]

    @classmethod
    def open(cls, path: str | Path, verify: bool = False) -> Activations:
        """Activations in a folder; only the manifest is read until values are asked for.

        Args:
            verify: compare every file with its checksum (reads everything once). Without it only sizes are compared.

        Raises:
            StoreError: no store, an incomplete one, or a damaged file, which is named.
        """
        path = Path(path)
        return cls(store.Store(path, verify=verify), path=path)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], ids: Sequence[str], position: str = "last") -> Activations:
        """Activations from arrays [rows, width] that share their rows.

        Args:
            arrays: hook point to values.
            ids: one id a row; only at position ``"all"`` may an id repeat (its tokens, in order, next to one another).

        Raises:
            InputError: shapes that do not fit, a repeated id, a value that is not finite (with its id and hook point).
        """
        names = np.array([str(name) for name in ids], dtype=str)
        if not arrays or not len(names):
            raise InputError(f"got {len(arrays)} hook points and {len(names)} ids; expected at least one of each")
        checked = {str(hook_point): _checked(str(hook_point), values, names) for hook_point, values in arrays.items()}
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if position == "all" else np.arange(len(names))
        item_ids = names[starts]
        unique, counts = np.unique(item_ids, return_counts=True)
        if len(unique) < len(item_ids):
            repeated = unique[counts > 1][0]
            raise InputError(
                f"id {str(repeated)!r} names several rows; expected one row an id at position {position!r}"
            )
        sizes = np.diff(np.r_[starts, len(names)])
        items = np.repeat(np.arange(len(starts)), sizes)
        tokens = np.arange(len(names)) - np.repeat(starts, sizes) if position == "all" else None
        return cls(Memory(checked, item_ids, items, tokens, {"position": position, "dtype": "float32"}))

    def __len__(self) -> int:
        return int(self.manifest["rows"]) if self._rows is None else len(self._rows)

    def width(self, hook_point: str) -> int:
        """Values a row at ``hook_point``."""
        self._check(hook_point)
        return self._widths[hook_point]

    @property
    def items(self) -> np.ndarray:
        """Index of each row's item in the task, int [rows]; a selection keeps it."""
        items = self._source.items
        return items if self._rows is None else items[self._rows]

    @property
    def tokens(self) -> np.ndarray | None:
        """Index of each row's token in its item, int [rows], at position ``"all"``; else None."""
        tokens = self._source.tokens
        return tokens if tokens is None or self._rows is None else tokens[self._rows]

    @property
    def ids(self) -> np.ndarray:
        """Item id of each row, str [rows]."""
        return self._source.item_ids[self.items]

    def __getitem__(self, hook_point: str) -> np.ndarray:
        """All rows of ``hook_point``, float32 [rows, width].

        Raises:
            InputError: it was not extracted; close names are given.
        """
        self._check(hook_point)
        if self._rows is None and isinstance(self._source, Memory):
            return self._source.arrays[hook_point]
        return self._source.read(hook_point, np.arange(len(self)) if self._rows is None else self._rows)

    def __contains__(self, hook_point: object) -> bool:
        return hook_point in self._widths

    def __iter__(self) -> Iterator[str]:
        return iter(self.hook_points)

    def batches(self, hook_point: str, size: int) -> Iterator[np.ndarray]:
        """The rows of ``hook_point`` in order, at most ``size`` at a time; memory does not grow with their number."""
        self._check(hook_point)
        if size < 1:
            raise InputError(f"batches of {size} rows; expected at least 1")
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield self._source.read(hook_point, rows if self._rows is None else self._rows[rows])

    def select(self, mask: np.ndarray | Sequence[int] | Sequence[bool]) -> Activations:
        """The rows where ``mask`` (bool [rows]) is true, or the rows at the given indices; reads nothing.

        Raises:
            InputError: a mask of another length, or an index outside the rows.
        """
        chosen = np.asarray(mask)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise InputError(f"mask of shape {chosen.shape}; expected ({len(self)},), one value a row")
            chosen = np.flatnonzero(chosen)
        elif chosen.size and (chosen.ndim != 1 or chosen.dtype.kind not in "iu"):
            raise InputError(f"selection of {chosen.dtype} {chosen.shape}; expected a mask or a list of row indices")
        chosen = chosen.astype(np.int64)
        outside = chosen[(chosen < -len(self)) | (chosen >= len(self))]
        if len(outside):
            raise InputError(f"row {outside[0]} is not among the {len(self)} rows")
        rows = np.arange(len(self)) if self._rows is None else self._rows
        return Activations(self._source, rows[chosen], self.path)

    def check_aligned(self, other: Any) -> None:
        """Makes sure that ``other`` (activations, a task: anything with ``ids``) has the same ids in the same order.

        Raises:
            MismatchError: it has not; the first difference is named.
        """
        mine, theirs = self.ids, np.asarray(other.ids)
        shared = min(len(mine), len(theirs))
        (differ,) = np.nonzero(mine[:shared] != theirs[:shared])
        if len(differ):
            at = int(differ[0])
            raise MismatchError(
                f"rows are not aligned: row {at} is {str(mine[at])!r} here and {str(theirs[at])!r} there; "
                "extract both models on the same task"
            )
        if len(mine) != len(theirs):
            longer, place = (mine, "here") if len(mine) > len(theirs) else (theirs, "there")
            raise MismatchError(
                f"rows are not aligned: {len(mine)} rows here, {len(theirs)} there; the first without partner is "
                f"{str(longer[shared])!r} {place}; extract both models on the same task"
            )

    def save(self, path: str | Path) -> Activations:
        """Writes these rows to a new folder, in :attr:`dtype`, and returns them as read from there.

        Raises:
            StoreError: the folder holds something already, or cannot be written.
        """
        path = Path(path)
        store.make_folder(path)
        with store.locked(path):
            if any(path.iterdir()):
                raise StoreError(f"folder {str(path)!r} is not empty; choose a new one")
            self._write(path)
        return Activations.open(path)

    def _write(self, path: Path) -> None:
        # A selection is a table of its own: its items are numbered anew.
        items, item = np.unique(self.items, return_inverse=True)
        if self.position != "all" and len(items) < len(self):
            raise InputError("rows selected more than once cannot be saved; select each row at most once")
        about = {k: v for k, v in self.manifest.items() if k not in ("files", "shards")}
        manifest: dict[str, Any] = {
            **about, "format": store.FORMAT, "complete": True, "items": len(items), "rows": len(self),
            "files": {"ids": store.write_file(path / store.IDS, store.to_json(self._source.item_ids[items].tolist()))},
            "shards": [],
        }  # fmt: skip
        size = max(1, store.SHARD_BYTES // (4 * sum(self._widths.values())))
        for start in range(0, len(self), size):
            part = self.select(np.arange(start, min(start + size, len(self))))
            tensors = {h: torch.from_numpy(part[h]).to(store.DTYPES[self.dtype]) for h in self.hook_points}
            tensors[store.ITEM] = torch.from_numpy(item[start : start + size].astype(np.int64))
            if part.tokens is not None:
                tensors[store.TOKEN] = torch.from_numpy(part.tokens.astype(np.int32))
            shard = path / store.shard_name(len(manifest["shards"]))
            manifest["shards"].append(store.write_shard(shard, tensors))
        store.write_file(path / store.MANIFEST, store.to_json(manifest))

    def frame(self) -> pd.DataFrame:
        """Norms (L2) as a tidy table: item, id, token (at ``"all"``), hook_point, position, norm."""
        named = {"item": self.items, "id": self.ids} | ({} if self.tokens is None else {"token": self.tokens})
        parts = []
        for hook_point in self.hook_points:
            norms = [np.linalg.norm(batch, axis=1) for batch in self.batches(hook_point, 4096)]
            norm = np.concatenate(norms) if norms else np.empty(0, np.float32)
            parts.append(pd.DataFrame({**named, "hook_point": hook_point, "position": self.position, "norm": norm}))
        return pd.concat(parts, ignore_index=True)

    def __repr__(self) -> str:
        where = "memory" if self.path is None else repr(str(self.path))
        return f"<Activations in {where}: {len(self)} rows, {len(self.hook_points)} hook points, at {self.position!r}>"

    def _repr_html_(self) -> str:
        model, task = (self.manifest.get(key, {}).get("name") for key in ("model", "task"))
        of = "".join(f" {word} {name}" for word, name in (("of", model), ("on", task)) if name)
        row = "a token" if self.position == "all" else "an item"
        where = "in memory" if self.path is None else f"in {self.path}, read when asked for"
        words = f"Activations{of}: {len(self):,} rows, one {row} (position {self.position}), {self.dtype}, {where}."
        size = store.DTYPES[self.dtype].itemsize * len(self)
        head = "".join(f"<th>{name}</th>" for name in ("hook point", "width", "size"))
        body = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{width:,}</td><td>{store.size_text(size * width)}</td></tr>"
            for name, width in self._widths.items()
        )
        return f"<p>{html.escape(words)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _check(self, hook_point: str) -> None:
        if hook_point not in self._widths:
            close = difflib.get_close_matches(str(hook_point), self.hook_points, n=3) or self.hook_points
            raise InputError(f"hook point {hook_point!r} was not extracted; there are {', '.join(close)}")


def _checked(hook_point: str, values: Any, ids: np.ndarray) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"hook point {hook_point!r}: values are no array of numbers ({error})") from None
    if array.ndim != 2 or len(array) != len(ids) or not array.shape[1]:
        raise InputError(
            f"hook point {hook_point!r} has shape {array.shape}; expected one row an id, ({len(ids)}, width)"
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        at = int(np.argmax(bad))
        value = array[at][~np.isfinite(array[at])][0]
        raise InputError(f"item {str(ids[at])!r} has {value} at hook point {hook_point!r}; expected finite values")
    return array
