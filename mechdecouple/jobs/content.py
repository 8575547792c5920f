"""One hash of everything behind a reference that a result could depend on, without loading a model where possible."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mechdecouple.activations.store import make_folder
from mechdecouple.errors import InputError
from mechdecouple.jobs.locks import write_alone
from mechdecouple.models.configs import find_config
from mechdecouple.models.hub import HubRef, hub_commit, hub_config, parse_hub
from mechdecouple.refs import load

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_READ = (*_WEIGHTS, ".json", ".yaml", ".yml", ".model", ".txt", ".jinja")
_OF_TRAINING = ("optimizer", "scheduler", "scaler", "rng_state", "training_args", "trainer_state")
"""How the names of files begin that a training run leaves beside a checkpoint, and no model is read from."""

_MUCH = 2**32
"""Bytes read after which hashes are kept, so that a plan of many models that is stopped does not read them again."""


class Contents:
    """Hashes of models, remembered by the path, size and times of each file.

    Args:
        memory: file in which hashes of files are kept from one job to the next; unreadable ones are made anew.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory, self._unsaved = memory, 0
        self._known: dict[str, str] = {}
        if memory is not None and memory.is_file():
            try:
                self._known = {str(k): str(v) for k, v in json.loads(memory.read_text(encoding="utf-8")).items()}
            except (ValueError, AttributeError):
                self._known = {}

    def of_model(self, ref: str, **options: Any) -> str:
        """sha256 of the weights, configuration and tokenizer behind a reference.

        A directory or file is hashed as it lies there; a hub id is known by the commit that it stands for now; anything
        else (``zoo:NAME``, a factory) is loaded.

        Args:
            options: those of `mechdecouple.load`.

        Raises:
            InputError: the directory holds no files of a model. ModelError: nothing answers to the reference.
        """
        path = Path(ref).expanduser()
        if path.is_file():
            files = [path, *sorted(p for p in path.parent.glob("*.[jy]*") if p.suffix in (".json", ".yaml", ".yml"))]
        elif path.is_dir():
            files = _files(path)
            if not files:
                raise InputError(f"{ref!r} holds no files of a model ({', '.join(_READ[:5])} …): name its directory")
        elif (hub := _on_hub(ref)) is not None:
            return _joined([("commit", hub_commit(hub))])
        else:
            model = load(ref, **options)
            return _joined([("weights", model.weight_hash), ("tokenizer", model.tokenizer_hash)])
        return _joined([(p.name, self._of_file(p)) for p in files])

    def of_shape(self, ref: str) -> str:
        """sha256 of what is behind a reference but its weights: models that agree in it cost the same on one task.

        Raises:
            ModelError: nothing answers to a hub id.
        """
        path = Path(ref).expanduser()
        if path.is_file():
            config = find_config(path)
            return _joined([("config", str(path) if config is None else self._of_file(config))])
        if path.is_dir():
            return _joined([(p.name, self._of_file(p)) for p in _files(path) if p.suffix not in _WEIGHTS])
        if (hub := _on_hub(ref)) is not None:
            return _joined([(hub.repo, self._of_file(hub_config(hub)))])
        return _joined([("ref", ref.partition("@")[0] if ref.startswith("zoo:") else ref)])

    def save(self) -> None:
        """Remember the hashes of files."""
        self._unsaved = 0
        if self._memory is not None:
            make_folder(self._memory.parent)
            text = json.dumps(self._known, indent=0, sort_keys=True)
            write_alone(self._memory, f"{text}\n".encode())

    def _of_file(self, path: Path) -> str:
        facts = path.stat()
        # Both times: whoever copies or moves another file there may give it the old one's time of modification.
        key = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}"
        if key not in self._known:
            with open(path, "rb") as file:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
            self._unsaved += facts.st_size
            if self._unsaved > _MUCH:
                self.save()
        return self._known[key]


def _files(folder: Path) -> list[Path]:
    """The files of a directory that a model could be read from, by name."""
    return sorted(
        p for p in folder.iterdir() if p.is_file() and p.suffix in _READ and not p.name.startswith(_OF_TRAINING)
    )


def _on_hub(ref: str) -> HubRef | None:
    """What a reference that is no path names on the hub; None for ``zoo:NAME`` and factories, and for lost files."""
    return None if Path(ref).suffix in _WEIGHTS else parse_hub(ref)


def _joined(parts: list[tuple[str, str]]) -> str:
    return hashlib.sha256("\n".join(f"{name} {value}" for name, value in parts).encode()).hexdigest()
