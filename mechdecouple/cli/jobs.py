"""`mechdecouple run` and `mechdecouple status`: jobs of many units, done and looked at."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechdecouple.cli.answer import (
    BAD_INPUT,
    DIFFERENT,
    DONE,
    FAIL_ON,
    FAILED,
    Answer,
    check_fail_on,
    differences,
    told,
)
from mechdecouple.cli.commands import bars
from mechdecouple.cli.values import add_voice, shard
from mechdecouple.errors import InputError

if TYPE_CHECKING:
    from mechdecouple.jobs.config import JobConfig
    from mechdecouple.jobs.run import JobRun

_FAILED = ("stage", "label", "key", "reason")


def add(commands: Any) -> None:
    """Add both commands to the others."""
    one = commands.add_parser(
        "run",
        help="do a job: many models, tasks and pairs",
        description="Does what the job asks for and is not there yet. Exit codes: 0 all is done, 1 units failed, 2 bad "
        "input, 3 all is done and a pair differs in what --fail-on names.",
        allow_abbrev=False,
    )
    one.add_argument("job", type=Path, metavar="JOB.toml", help="the job file")
    one.add_argument("--out", type=Path, required=True, help="directory of the job; one that was stopped goes on")
    one.add_argument(
        "--executor", choices=("serial", "processes", "ray"), default="serial",
        help="one unit after the other (default), in processes of this machine, on a ray cluster",
    )  # fmt: skip
    one.add_argument("--workers", type=int, help="units at a time, of processes and ray")
    one.add_argument("--address", help="of a ray cluster that is there; a local one is started when absent")
    one.add_argument(
        "--shard", type=shard, metavar="I/N", help="every N-th unit from the I-th, 0 ≤ I < N, and what these need"
    )
    one.add_argument("--dry-run", action="store_true", help="show the units, what they cost and which are there; stop")
    add_voice(one)
    one.add_argument(
        "--fail-on", choices=FAIL_ON, action="append", default=[], help="exit 3 where a pair differs in this "
        "(repeatable)",
    )  # fmt: skip
    one.set_defaults(run=run)

    one = commands.add_parser("status", help="how far a job is", allow_abbrev=False)
    one.add_argument("directory", type=Path, metavar="DIR", help="the --out of `mechdecouple run`")
    one.add_argument("--json", action="store_true", help="as one JSON object on stdout")
    one.set_defaults(run=status)


def run(options: argparse.Namespace) -> Answer:
    """Do a job, or show its plan."""
    from mechdecouple.jobs.config import read_job

    config = read_job(options.job)
    _check(options, config)
    if options.dry_run:
        return _dry(options, config)
    from mechdecouple.jobs.executors import make_executor
    from mechdecouple.jobs.run import run_job

    executor = make_executor(options.executor, options.workers, options.address)
    done = run_job(
        config, options.out, executor=executor, shard=options.shard, root=options.job.parent,
        progress=bars(options),
    )  # fmt: skip
    pairs = _pairs(done)
    differs = differences(pairs, options.fail_on)
    lines = [done.summary(), *([_tally(pairs)] if pairs else [])]
    lines += [f"[{one['on']}] {one['a']} against {one['b']} on {one['task']}: {one['sentence']}" for one in differs]
    return Answer(
        "\n".join([*lines, f"\nreport: {done.page}"]),
        FAILED if done.failed else DIFFERENT if differs else DONE,
        out=options.out,
        report=done.page,
        comparisons=pairs,
        differs=differs,
        failed=[{name: getattr(outcome, name) for name in _FAILED} for outcome in done.failed],
        result={"name": config.name, "units": done.counts, "shard": options.shard, "executor": options.executor},
    )


def _dry(options: argparse.Namespace, config: JobConfig) -> Answer:
    from mechdecouple.jobs.run import planned

    cost = planned(config, options.out, options.job.parent, dry=True).cost()
    units: list[dict[str, Any]] = cost.frame().to_dict("records")  # pyright: ignore[reportAssignmentType]
    found = {"name": cost.name, "passes": cost.passes, "bytes": cost.bytes, "units": units}
    refused = None
    try:
        cost.check(config.budget)
    except InputError as error:
        refused = str(error)
    return Answer(cost.summary(), BAD_INPUT if refused else DONE, refused, out=options.out, result=found)


def status(options: argparse.Namespace) -> Answer:
    """How far a job is."""
    from mechdecouple.jobs.status import status

    found = status(options.directory)
    units: list[dict[str, Any]] = found.frame().to_dict("records")  # pyright: ignore[reportAssignmentType]
    failed = [unit for unit in units if unit["state"] == "failed"]
    return Answer(
        found.summary(), out=options.directory,
        failed=[{name: unit[name] for name in _FAILED} for unit in failed],
        result={
            "name": found.name, "counts": found.counts, "share": found.share, "seconds_left": found.seconds_left,
            "units": units,
        },
    )  # fmt: skip


def _check(options: argparse.Namespace, config: JobConfig) -> None:
    if options.fail_on and "compare" not in config.stages:
        raise InputError(f"--fail-on {options.fail_on[0]}: the job compares nothing; add 'compare' to its stages")
    check_fail_on(options.fail_on, config.comparison.families, "families of [compare]")


def _pairs(done: JobRun) -> list[dict[str, Any]]:
    """The finished comparisons among what this run was asked for."""
    return [
        told(done.store.place(unit), *(unit.where[name] for name in ("a", "b", "task")))
        for unit in done.asked
        if unit.stage == "compare" and done.store.done(unit)
    ]


def _tally(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Of all pairs in one line: outcomes of the gate, and how many differ in what."""
    gates = Counter(pair["gate"]["outcome"] for pair in pairs)
    flagged = Counter(family for pair in pairs for family in {v["family"] for v in pair["verdicts"] if v["flagged"]})
    said = ", ".join(f"{family} in {n}" for family, n in sorted(flagged.items())) or "nothing"
    n = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
    return f"{n}: accuracy {', '.join(f'{outcome} in {n}' for outcome, n in gates.items())}; flagged: {said}"
