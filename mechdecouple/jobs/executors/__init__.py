"""Executors: whatever does the units of a job, one at a time, in processes of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mechdecouple.errors import InputError
from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.executors.processes import Processes
from mechdecouple.jobs.executors.ray import Ray
from mechdecouple.jobs.executors.schedule import Schedule
from mechdecouple.jobs.executors.serial import Serial
from mechdecouple.jobs.units import Unit

__all__ = ["EXECUTORS", "Executor", "Outcome", "Processes", "Ray", "Schedule", "Serial", "make_executor"]

EXECUTORS = ("serial", "processes", "ray")


class Executor(Protocol):
    """Does units of work, each by :func:`mechdecouple.jobs.work.do`, so that all executors leave the same bytes."""

    def run(self, units: Sequence[Unit], folder: Path) -> Iterator[Outcome]:
        """The outcome of every unit, as it ends; one that fails ends only those that need it.

        Args:
            units: those that others need first.
            folder: of the :class:`mechdecouple.jobs.store.UnitStore`.
        """
        ...


def make_executor(name: str = "serial", workers: int | None = None, address: str | None = None) -> Executor:
    """An executor by name.

    Args:
        name: one of :data:`EXECUTORS`.
        workers: units at a time; as many as there is room for when absent; ``serial`` takes none.
        address: of a running Ray cluster; for ``ray`` alone.

    Raises:
        InputError: the name is unknown, an option is not one of its own or out of range, or Ray is not installed.
    """
    if name not in EXECUTORS:
        raise InputError(f"executor {name!r}: expected one of {', '.join(EXECUTORS)}")
    if address is not None and name != "ray":
        raise InputError(f"address {address!r} is for the executor 'ray': name it, or leave the address out")
    if name == "serial":
        if workers not in (None, 1):
            raise InputError(f"workers = {workers}: the executor 'serial' does one unit at a time; name 'processes'")
        return Serial()
    return Processes(workers) if name == "processes" else Ray(workers, address)
