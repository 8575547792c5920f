"""Writer: fills a folder shard by shard, so that a run killed at any moment goes on and ends with the same bytes."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mechdecouple.activations import store
from mechdecouple.errors import InputError, StoreError
from mechdecouple.extract.planning import Plan

_log = logging.getLogger("mechdecouple.extract")


class Writer:
    """The state of a folder that an extraction fills; made by :meth:`at`, which holds the folder's lock.

    The manifest lists the shards that are whole; it is replaced after each new shard. A shard that was written but not
    yet listed is made again, with the same bytes.
    """

    def __init__(self, folder: Path, todo: Plan) -> None:
        self.folder = folder
        store.clear_unfinished(folder)
        self.new = not (folder / store.MANIFEST).exists()
        there = None if self.new else store.read_manifest(folder)
        self._aim(todo if there is None else _as_it_went(todo, there))
        if there is not None:
            _check_same(folder, there, self.manifest)
            self.manifest = there

    def _aim(self, todo: Plan) -> None:
        self.todo, self._files = todo, _files(todo)
        self.manifest: dict[str, Any] = {
            **todo.manifest(),
            "files": _entries(self._files),
            "shards": [None] * len(todo.shards),
        }

    @classmethod
    @contextlib.contextmanager
    def at(cls, folder: Path, todo: Plan) -> Iterator[Writer]:
        """Locks ``folder`` (made if need be) for the length of the ``with`` block.

        A new folder is removed again when the extraction turns out to be impossible (an InputError, too little space);
        what a kill or a full disk leaves behind can be continued.

        Raises:
            StoreError: the folder cannot be made, is in use, holds other things, or was made by other arguments.
        """
        made = not folder.exists()
        store.make_folder(folder)
        with store.locked(folder):
            writer = None
            try:
                writer = cls(folder, todo)
                yield writer
            except InputError:
                if writer is not None and writer.new:
                    for path in folder.iterdir():
                        path.unlink()
                raise
            finally:
                if made and not any(folder.iterdir()):
                    folder.rmdir()

    def missing(self) -> list[int]:
        """The shards that are still to be made: not written yet, or no longer what the manifest says."""
        missing = []
        for number, entry in enumerate(self.manifest["shards"]):
            if entry is None:
                missing.append(number)
            elif reason := store.fault(self.folder, entry):
                _log.warning("%s %s; it is made again", self.folder / entry["file"], reason)
                missing.append(number)
        if not missing:
            self._write_files()
        elif not self.new:
            self._check_arithmetic()
        return missing

    def begin(self, missing: list[int]) -> None:
        """Says what the ``missing`` shards cost, and records that they are to come once the disk is known to hold them.

        Raises:
            StoreError: it cannot hold them, or cannot be written.
        """
        cost = self.todo.shard_bytes(missing) if len(missing) < len(self.todo.shards) else self.todo.bytes
        free = shutil.disk_usage(self.folder).free
        _log.info("%s: %s to write to %s", self.todo.model.name, store.size_text(cost), self.folder)
        if cost > free:
            raise StoreError(
                f"the activations need {cost:,} bytes and {str(self.folder)!r} has {free:,} free: free some space, "
                "store fewer hook points, or use dtype 'bfloat16'"
            )
        self._write_files()
        for number in missing:
            self.manifest["shards"][number] = None
        self._write_manifest(complete=False)
        self._note({"started": _now()})

    def begin_again(self, smaller: Plan) -> list[int]:
        """Throws away what is there for a plan of smaller batches, and returns the shards to be made."""
        with store.one_line("clearing", self.folder):
            for shard in self.folder.glob("shard-*"):
                shard.unlink()
        self._aim(smaller)
        self._write_manifest(complete=False)
        return list(range(len(smaller.shards)))

    def add(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes one shard, then lists it."""
        entry = store.write_shard(self.folder / store.shard_name(number), tensors)
        self.manifest["shards"][number] = entry
        self._write_manifest(complete=False)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Completes the folder; ``facts`` on the run stand beside the time."""
        self._note({"finished": _now(), **facts})
        self._write_manifest(complete=True)

    def _write_files(self) -> None:
        for key, (name, data) in self._files.items():
            if store.fault(self.folder, self.manifest["files"][key]):
                store.write_file(self.folder / name, data)

    def _write_manifest(self, *, complete: bool) -> None:
        self.manifest["complete"] = complete
        store.write_file(self.folder / store.MANIFEST, store.to_json(self.manifest))

    def _note(self, fact: dict[str, Any]) -> None:
        store.write_file(self.folder / store.TIMES, store.to_json([*store.read_times(self.folder), fact]))

    def _check_arithmetic(self) -> None:
        mend = "finish it with the same set-up, or extract into another folder"
        _compare(self.folder, _arithmetic(self.manifest), _arithmetic(self.todo.manifest()), mend)


def is_complete(folder: Path, todo: Plan, *, checksums: bool = True) -> bool:
    """Whether a folder holds all that the plan makes, undamaged. Needs no lock: any number of readers may look at once.

    Args:
        checksums: read every file and check it; otherwise their sizes alone are looked at.

    Raises:
        StoreError: it holds something complete that other arguments made.
    """
    try:
        there = store.read_manifest(folder)
    except StoreError:
        return False
    if not there["complete"]:
        return False
    todo = _as_it_went(todo, there)
    _check_same(folder, there, {**todo.manifest(), "files": _entries(_files(todo))})
    entries = [*there["files"].values(), *there["shards"]]
    return not any(entry is None or store.fault(folder, entry, checksum=checksums) for entry in entries)


def _as_it_went(todo: Plan, there: Mapping[str, Any]) -> Plan:
    """The plan in batches as small as those that the device had memory for when the folder was begun."""
    limit = there.get("batch_limit")
    return todo.limited(limit) if isinstance(limit, int) and 0 < limit < todo.batch_limit else todo


def _files(todo: Plan) -> dict[str, tuple[str, bytes]]:
    """Name and contents of the files beside the shards."""
    spans = [[span.start, span.stop] for span in todo.shards]
    return {
        "ids": (store.IDS, store.to_json([str(id_) for id_ in todo.task.ids])),
        "batches": (store.BATCHES, store.to_json({"shards": spans, "batches": [b.tolist() for b in todo.batches]})),
    }


def _entries(files: Mapping[str, tuple[str, bytes]]) -> dict[str, dict[str, Any]]:
    return {
        key: {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for key, (name, data) in files.items()
    }


def _check_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    _compare(folder, _identity(there), _identity(here), "choose another folder, or remove this one")


def _compare(folder: Path, there: dict[str, Any], here: dict[str, Any], mend: str) -> None:
    for name, value in here.items():
        if there[name] != value:
            raise StoreError(
                f"activations {str(folder)!r} were made with {name} {_short(there[name], value)}, now it is "
                f"{_short(value, there[name])}; {mend}"
            )


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree for two extractions to give the same rows, in the order in which a difference is told."""
    model, task, files = (manifest.get(key, {}) for key in ("model", "task", "files"))
    return {
        "architecture": model.get("architecture"),
        "weight hash": model.get("weight_hash"),
        "tokenizer hash": model.get("tokenizer_hash"),
        "weight processing": model.get("processing"),
        "model dtype": model.get("dtype"),
        "task fingerprint": task.get("fingerprint"),
        "hook points": manifest.get("hook_points"),
        "position": manifest.get("position"),
        "dtype": manifest.get("dtype"),
        "chat": manifest.get("chat"),
        "special": manifest.get("special"),
        "batch_tokens": manifest.get("batch_tokens"),
        "item ids": files.get("ids", {}).get("sha256"),
        "batch plan": files.get("batches", {}).get("sha256"),
    }


def _arithmetic(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree besides for the same bytes."""
    model = manifest["model"]
    return {"device": model.get("device"), **{f"{k} version": v for k, v in model.get("versions", {}).items()}}


def _short(value: Any, other: Any) -> str:
    """A value in a few words; of two lists, the first entry that differs."""
    if isinstance(value, list) and isinstance(other, list):
        pairs = enumerate(zip(value, other, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(value), len(other)))
        return f"{value[at][0]!r} (number {at + 1}, width {value[at][1]})" if at < len(value) else f"only {at}"
    text = str(value)
    return repr(text[:12] + "…") if isinstance(value, str) and len(text) > 40 else repr(value)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
