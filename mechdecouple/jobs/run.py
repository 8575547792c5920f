"""run_job: do what a job asks for and is not there yet, and gather its results."""

from __future__ import annotations

import dataclasses
import html
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mechdecouple.activations.store import make_folder, to_json, write_file
from mechdecouple.errors import InputError
from mechdecouple.jobs.config import STAGES, JobConfig, read_job
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.executors import Executor, Outcome, Serial
from mechdecouple.jobs.plan import JobPlan, plan_job
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.progress import bar

PLAN = "job.json"
_log = logging.getLogger("mechdecouple.jobs")


@dataclasses.dataclass(frozen=True, eq=False)
class JobRun:
    """What a run of a job did.

    Attributes:
        plan: all units of the job.
        outcomes: of the units that this run took in hand.
        folder: of the job.
    """

    plan: JobPlan
    outcomes: tuple[Outcome, ...]
    folder: Path

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Units that could not be done; the next run takes up these alone."""
        return tuple(outcome for outcome in self.outcomes if outcome.reason)

    def frame(self) -> pd.DataFrame:
        """One row a unit taken in hand: stage, key, label, reason (empty where done), seconds, made."""
        columns = ["stage", "key", "label", "reason", "seconds", "made"]
        return pd.DataFrame([{c: getattr(o, c) for c in columns} for o in self.outcomes], columns=columns)

    def summary(self) -> str:
        """What was done, and each failure with its reason, as plain text."""
        made = sum(outcome.made for outcome in self.outcomes)
        there = len(self.plan) - len(self.outcomes)
        lines = [
            f"{self.plan.name}: {len(self.plan)} units, {there} there before, {made} made, {len(self.failed)} failed"
        ]
        lines += [f"[failed] {o.stage} {o.label}: {o.reason}" for o in self.failed]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>" + self.frame().to_html(index=False, float_format="%.1f")


def run_job(
    job: JobConfig | str | Path, out: str | Path, *, executor: Executor | None = None,
    shard: tuple[int, int] | None = None, root: str | Path | None = None, progress: bool = True,
) -> JobRun:  # fmt: skip
    """Do all units of a job that are not done yet.

    Killed at any moment and called again, it goes on; a finished unit whose files no longer match their checksums is
    made again; a unit that fails ends only those that need it.

    Args:
        job: a job, or its TOML file.
        out: folder of the job; may hold an earlier run of it, or other jobs.
        executor: what does the units; one after the other in this process when absent.
        shard: ``(i, n)`` with 0 ≤ i < n: every n-th unit of each stage from the i-th, and what these need. Shards can
            run at the same time, on one file system, or one after the other.
        root: where relative paths of the job start; the folder of its file, or the working directory.
        progress: show how far it is.

    Raises:
        InputError: the job or the shard cannot be; nothing has run then.
        StoreError: ``out`` cannot be written.
    """
    config = job if isinstance(job, JobConfig) else read_job(job)
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise InputError(f"shard {shard[0]}/{shard[1]}: write i/n with i from 0 to n - 1")
    start = Path(root) if root is not None else Path() if isinstance(job, JobConfig) else Path(job).parent
    folder = Path(out)
    store = store_of(config, folder, start)
    plan = plan_job(config, start, Contents(store.folder / "contents.json"))
    make_folder(folder)
    write_file(folder / PLAN, to_json(record(plan, store)))
    _mend(store, plan.units)
    wanted = _wanted(plan, config, store, shard)
    outcomes: list[Outcome] = []
    with bar(total=len(wanted), progress=progress, unit="unit", desc=plan.name) as units:
        for outcome in (executor or Serial()).run(wanted, store.folder):
            units.set_description(f"{outcome.stage} {outcome.label}")
            units.update()
            _log.log(logging.WARNING if outcome.reason else logging.INFO, "%s", _line(outcome))
            outcomes.append(outcome)
    return JobRun(plan, tuple(outcomes), folder)


def store_of(job: JobConfig, folder: Path, root: Path) -> UnitStore:
    """The store that a job in ``folder`` keeps its units in."""
    return UnitStore(folder if job.store is None else root / job.store)


def record(plan: JobPlan, store: UnitStore) -> dict:
    """A plan, ready for JSON: what ``job.json`` holds."""
    return {
        "name": plan.name,
        "models": list(plan.models),
        "tasks": list(plan.tasks),
        "store": str(store.folder.absolute()),
        "units": [unit.record() for unit in plan.units],
    }


def _mend(store: UnitStore, units: Sequence[Unit]) -> None:
    """Remove finished units that are damaged, so that they are made again."""
    for unit in units:
        if store.done(unit) and (fault := store.fault(unit)):
            _log.warning("%s of %s: %s; it is made again", unit.stage, unit.label, fault)
            store.discard(unit)


def _wanted(plan: JobPlan, job: JobConfig, store: UnitStore, shard: tuple[int, int] | None) -> list[Unit]:
    """Units still to be done for what the job asks for (or a shard of it), with what they need, in order of need."""
    asked: list[Unit] = []
    for stage in STAGES:
        if stage in job.stages:
            own = [unit for unit in plan.units if unit.stage == stage]
            asked += own if shard is None else own[shard[0] :: shard[1]]
    known = {unit.key: unit for unit in plan.units}
    keys: set[str] = set()
    pending = [unit.key for unit in asked]
    while pending:
        key = pending.pop()
        if key not in keys and not store.done(known[key]):
            keys.add(key)
            pending += known[key].needs
    return [unit for unit in plan.units if unit.key in keys]


def _line(outcome: Outcome) -> str:
    head = f"{outcome.stage} {outcome.label}"
    if outcome.reason:
        return f"{head} failed: {outcome.reason}"
    return f"{head}: {outcome.seconds:.1f} s" if outcome.made else f"{head}: was there"
