"""Checkpoint: a training's folder, from which a killed one goes on and ends with the same bytes.

```
training.json        what is trained on what, whether it is finished, and then size and SHA-256 of the files of the SAEs
state.safetensors    weights, moments of Adam, counters and the shuffled rows in waiting; gone when finished
cfg.json, sae_weights.safetensors    the finished SAE, in SAELens' format (several: a numbered folder each)
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mechdecouple.activations import store
from mechdecouple.errors import StoreError
from mechdecouple.sae.autoencoder import SparseAutoencoder

FORMAT = "mechdecouple.sae-training/1"
_ABOUT, _STATE = "training.json", "state.safetensors"
_SAE = "cfg.json", "sae_weights.safetensors"
_SHA256 = "sha256"
_SCRATCH = ".tmp??????"
"""Where safetensors writes a file before it gives it its name; a killed process leaves it."""
_SECONDS = 60.0
_COST = 20
"""A state is written at most every minute, and so rarely that writing takes at most a twentieth of the time."""

_log = logging.getLogger("mechdecouple.sae")


class Checkpoint:
    """The state of a training's folder; made by :meth:`at`, which holds the folder's lock."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], names: Sequence[str], arithmetic: Mapping[str, Any]
    ) -> None:
        self.folder, self._names = folder, names
        # as they will be read back
        settings, arithmetic = (json.loads(store.to_json(dict(given))) for given in (settings, arithmetic))
        about = folder / _ABOUT
        for name in (_ABOUT, _STATE):
            (folder / f"{name}.part").unlink(missing_ok=True)
        for place in {folder, *(folder / name for name in names)}:
            for left in place.glob(_SCRATCH):
                left.unlink()
        if about.exists():
            self._about = store.read_json(about)
            self._check(settings, "choose another folder, or remove this one")
            if not self._about["finished"]:
                self._check(arithmetic, "go on with the same set-up, or choose another folder")
        else:
            foreign = sorted(path.name for path in folder.iterdir())
            if foreign:
                raise StoreError(
                    f"folder {str(folder)!r} holds {foreign[0]!r}, which is not of this training; choose another folder"
                )
            self._about = {"format": FORMAT, "finished": False, **settings, **arithmetic}
            store.write_file(about, store.to_json(self._about))
        self._written, self._cost = time.monotonic(), 0.0

    @classmethod
    @contextlib.contextmanager
    def at(
        cls, folder: Path, settings: Mapping[str, Any], names: Sequence[str], arithmetic: Mapping[str, Any]
    ) -> Iterator[Checkpoint]:
        """Locks ``folder`` (made if need be) for the length of the ``with`` block.

        Args:
            settings: what must agree for a training to be continued, ready for JSON.
            names: of the folders of the finished SAEs in it; ``""`` is the folder itself.
            arithmetic: what must agree besides, unless the training is finished, for the same bytes.

        Raises:
            StoreError: the folder cannot be made, is in use, holds other things, or was made by other settings.
        """
        store.make_folder(folder)
        with store.locked(folder, "SAE training"):
            yield cls(folder, settings, names, arithmetic)

    @property
    def finished(self) -> list[SparseAutoencoder] | None:
        """The SAEs, where the training is finished.

        Raises:
            StoreError: one of their files is damaged.
        """
        if not self._about["finished"]:
            return None
        for name, entry in self._about.get("files", {}).items():
            if reason := store.fault(self.folder, {**entry, "file": name}):
                raise StoreError(f"SAE {str(self.folder / name)!r} {reason}; remove its folder and train again")
        # The last thing that goes: a kill may have come before.
        (self.folder / _STATE).unlink(missing_ok=True)
        return [SparseAutoencoder.load(self.folder / name) for name in self._names]

    @property
    def due(self) -> bool:
        """Whether it is time to write a state."""
        return time.monotonic() - self._written >= max(_SECONDS, _COST * self._cost)

    def read(self) -> dict[str, Tensor] | None:
        """The last state; None where there is none yet, or where it is damaged: the start leads to the same bytes."""
        path = self.folder / _STATE
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                said = (file.metadata() or {}).get(_SHA256)
            state = safetensors.torch.load_file(path)
            reason = "" if _digest(state) == said else "does not match its checksum"
        except (SafetensorError, OSError) as error:
            state, reason = None, f"cannot be read ({str(error).splitlines()[0]})"
        if reason:
            _log.warning("%s %s; training from the start", path, reason)
            return None
        return state

    def write(self, state: Mapping[str, Tensor]) -> None:
        """Replaces the last state, whole or not at all.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        begun = time.monotonic()
        path = self.folder / _STATE
        part = path.with_name(path.name + ".part")
        with store.one_line("writing", path):
            try:
                safetensors.torch.save_file(dict(state), part, {_SHA256: _digest(state)})
            except SafetensorError as error:
                raise OSError(str(error)) from None
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        self._written = time.monotonic()
        self._cost = self._written - begun

    def finish(self, trained: Sequence[SparseAutoencoder]) -> None:
        """Saves the SAEs, and drops the state."""
        files = {}
        for name, sae in zip(self._names, trained, strict=True):
            sae.save(self.folder / name)
            files |= {str(Path(name, file)): _entry(self.folder / name / file) for file in _SAE}
        self._about |= {"finished": True, "files": files}
        store.write_file(self.folder / _ABOUT, store.to_json(self._about))
        (self.folder / _STATE).unlink(missing_ok=True)

    def _check(self, here: Mapping[str, Any], mend: str) -> None:
        if not isinstance(self._about, dict) or self._about.get("format") != FORMAT:
            raise StoreError(f"{str(self.folder / _ABOUT)!r} is of another format; choose another folder")
        if differs := _difference(self._about, here):
            where, old, new = differs
            raise StoreError(
                f"SAE training in {str(self.folder)!r} was begun with {where} {_short(old)}, now it is {_short(new)}; "
                f"{mend}"
            )


def _entry(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, once it is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(state: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # A copy: of one number, expanded, the stride may be anything, and it could not be seen as bytes.
        plain = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _difference(there: Any, here: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """Where two settings first differ, and both values; None where they agree on all that is here."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        pairs = [(f"{where} {name}", there.get(name), value) for name, value in here.items()]
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = [(f"{where} ({at})", *both) for at, both in enumerate(zip(there, here, strict=True), 1)]
    else:
        return None if there == here else (where.strip(), there, here)
    found = (_difference(old, new, name) for name, old, new in pairs)
    return next((differs for differs in found if differs), None)


def _short(value: Any) -> str:
    text = str(value)
    return repr(text[:12] + "…") if len(text) > 40 else repr(value)
