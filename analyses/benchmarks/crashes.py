"""SIGKILL at random moments of a job, then a restart: does it end with the same bytes, and with nothing left over?

    python analyses/benchmarks/crashes.py [--kills 120] [--seed 0] [--quick] [--out crashes.json]

The job extracts the activations of two small nets, trains sparse autoencoders on both and compares the nets, with a
report. It is done once undisturbed, in a process of its own. Then again and again from nothing, each time killed and
restarted until it ends; processes branch off (fork) from one that has imported everything. A kill comes

`moment`: after a random share of the processor time that start-up and the unit that is due take;
`step`: before a random change to the files of the job (a file opened for writing, renamed, removed, a folder made), so
  that the short windows between two changes are hit as often as the long ones;
`pair`: while two processes do the job in one folder, to one of them, after a random time.

Shards are small and the state of a training is written after every step, so that each stage has much to lose; the
report draws three of its figures. A kill is counted for the stage whose unit was locked when it came. Compared are all
files of the job's folder but those named times.json; no lock, part or partial folder may be left, and no unit may be
recorded as failed. After each ending, one finished file or unit is damaged (a bit flipped, cut short, exchanged with
another file, a unit's folder exchanged with another's) and the job done once more: the same bytes again?
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from _crashes import die_after, exchange, kill_after, modified, tree, watch

from mechdecouple.activations import store
from mechdecouple.jobs import work
from mechdecouple.jobs.config import JobConfig, make_job
from mechdecouple.jobs.run import run_job
from mechdecouple.jobs.status import status
from mechdecouple.report import write
from mechdecouple.sae.training import checkpoint

STAGES = ("extract", "sae", "compare")
MODES = ("moment", "step", "pair")
DAMAGE = ("flipped", "cut short", "exchanged files", "exchanged units")
SHEETS = dict(write.SHEETS)
LEFT = (".lock", ".part", ".partial")
SLACK = 1.3
FIGURES = ("gate", "structure", "card")
NETS = """
import torch
from torch import nn


def net(seed):
    draws = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=draws))
    return made


def one():
    return net(1)


def two():
    return net(2)
"""


def make_job_in(folder: Path, items: int, families: list[str], steps: int) -> JobConfig:
    """Writes the nets and their task into a folder; the job on them."""
    (folder / "crash_nets.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    x = np.random.default_rng(0).standard_normal((items, 4)).astype(np.float32)
    np.save(folder / "x.npy", x)
    table = {
        "id": [f"x{i}" for i in range(items)],
        "answer": (x[:, 0] > 0).astype(int),
        "concept_second": (x[:, 1] > 0).astype(int),
        "group": np.arange(items) // 2,
    }
    pd.DataFrame(table).to_csv(folder / "items.csv", index=False)
    return make_job(
        {
            "name": "crashes",
            "models": ["crash_nets:one", "crash_nets:two"],
            "task": str(folder / "items.csv"),
            "stages": list(STAGES),
            "compare": {"inputs": str(folder / "x.npy"), "families": families, "batch_tokens": 16},
            "sae": {"width": 32, "k": 4, "steps": steps, "hook_points": ["1"]},
        }
    )


def do_job(job: JobConfig, folder: Path) -> int:
    """Does the job with small shards and a state after every step; the exit code: 1 where a unit failed."""
    torch.set_num_threads(1)
    store.SHARD_BYTES = 2000
    checkpoint._SECONDS, checkpoint._COST = 0.0, 0
    write.SHEETS = {name: SHEETS[name] for name in FIGURES}
    run = run_job(job, folder, progress=False)
    if run.failed:
        print(run.summary(), file=sys.stderr)
    return int(bool(run.failed))


def _nothing() -> None:
    pass


class Study:
    """A job, what its folder holds when nothing disturbs it, and how long that takes."""

    def __init__(self, job: JobConfig, folder: Path, rng: np.random.Generator) -> None:
        self.job, self.folder, self.rng = job, folder, rng
        self.whole: dict[str, str] = {}
        self.seconds = dict.fromkeys(("start", *STAGES), 0.0)
        self.steps = dict.fromkeys(("start", *STAGES), 0)
        self.kills = Counter()
        self.faults: list[str] = []

    def branch(self, before: Callable[[], object] = _nothing, after: Callable[[], object] = _nothing) -> int:
        """A process that does the job; its id."""
        child = os.fork()
        if child:
            return child
        code = 3
        try:
            before()
            code = do_job(self.job, self.folder)
            after()
        finally:
            os._exit(code)

    def fault(self, text: str) -> None:
        print(f"FAULT {text}", file=sys.stderr, flush=True)
        self.faults.append(text)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def measure(self) -> None:
        """Processor time of a unit of each stage, and the changes it makes to files, in a process that branches off."""
        log, seen = self.folder.with_name("seen.json"), []
        branched = self.branch(
            lambda: watch(self.folder, STAGES, lambda stage: seen.append((stage, time.process_time()))),
            lambda: log.write_text(json.dumps([*seen, ("start", time.process_time())])),
        )
        if os.waitpid(branched, 0)[1]:
            raise RuntimeError("the undisturbed job failed")
        seen = pd.DataFrame(json.loads(log.read_text()), columns=["stage", "second"])
        self.seconds["start"] = seen["second"].max()
        n = Counter(one.unit.stage for one in status(self.folder).units)
        for stage, rows in seen.groupby("stage"):
            self.steps[stage] = len(rows) // n.get(stage, 1)
            if stage in n:
                spent = rows["second"].max() - rows["second"].min()
                self.seconds["start"] -= spent
                self.seconds[stage] = spent / n[stage]

    def due(self) -> str:
        """The stage of the first unit that is not done; ``start`` before anything is planned or when all is done."""
        if not (self.folder / "job.json").exists():
            return "start"
        return next((one.unit.stage for one in status(self.folder).units if one.state != "done"), "start")

    def campaign(self, mode: str) -> None:
        """From nothing to the end, killed on the way."""
        self.clear()
        before = self.kills.total()
        code = None
        while code is None:
            code = self.attempt(mode, self.due())
        what = f"{mode} after {self.kills.total() - before} kills"
        if code:
            self.fault(f"{what}: the job ended with {code}")
        self.check(what)

    def attempt(self, mode: str, due: str) -> int | None:
        """Starts the job and kills it; its exit code where it ended before that, or where another one went on."""
        began = time.time()
        if mode == "step":
            left = self.rng.integers(1, self.steps["start"] + SLACK * self.steps[due] + 2)
            child = self.branch(lambda: watch(self.folder, STAGES, die_after(left)))
            ended = os.waitpid(child, 0)[1]
        else:
            seconds = self.rng.uniform(0, self.seconds["start"] + SLACK * self.seconds[due])
            child = self.branch()
            other = self.branch() if mode == "pair" else None
            ended = kill_after(child, seconds)
        killed = os.WIFSIGNALED(ended)
        if killed:
            self.kills[mode, self.held_since(began)] += 1
        if mode == "pair":
            return os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
        return None if killed else os.waitstatus_to_exitcode(ended)

    def held_since(self, began: float) -> str:
        """The stage of the unit that a process killed just now held; ``start`` where it held none."""
        held = [p for p in self.folder.glob("units/*/*.lock") if modified(p) >= began - 0.01]
        return held[0].parent.name if held else "start"

    def check(self, what: str) -> None:
        """Notes what differs from the undisturbed run, and what is left over."""
        found = tree(self.folder)
        for name in sorted(found.keys() | self.whole.keys()):
            if found.get(name) != self.whole.get(name):
                how = (
                    "differs" if name in found and name in self.whole else "is " + ("new" if name in found else "gone")
                )
                self.fault(f"{what}: {name} {how}")
        for path in self.folder.rglob("*"):
            if path.name.endswith(LEFT) or ".gone-" in path.name or path.name.startswith(".partial-"):
                self.fault(f"{what}: {path.relative_to(self.folder)} is left")
        if any(one.state != "done" for one in status(self.folder).units):
            self.fault(f"{what}: {status(self.folder).summary()}")

    def damage(self, kind: str) -> None:
        """Damages the finished job and has it mended."""
        units = [p for p in (self.folder / "units").glob("*/*") if p.is_dir()]
        files = [p for unit in units for p in sorted(unit.rglob("*")) if p.is_file() and p.name != "times.json"]
        path = files[self.rng.integers(len(files))]
        if kind == "flipped":
            data = bytearray(path.read_bytes())
            data[self.rng.integers(len(data))] ^= 1 << int(self.rng.integers(8))
            path.write_bytes(data)
        elif kind == "cut short":
            os.truncate(path, int(self.rng.integers(path.stat().st_size)))
        elif kind == "exchanged files":
            # Of one size where there are some: only the checksum tells them apart.
            others = [p for p in files if p.read_bytes() != path.read_bytes()]
            alike = [p for p in others if p.stat().st_size == path.stat().st_size]
            exchange(path, (alike or others)[self.rng.integers(len(alike or others))])
        else:
            stage = units[self.rng.integers(len(units))].parent
            alike = sorted(p for p in stage.iterdir())
            exchange(alike[0], alike[1] if len(alike) > 1 else next(p for p in units if p.parent != stage))
        if code := os.waitstatus_to_exitcode(os.waitpid(self.branch(), 0)[1]):
            self.fault(f"{kind}: the job ended with {code}")
        self.check(f"{kind} {path.relative_to(self.folder)}")


def study(kills: int, seed: int, items: int, families: list[str], steps: int) -> dict:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        job, folder = make_job_in(here, items, families, steps), here / "job"
        (here / "job.json").write_text(job.model_dump_json())
        subprocess.run([sys.executable, __file__, "--once", str(here)], check=True, stdout=subprocess.DEVNULL)
        found = Study(job, folder, rng)
        found.whole = tree(folder)
        # Everything that is imported late is imported here, once.
        do_job(job, here / "warm")
        work._loaded.cache_clear()
        found.clear()
        found.measure()
        found.check("undisturbed, branched off")
        campaigns = damages = 0
        began = time.perf_counter()
        while found.kills.total() < kills:
            found.campaign(MODES[campaigns % len(MODES)])
            campaigns += 1
            found.damage(DAMAGE[damages % len(DAMAGE)])
            damages += 1
            said = f"{found.kills.total()} kills, {campaigns} endings, {len(found.faults)} faults"
            print(f"{time.perf_counter() - began:7.0f} s: {said}", file=sys.stderr, flush=True)
        return {
            "kills": [{"mode": m, "stage": s, "kills": found.kills[m, s]} for m in MODES for s in ("start", *STAGES)],
            "endings": campaigns,
            "damages": damages,
            "faults": found.faults,
            "files": len(found.whole),
            "processor_seconds_of_a_unit": {name: round(float(value), 3) for name, value in found.seconds.items()},
            "changes_of_a_unit": found.steps,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description="SIGKILL at random moments of a job, then a restart.")
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few kills of a smaller job")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.once:
        sys.path.insert(0, str(options.once))
        return do_job(JobConfig.model_validate_json((options.once / "job.json").read_text()), options.once / "job")
    size = (6, options.seed, 40, [], 6) if options.quick else (options.kills, options.seed, 400, ["structure"], 30)
    found = study(*size)
    table = pd.DataFrame(found["kills"]).pivot(index="mode", columns="stage", values="kills")
    print(table.loc[list(MODES), ["start", *STAGES]].to_string())
    total = sum(row["kills"] for row in found["kills"])
    print(f"{total} kills, {found['endings']} endings of {found['files']} files, {found['damages']} damages mended")
    print("all bytes the same, nothing left over" if not found["faults"] else "\n".join(found["faults"]))
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
            "cores": os.cpu_count(), "seed": options.seed, "quick": options.quick,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": found}, indent=1) + "\n")
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
