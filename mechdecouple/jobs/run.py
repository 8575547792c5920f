"""run_job: do what a job asks for and is not there yet, and gather its results."""

from __future__ import annotations

import dataclasses
import html
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mechdecouple.activations.store import make_folder, to_json
from mechdecouple.errors import BusyError, InputError
from mechdecouple.jobs.config import STAGES, Budget, JobConfig, read_job
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.cost import PlanCost, plan_cost
from mechdecouple.jobs.executors import Executor, Outcome, Serial
from mechdecouple.jobs.locks import write_alone
from mechdecouple.jobs.page import write_page
from mechdecouple.jobs.plan import JobPlan, plan_job
from mechdecouple.jobs.results import write_results
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
        asked: those that this run was asked for: of the job's stages, all or a shard's.
        outcomes: of the units that it took in hand: those asked for that were not there, and what they need.
        folder: of the job; store: of its finished units; page: that shows what is done so far.
    """

    plan: JobPlan
    asked: tuple[Unit, ...]
    outcomes: tuple[Outcome, ...]
    folder: Path
    store: UnitStore
    page: Path

    @property
    def counts(self) -> dict[str, int]:
        """Units ``asked`` for, ``there`` before among them, ``made`` (with what they need) and ``failed``."""
        taken = {outcome.key for outcome in self.outcomes if outcome.made or outcome.reason}
        there = sum(unit.key not in taken for unit in self.asked)
        return {
            "asked": len(self.asked),
            "there": there,
            "made": len(taken) - len(self.failed),
            "failed": len(self.failed),
        }

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
        n = self.counts
        units = f"{n['asked']} unit{'s' * (n['asked'] != 1)}"
        lines = [f"{self.plan.name}: {units}, {n['there']} there before, {n['made']} made, {n['failed']} failed"]
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
        InputError: the job or the shard cannot be, or takes more than its budget; nothing has run then.
        StoreError: ``out`` cannot be written.
    """
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise InputError(f"shard {shard[0]}/{shard[1]}: write i/n with i from 0 to n - 1")
    folder, todo = Path(out), planned(job, out, root)
    config, plan, store = todo.job, todo.plan, todo.store
    if config.budget != Budget():
        todo.cost().check(config.budget)
    make_folder(folder)
    write_alone(folder / PLAN, to_json(record(plan, store)))
    _mend(store, plan.units)
    asked = _asked(plan, config, shard)
    wanted = _wanted(plan, asked, store)
    _log.info("%s: %d units to do", plan.name, len(wanted), extra={"units": len(wanted), "asked": len(asked)})
    outcomes: list[Outcome] = []
    with bar(total=len(wanted), progress=progress, unit="unit", desc=plan.name) as units:
        for outcome in (executor or Serial()).run(wanted, store.folder):
            units.set_description(f"{outcome.stage} {outcome.label}")
            units.update()
            _tell(outcome)
            outcomes.append(outcome)
    write_results(plan, store, folder)
    return JobRun(plan, tuple(asked), tuple(outcomes), folder, store, write_page(plan, store, folder))


@dataclasses.dataclass(frozen=True)
class Planned:
    """A job that has not begun: what it asks for, its units, where they go, and hashes of its models."""

    job: JobConfig
    plan: JobPlan
    store: UnitStore
    contents: Contents

    def cost(self) -> PlanCost:
        """What is still to be done takes; models are loaded to see."""
        return plan_cost(self.plan, self.store, self.contents)


def planned(
    job: JobConfig | str | Path, out: str | Path, root: str | Path | None = None, *, dry: bool = False
) -> Planned:
    """Cut a job into units.

    Args:
        job, out, root: as in :func:`run_job`.
        dry: write nothing where nothing is; otherwise hashes of models are remembered for the run that follows.

    Raises:
        InputError: the job cannot be.
    """
    config = job if isinstance(job, JobConfig) else read_job(job)
    start = Path(root) if root is not None else Path() if isinstance(job, JobConfig) else Path(job).parent
    store = store_of(config, Path(out), start)
    memory = store.folder / "contents.json"
    contents = Contents(None if dry and not memory.is_file() else memory)
    return Planned(config, plan_job(config, start, contents), store, contents)


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
    """Remove finished units that are damaged, so that they are made again, and what killed processes left."""
    store.sweep()
    for unit in units:
        try:
            if fault := store.mend(unit):
                _log.warning("%s of %s: %s; it is made again", unit.stage, unit.label, fault)
        except BusyError:
            # Whoever reads it has seen the damage too, unless it is new; the next run makes it again.
            _log.warning("%s of %s is damaged and being read by another process", unit.stage, unit.label)


def _asked(plan: JobPlan, job: JobConfig, shard: tuple[int, int] | None) -> list[Unit]:
    """The units of the job's stages, or a shard's part of them."""
    start, step = shard or (0, 1)
    stages = [[unit for unit in plan.units if unit.stage == stage] for stage in STAGES if stage in job.stages]
    return [unit for own in stages for unit in own[start::step]]


def _wanted(plan: JobPlan, asked: Sequence[Unit], store: UnitStore) -> list[Unit]:
    """The units among them that are still to be done, with those that they need, in order of need."""
    known = {unit.key: unit for unit in plan.units}
    keys: set[str] = set()
    pending = [unit.key for unit in asked]
    while pending:
        key = pending.pop()
        if key not in keys and not store.done(known[key]):
            keys.add(key)
            pending += known[key].needs
    return [unit for unit in plan.units if unit.key in keys]


def _tell(outcome: Outcome) -> None:
    """One line of the log; its fields are what the outcome holds."""
    fields = {name: value for name, value in vars(outcome).items() if value not in ("", {})}
    _log.log(logging.ERROR if outcome.reason else logging.INFO, "%s", _line(outcome), extra=fields)


def _line(outcome: Outcome) -> str:
    head = f"{outcome.stage} {outcome.label}"
    if outcome.reason:
        return f"{head} failed: {outcome.reason}"
    return f"{head}: {outcome.seconds:.1f} s" if outcome.made else f"{head}: was there"
