"""Executors: whatever does the units of a job, one at a time, in processes of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.executors.schedule import Schedule
from mechdecouple.jobs.executors.serial import Serial
from mechdecouple.jobs.units import Unit

__all__ = ["Executor", "Outcome", "Schedule", "Serial"]


class Executor(Protocol):
    """Does units of work, each by :func:`mechdecouple.jobs.work.do`, so that all executors leave the same bytes."""

    def run(self, units: Sequence[Unit], folder: Path) -> Iterator[Outcome]:
        """The outcome of every unit, as it ends; one that fails ends only those that need it.

        Args:
            units: those that others need first.
            folder: of the :class:`mechdecouple.jobs.store.UnitStore`.
        """
        ...
