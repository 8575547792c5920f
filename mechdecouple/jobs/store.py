"""UnitStore: the finished units of any number of jobs, each in a folder of its own, whole or not there at all.

```
units/<stage>/<key>/           what the unit made, and unit.json: the unit, and size and SHA-256 of each file
units/<stage>/<key>.partial/   a unit in work, or one that was killed and goes on when it is asked for again
failed/<key>.json              why a unit failed when it was last tried
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechdecouple.activations.store import TIMES, locked, make_folder, one_line, to_json, write_file
from mechdecouple.errors import BusyError
from mechdecouple.jobs.units import Unit

RECORD = "unit.json"
_WAIT = 0.2


class UnitStore:
    """Finished units by key.

    Args:
        folder: made when the first unit is begun.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def place(self, unit: Unit) -> Path:
        """Where the finished unit lies."""
        return self.at(unit.stage, unit.key)

    def at(self, stage: str, key: str) -> Path:
        return self.folder / "units" / stage / key

    def done(self, unit: Unit) -> bool:
        """Whether it is finished; its files are not read."""
        return (self.place(unit) / RECORD).is_file()

    def fault(self, unit: Unit) -> str:
        """What is wrong with a finished unit, by the checksums of its files; empty where nothing is."""
        place = self.place(unit)
        try:
            record = json.loads((place / RECORD).read_bytes())
            entries: dict[str, dict[str, Any]] = record["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"{RECORD} cannot be read"
        for name, entry in entries.items():
            path = place / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
            if _sha256(path) != entry["sha256"]:
                return f"{name} does not match its checksum"
        return ""

    @contextlib.contextmanager
    def work(self, unit: Unit) -> Iterator[Path | None]:
        """The folder to make a unit in; None where it is finished by then.

        Waits while another process makes the same unit. What is in the folder after the block is the unit, unless the
        block raises; then it stays as it is, to go on from.

        Raises:
            StoreError: the folder cannot be made or written.
        """
        place = self.place(unit)
        partial = place.with_name(place.name + ".partial")
        while not self.done(unit):
            make_folder(partial)
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(locked(partial, "unit"))
                except BusyError:
                    time.sleep(_WAIT)
                    continue
                # While this one waited, the other may have finished and moved the folder away.
                if not partial.exists() or self.done(unit):
                    continue
                yield partial
                self._finish(unit, partial, place)
                return
        with contextlib.suppress(OSError):
            partial.rmdir()
        yield None

    def discard(self, unit: Unit) -> None:
        """Remove a finished unit, a damaged one for example."""
        place = self.place(unit)
        with one_line("removing", place):
            shutil.rmtree(place)

    def fail(self, unit: Unit, reason: str) -> None:
        """Remember why a unit failed."""
        make_folder(self.folder / "failed")
        write_file(self._failure(unit), to_json({"stage": unit.stage, "label": unit.label, "reason": reason}))

    def failure(self, unit: Unit) -> str:
        """Why the unit failed when it was last tried; empty where it did not."""
        try:
            return str(json.loads(self._failure(unit).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _failure(self, unit: Unit) -> Path:
        return self.folder / "failed" / f"{unit.key}.json"

    def _finish(self, unit: Unit, partial: Path, place: Path) -> None:
        files = sorted(p for p in partial.rglob("*") if p.is_file() and p.name not in (TIMES, RECORD))
        entries = {str(p.relative_to(partial)): {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in files}
        record = {key: value for key, value in unit.record().items() if key != "where"}
        write_file(partial / RECORD, to_json({**record, "files": entries}))
        with one_line("finishing", place):
            os.replace(partial, place)
        self._failure(unit).unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
