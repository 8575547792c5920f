"""Outcome: what became of one unit of work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mechdecouple.jobs.config import Stage
from mechdecouple.jobs.units import Unit


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        reason: why it failed, in one line; empty where it is done.
        seconds: that it took.
        made: whether it was made now; False where it was there, or failed.
        facts: what it says of itself, by stage: ``tokens_per_second``, ``of_bare_forward``, ``note`` … JSON.
    """

    stage: Stage
    key: str
    label: str
    reason: str = ""
    seconds: float = 0.0
    made: bool = True
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def failed(cls, unit: Unit, reason: str, seconds: float = 0.0) -> Outcome:
        """Of a unit that could not be done."""
        return cls(unit.stage, unit.key, unit.label, reason, seconds, made=False)
