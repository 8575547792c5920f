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
        self.folder, self._todo = folder, todo
        spans = [[span.start, span.stop] for span in todo.shards]
        self._files = {
            "ids": (store.IDS, store.to_json([str(id_) for id_ in todo.task.ids])),
            "batches": (store.BATCHES, store.to_json({"shards": spans, "batches": [b.tolist() for b in todo.batches]})),
        }
        entries = {
            key: {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for key, (name, data) in self._files.items()
        }
        self.manifest: dict[str, Any] = {**todo.manifest(), "files": entries, "shards": [None] * len(todo.shards)}
        store.clear_unfinished(folder)
        self.new = not (folder / store.MANIFEST).exists()
        if not self.new:
            there = store.read_json(folder / store.MANIFEST)
            self._check_same(there)
            self.manifest = there

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
        cost = self._todo.shard_bytes(missing) if len(missing) < len(self._todo.shards) else self._todo.bytes
        free = shutil.disk_usage(self.folder).free
        _log.info("%s: %s to write to %s", self._todo.model.name, store.size_text(cost), self.folder)
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

    def add(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes one shard, then lists it."""
        entry = store.write_shard(self.folder / store.shard_name(number), tensors)
        self.manifest["shards"][number] = entry
        self._write_manifest(complete=False)

    def finish(self) -> None:
        self._note({"finished": _now()})
        self._write_manifest(complete=True)

    def _write_files(self) -> None:
        for key, (name, data) in self._files.items():
            if store.fault(self.folder, self.manifest["files"][key]):
                store.write_file(self.folder / name, data)

    def _write_manifest(self, *, complete: bool) -> None:
        self.manifest["complete"] = complete
        store.write_file(self.folder / store.MANIFEST, store.to_json(self.manifest))

    def _note(self, fact: dict[str, str]) -> None:
        path = self.folder / store.TIMES
        try:
            notes = store.read_json(path)
        except StoreError:
            notes = []
        store.write_file(path, store.to_json([*notes, fact]))

    def _check_same(self, there: Any) -> None:
        if not isinstance(there, dict) or there.get("format") != store.FORMAT:
            raise StoreError(f"activations {str(self.folder)!r} are of another format; choose another folder")
        self._compare(_identity(there), _identity(self.manifest), "choose another folder, or remove this one")

    def _check_arithmetic(self) -> None:
        mend = "finish it with the same set-up, or extract into another folder"
        self._compare(_arithmetic(self.manifest), _arithmetic(self._todo.manifest()), mend)

    def _compare(self, there: dict[str, Any], here: dict[str, Any], mend: str) -> None:
        for name, value in here.items():
            if there[name] != value:
                raise StoreError(
                    f"activations {str(self.folder)!r} were made with {name} {_short(there[name], value)}, now it is "
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
