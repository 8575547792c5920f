"""Ray: units on the machines of a Ray cluster, each worker an actor with a share of CPUs or a GPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mechdecouple.errors import InputError
from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.executors.sharing import Word, devices_of, share_out, threads_of
from mechdecouple.jobs.executors.worker import Worker, log_again, surroundings
from mechdecouple.jobs.units import Unit

_PATIENCE = 30.0
"""Seconds without any worker before it is said that none finds room."""
_ANSWER = 10.0
"""Seconds in which a cluster answers."""
_OBJECTS = 128 * 2**20
"""Bytes for Ray's store of objects in a cluster of our own: records of units are all that passes through it."""
_log = logging.getLogger("mechdecouple.jobs")


class Ray:
    """Units on a Ray cluster; core actors alone are used.

    The store lies on a file system that all machines of the cluster share, and mechdecouple is installed on each.
    Workers begin as the cluster finds room for them, one lost with its machine wherever there is some.

    Args:
        workers: actors; as many as the cluster has room for when absent.
        address: of a running cluster, ``auto`` for the one that this machine belongs to; a cluster on this machine
            alone is started, and stopped in the end, when absent.
        gpus: of each worker, also a share of one; when absent, 1 where the job's device is a GPU (or ``auto``, and the
            cluster has GPUs), and 0 otherwise.

    Raises:
        InputError: ``workers`` is less than 1, ``gpus`` is negative, or Ray is not installed.
    """

    def __init__(self, workers: int | None = None, address: str | None = None, gpus: float | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers = {workers}: expected 1 or more")
        if gpus is not None and gpus < 0:
            raise InputError(f"gpus = {gpus}: expected 0 or more")
        self.workers, self.address, self.gpus = workers, address, gpus
        _ray()

    def run(self, units: Sequence[Unit], folder: Path) -> Iterator[Outcome]:
        """See :class:`mechdecouple.jobs.executors.Executor`.

        Raises:
            InputError: no cluster answers at the address, or one of our own lacks what a worker asks for.
            MechDecoupleError: no worker could be started.
        """
        if not units:
            return
        ray, threads = _ray(), threads_of(units)
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray, threads)
        try:
            there = ray.cluster_resources()
            gpus = _gpus(units, there) if self.gpus is None else self.gpus
            room = int(min(there.get("CPU", 0) // threads, there.get("GPU", 0) // gpus if gpus else float("inf")))
            if not room and self.address is None:
                raise InputError(f"no worker finds room: {_asked(threads, gpus, there)}; ask for less")
            crew = _Crew(ray, folder, threads, gpus)
            try:
                yield from share_out(units, folder, crew, self.workers or max(1, room))
            finally:
                crew.end()
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any, threads: int) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            options |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
            if self.workers is not None:
                options["num_cpus"] = self.workers * threads
        elif self.address != "auto":
            _knock(self.address)
        try:
            ray.init(address=self.address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = "a Ray cluster cannot be started" if self.address is None else f"no Ray cluster at {self.address!r}"
            raise InputError(f"{where}: {_first(error)}") from None


class _Crew:
    def __init__(self, ray: Any, folder: Path, threads: int, gpus: float) -> None:
        self._ray, self._folder, self._threads, self._gpus = ray, str(folder.absolute()), threads, gpus
        # A worker is never restarted or a unit repeated behind our back: both are counted here.
        self._actor = ray.remote(Worker).options(
            num_cpus=threads, num_gpus=gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}
        self._ready: set[int] = set()
        self._said = False

    def start(self, worker: int) -> None:
        self._ready.discard(worker)
        self._actors[worker] = self._actor.remote(*surroundings())
        self._asked[self._actors[worker].ready.remote()] = worker

    def give(self, worker: int, unit: Unit) -> None:
        self._asked[self._actors[worker].do.remote(unit.record(), self._folder)] = worker

    def hear(self) -> Word:
        heard: list[Any] = []
        while not heard:
            heard, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=_PATIENCE)
            if not (heard or self._ready or self._said):
                self._said = True
                asked = _asked(self._threads, self._gpus, self._ray.cluster_resources())
                _log.warning("no worker has found room yet: %s; waiting for it", asked)
        worker = self._asked.pop(heard[0])
        try:
            answer = self._ray.get(heard[0])
        except self._ray.exceptions.RayError as error:
            self._ready.discard(worker)
            self._ray.kill(self._actors.pop(worker))
            return Word(worker, lost=_first(error))
        if answer is None:
            self._ready.add(worker)
            return Word(worker)
        outcome, records = answer
        log_again(records)
        return Word(worker, outcome)

    def end(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)


def _ray() -> Any:
    """The library; it is imported when it is first needed, and tells nobody that it was."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    factory = logging.getLogRecordFactory()
    try:
        import ray
    except ImportError:
        raise InputError("the executor 'ray' needs Ray: pip install \"mechdecouple[ray]\"") from None
    finally:
        logging.setLogRecordFactory(factory)  # its own would put a field into every record of everyone
    return ray


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody answers.

    Raises:
        InputError: it is no address, or nobody listens there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        raise InputError(f"address {address!r}: expected HOST:PORT of a Ray cluster, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"no Ray cluster at {address!r} ({reason}): start one with `ray start --head`") from None


def _gpus(units: Sequence[Unit], there: dict[str, float]) -> float:
    devices = devices_of(units)
    wanted = any(device.startswith("cuda") for device in devices) or ("auto" in devices and there.get("GPU", 0) > 0)
    return 1.0 if wanted else 0.0


def _asked(threads: int, gpus: float, there: dict[str, float]) -> str:
    asked = f"each asks for {threads} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    return f"{asked}, and the cluster has {there.get('CPU', 0):g} CPU and {there.get('GPU', 0):g} GPU"


def _first(error: Exception) -> str:
    """The kind of an error and its first line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
