"""Processes: several units at a time, in processes of this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch

from mechdecouple.errors import InputError
from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.executors.sharing import Word, devices_of, share_out, threads_of
from mechdecouple.jobs.executors.worker import Worker, log_again, surroundings
from mechdecouple.jobs.units import Unit

_CONTEXT: Any = multiprocessing.get_context("spawn")
"""A fork would take over locks and threads of torch in whatever state they are."""
_UNGUARDED = "in a script, call run_job below `if __name__ == '__main__':`, for each worker imports the script anew"
_log = logging.getLogger("mechdecouple.jobs")


class Processes:
    """Several units at a time, in processes of this machine that end with this one.

    Only what says what to do travels to a process; models are loaded and results written there. Where the machine has
    several GPUs and the job names none of them, the processes take them in turn.

    Args:
        workers: processes; as many as the cores serve at the job's threads a unit when absent.

    Raises:
        InputError: ``workers`` is less than 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers = {workers}: expected 1 or more")
        self.workers = workers

    def run(self, units: Sequence[Unit], folder: Path) -> Iterator[Outcome]:
        """See :class:`mechdecouple.jobs.executors.Executor`.

        Raises:
            MechDecoupleError: no process could be started.
        """
        threads, there = threads_of(units), cores()
        workers = self.workers or max(1, there // threads)
        if (used := min(workers, len(units)) * threads) > there and used > threads:
            _log.warning(
                "%d workers of %d thread%s on %d core%s slow each other down: %d would do",
                workers, threads, "s" * (threads != 1), there, "s" * (there != 1), max(1, there // threads),
            )  # fmt: skip
        crew = _Crew(folder, [] if any(":" in device for device in devices_of(units)) else gpus(os.environ))
        try:
            yield from share_out(units, folder, crew, workers)
        finally:
            crew.end()


class _Crew:
    def __init__(self, folder: Path, gpus: Sequence[str]) -> None:
        self._folder, self._gpus = str(folder.absolute()), gpus
        self._there: dict[connection.Connection, tuple[int, Any]] = {}
        self._pipes: dict[int, connection.Connection] = {}
        self._ready: set[int] = set()

    def start(self, worker: int) -> None:
        ours, theirs = _CONTEXT.Pipe()
        gpu = self._gpus[worker % len(self._gpus)] if self._gpus else None
        process = _CONTEXT.Process(
            target=_serve, args=(theirs, gpu, *surroundings()), name=f"mechdecouple-{worker}", daemon=True
        )
        self._pipes[worker], self._there[ours] = ours, (worker, process)
        process.start()
        theirs.close()

    def give(self, worker: int, unit: Unit) -> None:
        try:
            self._pipes[worker].send((unit.record(), self._folder))
        except OSError:  # it died while it had nothing to do
            return

    def hear(self) -> Word:
        pipe: Any = connection.wait(list(self._there))[0]
        worker = self._there[pipe][0]
        try:
            answer = pipe.recv()
        except (EOFError, OSError):
            return Word(worker, lost=self._buried(pipe))
        if answer is None:
            self._ready.add(worker)
            return Word(worker)
        outcome, records = answer
        log_again(records)
        return Word(worker, outcome)

    def end(self) -> None:
        for pipe, (_, process) in list(self._there.items()):
            process.kill()
            self._buried(pipe)

    def _buried(self, pipe: connection.Connection) -> str:
        """Forget a process that has ended or is about to; how it ended."""
        worker, process = self._there.pop(pipe)
        pipe.close()
        process.join()
        code = process.exitcode
        process.close()
        if code < 0:
            return f"process killed by {signal.Signals(-code).name}"
        return f"process ended with code {code}" + ("" if worker in self._ready else f"; {_UNGUARDED}")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them; none where there is no choice."""
    n = torch.cuda.device_count()
    named = environ.get("CUDA_VISIBLE_DEVICES")
    return [] if n < 2 else [str(i) for i in range(n)] if named is None else named.split(",")[:n]


def _serve(pipe: connection.Connection, gpu: str | None, home: str, path: Sequence[str], level: int) -> None:
    """What a process does: it answers records of units with outcomes until there are no more."""
    if gpu is not None:  # read when CUDA is first used
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is for the asking process, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker = Worker(home, path, level)
    pipe.send(worker.ready())
    while True:
        pipe.send(worker.do(*pipe.recv()))


def _end_with_parent() -> None:
    """A parent that was killed can end nothing itself; a unit cut short goes on in the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
