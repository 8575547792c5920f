"""share_out: units to a crew of workers, each as soon as its needs are met and a worker is free."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mechdecouple.errors import MechDecoupleError
from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.executors.schedule import Schedule
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit

_log = logging.getLogger("mechdecouple.jobs")


@dataclasses.dataclass(frozen=True)
class Word:
    """What is heard of a worker: it is ready for its first unit, has ended one, or is lost.

    Attributes:
        worker: its number.
        outcome: of the unit that it had.
        lost: why it is no more; empty while it is there.
    """

    worker: int
    outcome: Outcome | None = None
    lost: str = ""


class Crew(Protocol):
    """Workers in processes of their own, numbered from 0."""

    def start(self, worker: int) -> None:
        """Begin to make a worker, in place of a lost one if there was one."""
        ...

    def give(self, worker: int, unit: Unit) -> None:
        """Hand a unit to a worker that is ready and has none; a loss shows in :meth:`hear`."""
        ...

    def hear(self) -> Word:
        """Wait for the next word of any worker."""
        ...


def share_out(units: Sequence[Unit], folder: Path, crew: Crew, size: int) -> Iterator[Outcome]:
    """The outcome of every unit, as it ends.

    A worker that is lost is made anew, and its unit is tried once more by whichever worker is free first; lost with a
    second worker, the unit has failed. A worker that is lost before it was ready is not made again.

    Args:
        folder: of the :class:`UnitStore`.
        size: workers to make; no more are made than there are units.

    Raises:
        MechDecoupleError: no worker could be started.
    """
    schedule, tried = Schedule(units), set[str]()
    starting, idle, busy = set(range(min(size, len(units)))), list[int](), dict[int, tuple[Unit, float]]()
    held: dict[int, tuple[str, ...]] = {}
    for worker in starting:
        crew.start(worker)
    while schedule:
        for worker in list(idle):
            elsewhere = {model for other, models in held.items() if other != worker for model in models}
            unit = nearest(schedule.ready(), held.get(worker, ()), elsewhere)
            if unit is None:
                break
            schedule.begin(unit)
            idle.remove(worker)
            busy[worker] = unit, time.perf_counter()
            held[worker] = models_of(unit) or held.get(worker, ())
            crew.give(worker, unit)
        word = crew.hear()
        unit, began = busy.pop(word.worker, (None, 0.0))
        if word.outcome is not None:
            idle.append(word.worker)
            yield from schedule.end(word.outcome)
        elif not word.lost:
            starting.remove(word.worker)
            idle.append(word.worker)
        elif word.worker in starting:
            starting.remove(word.worker)
            _log.warning("worker %d could not be started: %s", word.worker, word.lost)
            if not (starting or idle or busy):
                raise MechDecoupleError(f"no worker could be started: {word.lost}")
        else:
            held.pop(word.worker, None)
            idle = [worker for worker in idle if worker != word.worker]
            crew.start(word.worker)
            starting.add(word.worker)
            if unit is None:
                continue
            if unit.key not in tried:
                tried.add(unit.key)
                _log.warning("%s of %s: %s; it is tried once more", unit.stage, unit.label, word.lost)
                schedule.again(unit)
                continue
            reason = f"its worker was lost twice ({word.lost}): where memory ran out, use fewer workers"
            UnitStore(folder).fail(unit, reason)
            yield from schedule.end(Outcome.failed(unit, reason, time.perf_counter() - began))


def nearest(units: Iterable[Unit], held: Collection[str], elsewhere: Collection[str]) -> Unit | None:
    """The unit with most models that a worker holds already, then with fewest that others hold; the first of equals."""

    def nearness(unit: Unit) -> tuple[int, int]:
        models = models_of(unit)
        return sum(model in held for model in models), -sum(model in elsewhere for model in models)

    return max(units, key=nearness, default=None)


def models_of(unit: Unit) -> tuple[str, ...]:
    """Hashes of the models that a unit loads."""
    return tuple(str(unit.spec[name]) for name in ("model", "a", "b") if name in unit.spec)


def threads_of(units: Sequence[Unit]) -> int:
    """The threads of the unit that takes most."""
    return max((int(unit.spec["threads"]) for unit in units), default=1)


def devices_of(units: Sequence[Unit]) -> set[str]:
    """The devices that units compute on, wherever their stage keeps it: ``cpu``, ``cuda``, ``cuda:1``, ``auto``."""
    found = set()
    for unit in units:
        spec = unit.spec
        found.add(spec.get("device") or (spec.get("loading") or spec.get("options") or {}).get("device", "cpu"))
    return found
