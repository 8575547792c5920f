"""Store: activations in a folder, as safetensors shards beside a manifest that holds the checksum of every file.

```
manifest.json            what the rows are, what made them, and name, size and SHA-256 of each file below
ids.json                 the item ids, in item order
batches.json             the batch plan: item indices in the order they were run (extracted stores only)
shard-00000.safetensors  one tensor [rows, width] a hook point; "#item" [rows] is each row's item, "#token" its token
times.json               when it was made and how fast: the one file that differs between two runs of the same work
```
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from mechdecouple.errors import BusyError, StoreError

FORMAT = "mechdecouple.activations/1"
MANIFEST, IDS, BATCHES, TIMES = "manifest.json", "ids.json", "batches.json", "times.json"
ITEM, TOKEN = "#item", "#token"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SHARD_BYTES = 32 * 2**20
_MENDS = {
    errno.ENOSPC: "free some space and run the same command again to go on",
    errno.EDQUOT: "free some space and run the same command again to go on",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f) and run the same command again to go on",
}
_AGAIN = "run the same extraction again to mend it"
_NEEDED = {
    "complete": bool, "position": str, "dtype": str, "hook_points": list, "items": int, "rows": int, "files": dict,
    "shards": list,
}  # fmt: skip


def size_text(n: float) -> str:
    """Bytes in words, e.g. ``"12.3 MB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """The parsed file.

    Raises:
        StoreError: it is missing, unreadable or does not parse.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"activations {str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError:
        raise StoreError(f"activations {str(path)!r} is damaged (not JSON); extract into a new folder") from None


@contextlib.contextmanager
def one_line(what: str, path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into a StoreError that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, "choose a folder you may write to")
        raise StoreError(f"{what} {str(path)!r} failed: {error.strerror or error}; {mend}") from None


def write_file(path: Path, data: bytes) -> dict[str, Any]:
    """Puts ``data`` at ``path`` whole or not at all, and returns its entry for the manifest: file, bytes, sha256.

    Raises:
        StoreError: the disk is full or the folder cannot be written; what was at ``path`` before is untouched.
    """
    part = path.with_name(path.name + ".part")
    with one_line("writing", path):
        try:
            with open(part, "wb") as file:
                _write(file.fileno(), data)
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_shard(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Writes one shard and returns its entry for the manifest: file, bytes, sha256, rows."""
    return {**write_file(path, safetensors.torch.save(dict(tensors))), "rows": len(tensors[ITEM])}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, complete or not.

    Raises:
        StoreError: it cannot be read, does not parse, or is not what a manifest is.
    """
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"activations {str(folder / MANIFEST)!r} are of another format; expected {FORMAT!r}")
    wrong = [name for name, kind in _NEEDED.items() if not isinstance(manifest.get(name), kind)]
    entries = [] if wrong else [*manifest["files"].values(), *(entry for entry in manifest["shards"] if entry)]
    if wrong or not all(isinstance(entry, dict) and {"file", "bytes", "sha256"} <= set(entry) for entry in entries):
        what = f"{wrong[0]!r} is missing or of another kind" if wrong else "a file's name, size or checksum is missing"
        raise StoreError(f"activations {str(folder / MANIFEST)!r} is damaged ({what}); extract into a new folder")
    return manifest


def read_times(folder: Path) -> list[dict[str, Any]]:
    """What each run that worked on a store noted of itself: when it started; when it finished, and how fast it was."""
    try:
        notes = read_json(folder / TIMES)
    except StoreError:
        return []
    return [note for note in notes if isinstance(note, dict)] if isinstance(notes, list) else []


def fault(folder: Path, entry: Mapping[str, Any], *, checksum: bool = True) -> str:
    """What is wrong with a file that the manifest lists; empty where nothing is."""
    path = folder / entry["file"]
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"has {size} bytes instead of {entry['bytes']}"
        if checksum:
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    return "does not match its checksum"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


@contextlib.contextmanager
def locked(folder: Path, what: str = "activations") -> Iterator[None]:
    """Holds ``folder`` for this process; the lock goes with the process, however it ends.

    Raises:
        BusyError: another process is writing there; ``what`` it holds is named.
    """
    with one_line("opening", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"{what} folder {str(folder)!r} is being written by another process; wait for it or choose another"
            ) from None
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes ``folder`` and its parents if need be.

    Raises:
        StoreError: it cannot be made.
    """
    with one_line("making the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)


def clear_unfinished(folder: Path) -> None:
    """Removes from a locked folder what a killed writer left half-written.

    Raises:
        StoreError: the folder holds files that are no activations.
    """
    with one_line("clearing", folder):
        for path in sorted(folder.iterdir()):
            name = path.name.removesuffix(".part")
            if name not in (MANIFEST, IDS, BATCHES, TIMES) and not path.match("shard-*.safetensors*"):
                raise StoreError(
                    f"folder {str(folder)!r} holds {path.name!r}, which is not ours; choose another folder"
                )
        for part in folder.glob("*.part"):
            part.unlink()


class Store:
    """A complete folder of activations, read lazily: opening it reads the manifest only.

    Raises:
        StoreError: the folder is no store, is incomplete, or has a file missing, cut short or (``verify``) altered.
    """

    def __init__(self, path: Path, verify: bool = False) -> None:
        self.path = path
        if not (path / MANIFEST).is_file():
            raise StoreError(f"{str(path)!r} has no {MANIFEST}; expected a folder written by extract")
        self.manifest = read_manifest(path)
        if not self.manifest["complete"]:
            done = sum(entry is not None for entry in self.manifest["shards"])
            total = len(self.manifest["shards"])
            raise StoreError(
                f"activations {str(path)!r} are incomplete ({done} of {total} shards); run the extraction again"
            )
        for entry in [*self.manifest["files"].values(), *self.manifest["shards"]]:
            if reason := fault(path, entry, checksum=verify):
                raise _damaged(path / entry["file"], reason)

    @property
    def item_ids(self) -> np.ndarray:
        """The item ids [n], in item order."""
        return self._item_ids

    @functools.cached_property
    def _item_ids(self) -> np.ndarray:
        return np.array(read_json(self.path / IDS), dtype=str)

    @functools.cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Per row, in item order: shard, row in the shard, item, token (None unless rows are tokens)."""
        items, tokens, sizes = [], [], []
        for number, entry in enumerate(self.manifest["shards"]):
            with self._shard(number) as shard:
                items.append(shard.get_tensor(ITEM).numpy().copy())
                tokens.append(shard.get_tensor(TOKEN).numpy().copy() if TOKEN in shard.keys() else None)  # noqa: SIM118
            sizes.append(entry["rows"])
        item = np.concatenate(items)
        token = None if tokens[0] is None else np.concatenate(tokens)
        order = np.argsort(item, kind="stable") if token is None else np.lexsort((token, item))
        if len(item) != self.manifest["rows"] or not np.array_equal(np.unique(item), np.arange(self.manifest["items"])):
            raise StoreError(f"activations {str(self.path)!r} lack items or repeat them; {_AGAIN}")
        sizes = np.array(sizes)
        shard_of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        row_in = (np.arange(len(item)) - np.repeat(np.cumsum(sizes) - sizes, sizes)).astype(np.int32)
        return shard_of[order], row_in[order], item[order], None if token is None else token[order]

    @property
    def items(self) -> np.ndarray:
        return self._index[2]

    @property
    def tokens(self) -> np.ndarray | None:
        return self._index[3]

    def read(self, hook_point: str, rows: np.ndarray) -> np.ndarray:
        """The given rows (positions in item order) of one hook point, float32 [len(rows), width]."""
        shard_of, row_in, *_ = self._index
        shards, at = shard_of[rows], row_in[rows]
        width = dict(self.manifest["hook_points"])[hook_point]
        out = torch.empty((len(rows), width), dtype=torch.float32)
        for number in np.unique(shards):
            (here,) = np.nonzero(shards == number)
            # The shard is mapped only while it is read, so that resident memory stays that of one answer.
            with self._shard(int(number)) as shard:
                values = shard.get_tensor(hook_point)[torch.from_numpy(at[here].astype(np.int64))]
                out[torch.from_numpy(here)] = values.to(torch.float32)
        return out.numpy()

    @contextlib.contextmanager
    def _shard(self, number: int) -> Iterator[Any]:
        path = self.path / self.manifest["shards"][number]["file"]
        try:
            with safe_open(path, framework="pt") as shard:
                yield shard
        except (SafetensorError, OSError) as error:
            raise _damaged(path, f"cannot be read ({str(error).splitlines()[0]})") from None


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(f"activations {str(path)!r} {reason}; {_AGAIN}")
