"""status: how far a job is, read from its folder while others work in it or after they were killed."""

from __future__ import annotations

import dataclasses
import datetime
import html
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from mechdecouple.activations.store import TIMES
from mechdecouple.errors import InputError
from mechdecouple.jobs.config import STAGES
from mechdecouple.jobs.orphans import orphans
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit

JOB = "job.json"
State = Literal["done", "in work", "stopped", "failed", "waiting"]
_SHOWN = 40
STATES: tuple[State, ...] = get_args(State)


@dataclasses.dataclass(frozen=True)
class UnitStatus:
    """Where one unit stands.

    Attributes:
        state: ``done``; ``in work``: a process holds it; ``stopped``: begun, and no process holds it: it goes on when
            the job is run again; ``failed`` when it was last tried; ``waiting``: not begun.
        reason: why it failed, or that it waits for what failed; empty otherwise.
        seconds: that it took; NaN where it is not done or does not say.
    """

    unit: Unit
    state: State
    reason: str = ""
    seconds: float = math.nan


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        name: of the job; units: all of them, those that others need first.
        orphans: partial folders that none of them goes on from; none are told of a store that other jobs share.
    """

    name: str
    units: tuple[UnitStatus, ...]
    orphans: tuple[Path, ...] = ()

    @property
    def counts(self) -> dict[State, int]:
        """Units in each state."""
        return {state: sum(one.state == state for one in self.units) for state in STATES}

    @property
    def share(self) -> float:
        """Part of the units that are done, in [0, 1]; 1 for a job without units."""
        return self.counts["done"] / len(self.units) if self.units else 1.0

    @property
    def seconds_left(self) -> float:
        """Seconds to the end at the pace of the units in work now (one after the other where none is); each unit left
        is taken to last as long as the done ones of its stage. NaN where a stage has units left and none done."""
        return self._left() / max(1, self.counts["in work"])

    def frame(self) -> pd.DataFrame:
        """One row a unit: stage, key, label, state, reason, seconds."""
        columns = ["stage", "key", "label", "state", "reason", "seconds"]
        rows = [
            [one.unit.stage, one.unit.key, one.unit.label, one.state, one.reason, one.seconds] for one in self.units
        ]
        return pd.DataFrame(rows, columns=columns)

    def summary(self) -> str:
        """Plain text: how much is done, each stage in a line, and each unit that is in work, stopped or failed."""
        lines = [self._headline()]
        for stage in STAGES:
            own = [one for one in self.units if one.unit.stage == stage]
            if own:
                lines.append(f"{stage:8s} {_counted(Status(self.name, tuple(own)).counts)}")
        for state in ("in work", "stopped", "failed"):
            for one in self.units:
                if one.state == state:
                    why = f": {one.reason}" if one.reason else ""
                    lines.append(f"[{state}] {one.unit.stage} {one.unit.label} ({one.unit.key[:8]}){why}")
        blocked = sum(one.state == "waiting" and bool(one.reason) for one in self.units)
        if blocked:
            lines.append(f"[waiting] {blocked} unit{'s' * (blocked != 1)} for what failed: run the job again to try it")
        if n := len(self.orphans):
            lines.append(f"[left over] {n} partial folder{'s' * (n != 1)} of units that the job no longer asks for")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = self.frame().query("state != 'done'")
        # Those that wait come last, and need not all be seen.
        shown = table.sort_values("state", key=lambda state: state == "waiting", kind="stable").head(_SHOWN)
        return f"<p>{html.escape(self._headline())}</p>" + (
            shown.to_html(index=False, border=0, float_format="%.1f", na_rep="") if len(shown) else ""
        )

    def _headline(self) -> str:
        counts = self.counts
        done, n = counts["done"], len(self.units)
        head = f"{self.name}: {done} of {n} unit{'s' * (n != 1)} done"
        if done == n:
            return head
        parts = [f"{self.share:.0%}"]
        if self.seconds_left > 0:
            parts.append(f"about {_duration(self.seconds_left)} left")
        if not counts["in work"]:
            parts.append("nothing is in work")
        return f"{head} ({', '.join(parts)})"

    def _left(self) -> float:
        """Seconds of work in the units that are not done and can be: what failed is tried again by the next run."""
        left = 0.0
        for stage in STAGES:
            own = [one for one in self.units if one.unit.stage == stage]
            known = [one.seconds for one in own if math.isfinite(one.seconds)]
            missing = sum(one.state != "done" and not one.reason for one in own)
            if missing:
                left += missing * (sum(known) / len(known) if known else math.nan)
        return left


def status(folder: str | Path) -> Status:
    """How far the job in ``folder`` is; reads only, and may be called at any time from any process.

    Raises:
        InputError: the folder holds no job, or its plan cannot be read.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / JOB).read_bytes())
        units = [Unit.of(one) for one in record["units"]]
        name, store = str(record["name"]), UnitStore(record.get("store") or folder)
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} holds no job that was begun ({JOB}: {error.strerror}): name the folder given as --out"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{str(folder / JOB)!r} is no plan of a job: run the job again to write it anew") from None
    found = tuple(_with_blocked([unit_status(store, unit) for unit in units]))
    own = store.folder.absolute() == folder.absolute()
    return Status(name, found, orphans(store, units) if own else ())


def unit_status(store: UnitStore, unit: Unit) -> UnitStatus:
    """Where a unit stands now, by itself."""
    if not store.done(unit):
        held, begun, reason = store.in_work(unit), _begun(store.partial(unit)), store.failure(unit)
        # It may have been finished, and its folder moved away, between the two looks.
        if not store.done(unit):
            if held:
                return UnitStatus(unit, "in work")
            return UnitStatus(unit, "failed" if reason else "stopped" if begun else "waiting", reason)
    return UnitStatus(unit, "done", seconds=_seconds(store.place(unit)))


def _with_blocked(units: Sequence[UnitStatus]) -> Iterator[UnitStatus]:
    """The same, where those that wait for what failed say so; needs come first."""
    failed: dict[str, str] = {}
    for one in units:
        need = next((failed[key] for key in one.unit.needs if key in failed), "")
        if one.state == "waiting" and need:
            one = dataclasses.replace(one, reason=f"needs {need}, which failed")
        if one.reason:
            failed[one.unit.key] = need or f"{one.unit.stage} of {one.unit.label}"
        yield one


def _begun(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _seconds(place: Path) -> float:
    try:
        return float(json.loads((place / TIMES).read_bytes())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan


def _counted(counts: dict[State, int]) -> str:
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def _duration(seconds: float) -> str:
    """In words: ``45 s``, ``12 min``, ``3:05 h``, ``2 d 4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    span = datetime.timedelta(seconds=round(seconds))
    hours, minutes = span.seconds // 3600, span.seconds // 60 % 60
    return f"{span.days} d {hours} h" if span.days else f"{hours}:{minutes:02d} h"
