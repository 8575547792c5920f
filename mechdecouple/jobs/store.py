"""UnitStore: the finished units of any number of jobs, each in a folder of its own, whole or not there at all.

```
units/<stage>/<key>/           what the unit made, and unit.json: the unit, and size and SHA-256 of each file
units/<stage>/<key>.partial/   a unit in work, or one that was killed and goes on when it is asked for again
units/<stage>/<key>.lock       held by the process that makes the unit, which removes it at the end
units/<stage>/<key>.gone-*/    a damaged unit on its way out
failed/<key>.json              why a unit failed when it was last tried, and where
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from mechdecouple.activations import store as files
from mechdecouple.activations.store import TIMES, make_folder, one_line, to_json, write_file
from mechdecouple.errors import BusyError, MechDecoupleError, StoreError
from mechdecouple.jobs.locks import alone, hold, is_held, sweep, write_alone
from mechdecouple.jobs.units import Unit

RECORD = "unit.json"
PARTIAL, LOCK, GONE = ".partial", ".lock", ".gone-"
_log = logging.getLogger("mechdecouple.jobs")


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

    def partial(self, unit: Unit) -> Path:
        """Where the unit lies until it is finished."""
        return _beside(self.place(unit), PARTIAL)

    def done(self, unit: Unit) -> bool:
        """Whether it is finished; its files are not read."""
        return (self.place(unit) / RECORD).is_file()

    def in_work(self, unit: Unit) -> bool:
        """Whether a process makes it at this moment; asking disturbs nobody."""
        return is_held(_beside(self.place(unit), LOCK))

    def fault(self, unit: Unit) -> str:
        """What is wrong with a finished unit, by the checksums of its files; empty where nothing is."""
        return self._fault(unit.stage, unit.key)

    @contextlib.contextmanager
    def work(self, unit: Unit) -> Iterator[Path | None]:
        """The folder to make a unit in; None where it is finished by then.

        Waits while another process makes the same unit. What is in the folder after the block is the unit, unless the
        block raises; then the reason is remembered, and the folder stays as it is, to go on from.

        Raises:
            StoreError: the folder cannot be made or written.
        """
        place, partial = self.place(unit), self.partial(unit)
        if not self.done(unit):
            make_folder(place.parent)
            if self.in_work(unit):
                _log.info("%s of %s is being made by another process: waiting for it", unit.stage, unit.label)
            with alone(_beside(place, LOCK)):
                # While this one waited, the other may have finished it.
                if not self.done(unit):
                    make_folder(partial)
                    try:
                        yield partial
                        self._finish(unit, partial, place)
                    except Exception as error:
                        with contextlib.suppress(OSError):
                            partial.rmdir()
                        with contextlib.suppress(MechDecoupleError):
                            self.fail(unit, reason_of(error), "".join(traceback.format_exception(error)))
                        raise
                    return
        yield None

    @contextlib.contextmanager
    def reading(self, stage: str, key: str) -> Iterator[Path]:
        """The folder of a finished unit, which nobody removes during the block; its files match their checksums.

        Raises:
            StoreError: it is not there, or damaged.
        """
        place = self.at(stage, key)
        with hold(place / RECORD, exclusive=False) as held:
            fault = self._fault(stage, key) if held else "it is not there, or being removed"
            if fault:
                raise StoreError(f"{stage} {str(place)!r} cannot be used: {fault}; run the job again to make it anew")
            yield place

    def discard(self, unit: Unit) -> None:
        """Remove a finished unit.

        Raises:
            BusyError: another process is reading it. StoreError: it cannot be removed.
        """
        self._remove(self.place(unit))

    def mend(self, unit: Unit) -> str:
        """Remove a finished unit that is damaged, so that it is made again; what was wrong with it, empty where nothing
        was.

        Raises:
            BusyError: it is damaged, and another process is reading it. StoreError: it cannot be removed.
        """
        fault = self.fault(unit) if self.done(unit) else ""
        # Another process may have put a whole one in its place since.
        if fault and self._remove(self.place(unit), unless=lambda: not self.fault(unit)):
            return fault
        return ""

    def fail(self, unit: Unit, reason: str, where: str = "") -> None:
        """Remember why a unit failed, and where in the program."""
        make_folder(self.folder / "failed")
        record = {"stage": unit.stage, "label": unit.label, "reason": reason, "traceback": where}
        write_alone(self._failure(unit), to_json(record))

    def failure(self, unit: Unit) -> str:
        """Why the unit failed when it was last tried; empty where it did not, or is done by now."""
        try:
            reason = str(json.loads(self._failure(unit).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return "" if self.done(unit) else reason

    def sweep(self) -> None:
        """Remove what processes that were killed left of locks and of damaged units; what is in use stays."""
        for lock in [*self.folder.glob(f"units/*/*{LOCK}"), *self.folder.glob(f"failed/*{LOCK}")]:
            sweep(lock)
        for gone in self.folder.glob(f"units/*/*{GONE}*"):
            shutil.rmtree(gone, ignore_errors=True)

    def _failure(self, unit: Unit) -> Path:
        return self.folder / "failed" / f"{unit.key}.json"

    def _fault(self, stage: str, key: str) -> str:
        place = self.at(stage, key)
        try:
            record = json.loads((place / RECORD).read_bytes())
            made = Unit(record["stage"], record["spec"], {}, tuple(record["needs"]))
            if (made.stage, made.key) != (stage, key):
                return f"{RECORD} is of another unit"
            for name, entry in record["files"].items():
                if reason := files.fault(place, {**entry, "file": name}):
                    return f"{name} {reason}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return f"{RECORD} cannot be read"
        return ""

    def _finish(self, unit: Unit, partial: Path, place: Path) -> None:
        with one_line("finishing", place):
            # A killed writer may have left half of its own record.
            (partial / f"{RECORD}.part").unlink(missing_ok=True)
            made = sorted(p for p in partial.rglob("*") if p.is_file() and p.name not in (TIMES, RECORD))
            entries = {str(p.relative_to(partial)): {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in made}
            record = {key: value for key, value in unit.record().items() if key != "where"}
            write_file(partial / RECORD, to_json({**record, "files": entries}))
            self._failure(unit).unlink(missing_ok=True)
            # Something without a record: no unit, and in the way of one.
            if place.exists():
                _throw_away(place)
            os.replace(partial, place)

    def _remove(self, place: Path, unless: Callable[[], bool] = lambda: False) -> bool:
        """Whether it was removed: not where it is gone by then, or ``unless`` says that it is to stay."""
        with hold(place / RECORD, exclusive=True) as held:
            if not held:
                if (place / RECORD).exists():
                    raise BusyError(f"{str(place)!r} is being read by another process; wait for it")
                return False
            if unless():
                return False
            _throw_away(place)
        return True


def reason_of(error: Exception) -> str:
    """What an error says, in one line; those that are not of this package with their kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MechDecoupleError) else f"{type(error).__name__}: {text}"


def _beside(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)


def _throw_away(place: Path) -> None:
    """Removes a folder, of which nobody sees a half."""
    gone = _beside(place, f"{GONE}{uuid.uuid4().hex}")
    with one_line("removing", place):
        os.replace(place, gone)
        shutil.rmtree(gone)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
