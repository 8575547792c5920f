"""A job under each executor, beside a plain loop of `compare`.

    python analyses/benchmarks/jobs.py [--models 3] [--items 200] [--out jobs.json]

Three untrained transformers, saved as directories; consecutive ones are compared on one task of random tokens (the
models and task of `scaling.py`; structure, five blocks). A unit takes one thread.

* `loop`: `compare` called for each pair and its report written, in a `for`; every model is read as often as it is in a
  pair, and nothing can be resumed.
* `serial`, `processes` and `ray` with one and two workers: `run_job` into an empty folder. Two workers can be as fast
  as two free cores let them; where the machine is shared, `load` says with how many others.
* `again`: the same call once more, when everything is there.

Each way runs in a process of its own; seconds are by the clock, from the call to its end (start of workers and, for
ray, of its local cluster included), and of the processor over all processes, which neighbours on a shared machine
disturb less; `over loop` is the loop's time over that of the way. Memory is the highest resident size of any single
process of the job. The files that the executors leave are compared byte by byte, time stamps apart.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import torch
from scaling import made_model, made_task
from threadpoolctl import threadpool_limits

import mechdecouple as md
from mechdecouple.activations.store import TIMES
from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.executors import make_executor
from mechdecouple.jobs.run import run_job
from mechdecouple.jobs.store import RECORD
from mechdecouple.models.hooked_files import save_hooked
from mechdecouple.report import write_results

OPTIONS = {"families": ["structure"], "blocks": 5}
WAYS = (("serial", None), ("processes", 1), ("processes", 2), ("ray", 1), ("ray", 2))


def make(folder: Path, models: int, items: int) -> tuple[list[str], str]:
    """Model directories and the task's table."""
    refs = [str(save_hooked(made_model(32, 2, seed), folder / f"model-{seed}")) for seed in range(models)]
    task = folder / "task.parquet"
    made_task(items).frame.to_parquet(task)
    return refs, str(task)


def one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


class Watch:
    """This process and all that come from it, looked at five times a second."""

    def __init__(self) -> None:
        self.peak, self._cpu, self._end = 0, {}, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._before = sum(psutil.Process().cpu_times()[:2])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        """Processor seconds of all of them since the beginning, but for the last moments of those that ended."""
        self._see()
        return sum(self._cpu.values()) - self._before

    def _look(self) -> None:
        while not self._end.wait(0.2):
            self._see()

    def _see(self) -> None:
        this = psutil.Process()
        for one in (this, *this.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                self.peak = max(self.peak, one.memory_info().rss)
                self._cpu[one.pid] = sum(one.cpu_times()[:2])


def loop(refs: list[str], task: str, out: Path) -> dict[str, Any]:
    start = time.perf_counter()
    with Watch() as watch:
        for number, (a, b) in enumerate(pairwise(refs)):
            write_results(md.compare(a, b, task, progress=False, **OPTIONS), out / str(number))
        return {"seconds": time.perf_counter() - start, "cpu": watch.cpu, "peak": watch.peak}


def job(refs: list[str], task: str, out: Path, executor: str, workers: int | None) -> dict[str, Any]:
    what = make_job({"models": refs, "tasks": [task], "pairs": "consecutive", "compare": OPTIONS, "threads": 1})
    found: dict[str, Any] = {}
    with Watch() as watch:
        for which in ("seconds", "again"):
            start = time.perf_counter()
            done = run_job(what, out, executor=make_executor(executor, workers), progress=False)
            found[which] = time.perf_counter() - start
            found.setdefault("cpu", watch.cpu)
            if done.failed:
                raise RuntimeError(done.failed[0].reason)
    return {**found, "peak": watch.peak, "files": files(out)}


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the finished units, time stamps apart."""
    units = folder / "units"
    paths = sorted(path for path in units.rglob("*") if path.is_file() and path.name not in (TIMES, RECORD))
    return {str(path.relative_to(units)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def alone(work, *args) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), one_thread) as one:
        return one.submit(work, *args).result()


def show(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Adds a row and tells it, beside the first, the loop."""
    rows.append(row)
    row["ratio"], row["cpu_ratio"] = (rows[0][key] / row[key] for key in ("seconds", "cpu"))
    again = f"{row['again']:6.2f}" if "again" in row else " " * 6
    print(
        f"{row['way']:12} {row['workers']:7} {row['seconds']:8.1f} {row['ratio']:9.2f} {row['cpu']:8.1f} "
        f"{row['cpu_ratio']:9.2f} {again} {row['peak'] / 2**20:9.0f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="A job under each executor.")
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--executors", nargs="+", choices=["serial", "processes", "ray"],
                        default=["serial", "processes", "ray"])  # fmt: skip
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ways = [way for way in WAYS if way[0] in options.executors]
    if importlib.util.find_spec("ray") is None:
        ways = [way for way in ways if way[0] != "ray"]
        print("ray is not installed and left out: pip install 'mechdecouple[ray]'")
    rows: list[dict[str, Any]] = []
    print(" " * 12 + " workers  seconds over loop      cpu over loop  again  peak MiB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        refs, task = make(folder, options.models, options.items)
        load = os.getloadavg()[0]
        show(rows, {"way": "loop", "workers": 1, **alone(loop, refs, task, folder / "loop")})
        for executor, workers in ways:
            out = folder / f"{executor}-{workers or 1}"
            found = alone(job, refs, task, out, executor, workers)
            show(rows, {"way": executor, "workers": workers or 1, **found})
    files_of = [row.pop("files") for row in rows[1:]]
    unlike = sorted({name for found in files_of for name, _ in set(found.items()) ^ set(files_of[0].items())})
    said = f"no: {', '.join(unlike[:3])}" if unlike else f"yes, all {len(files_of[0])}"
    print(f"files alike under every executor: {said}; load {load:.1f}")
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "threads": 1, "cores": os.cpu_count(),
            "load_before": load, "models": options.models, "items": options.items,
        }  # fmt: skip
        found = {"about": about, "results": rows, "unlike": unlike, "files": len(files_of[0])}
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(bool(unlike))


if __name__ == "__main__":
    sys.exit(main())
