"""Schedule: which units can begin, given what has ended so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.units import Unit


class Schedule:
    """Units in order of need.

    Needs that are none of the units are taken to be there.

    Args:
        units: in the order in which to begin them, where needs leave a choice.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self._waiting = {unit.key: unit for unit in units}
        self._open = set(self._waiting)
        self._failed: dict[str, Outcome] = {}

    def __bool__(self) -> bool:
        """Whether any unit has still to end."""
        return bool(self._open)

    def ready(self) -> Iterator[Unit]:
        """Units whose needs have all been met, and which have not begun."""
        return (unit for unit in list(self._waiting.values()) if not self._open.intersection(unit.needs))

    def begin(self, unit: Unit) -> None:
        """It is no longer among those that are ready."""
        del self._waiting[unit.key]

    def again(self, unit: Unit) -> None:
        """A unit that has begun and not ended is the first to begin again."""
        self._waiting = {unit.key: unit, **self._waiting}

    def end(self, outcome: Outcome) -> Iterator[Outcome]:
        """The outcome of a unit that has ended, then those of units that can now never begin."""
        self._open.discard(outcome.key)
        yield outcome
        if not outcome.reason:
            return
        self._failed[outcome.key] = outcome
        for unit in [u for u in self._waiting.values() if outcome.key in u.needs]:
            if unit.key in self._waiting:
                self.begin(unit)
                yield from self.end(Outcome.failed(unit, f"needs {outcome.stage} of {outcome.label}, which failed"))
