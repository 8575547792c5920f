"""One hash of everything behind a reference that a result could depend on, without loading a model where possible."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mechdecouple.errors import InputError
from mechdecouple.refs import load

_READ = (".safetensors", ".bin", ".pt", ".pth", ".json", ".yaml", ".yml", ".model", ".txt", ".jinja")


class Contents:
    """Hashes of models, remembered by the path, size and time of each file.

    Args:
        memory: file in which hashes of files are kept from one job to the next; unreadable ones are made anew.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, str] = {}
        if memory is not None and memory.is_file():
            try:
                self._known = {str(k): str(v) for k, v in json.loads(memory.read_text(encoding="utf-8")).items()}
            except (ValueError, AttributeError):
                self._known = {}

    def of_model(self, ref: str, **options: Any) -> str:
        """sha256 of the weights, configuration and tokenizer behind a reference.

        A directory or file is hashed as it lies there; anything else (a hub id, ``zoo:NAME``, a factory) is loaded.

        Args:
            options: those of `mechdecouple.load`.

        Raises:
            InputError: the directory holds no files of a model. ModelError: nothing answers to the reference.
        """
        path = Path(ref).expanduser()
        if path.is_file():
            files = [path, *sorted(p for p in path.parent.glob("*.[jy]*") if p.suffix in (".json", ".yaml", ".yml"))]
        elif path.is_dir():
            files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in _READ)
            if not files:
                raise InputError(f"{ref!r} holds no files of a model ({', '.join(_READ[:5])} …): name its directory")
        else:
            model = load(ref, **options)
            return _joined([("weights", model.weight_hash), ("tokenizer", model.tokenizer_hash)])
        return _joined([(p.name, self._of_file(p)) for p in files])

    def save(self) -> None:
        """Remember the hashes of files."""
        if self._memory is not None:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self._known, indent=0, sort_keys=True)
            part = self._memory.with_name(self._memory.name + ".part")
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(self._memory)

    def _of_file(self, path: Path) -> str:
        facts = path.stat()
        key = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"
        if key not in self._known:
            with open(path, "rb") as file:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._known[key]


def _joined(parts: list[tuple[str, str]]) -> str:
    return hashlib.sha256("\n".join(f"{name} {value}" for name, value in parts).encode()).hexdigest()
