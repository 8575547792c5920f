"""Serial: one unit after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.executors.schedule import Schedule
from mechdecouple.jobs.units import Unit


class Serial:
    """One unit after the other, in this process."""

    def run(self, units: Sequence[Unit], folder: Path) -> Iterator[Outcome]:
        """See :class:`mechdecouple.jobs.executors.Executor`."""
        from mechdecouple.jobs.work import do  # it tells outcomes, and so builds on this package

        schedule = Schedule(units)
        while schedule:
            unit = next(schedule.ready())
            schedule.begin(unit)
            yield from schedule.end(do(unit, folder))
