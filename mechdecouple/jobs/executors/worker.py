"""Worker: does units in a process of its own, for whoever gave it the records of these units."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.units import Unit

LOGGER = "mechdecouple"
Answer = tuple[Outcome, list[logging.LogRecord]]
"""What became of a unit, and what was logged meanwhile."""


class Worker:
    """Does units, one at a time, and keeps the models that it loaded last.

    Args:
        home: working directory of the asking process, where relative references start.
        path: where it looks for modules, those of a ``package.module:factory`` for example.
        level: of the log records to bring home.
    """

    def __init__(self, home: str, path: Sequence[str], level: int) -> None:
        with contextlib.suppress(OSError):  # on another machine it may be missing, and references absolute
            os.chdir(home)
        sys.path += [place for place in path if place not in sys.path]
        tqdm.set_lock(threading.RLock())  # the lock that bars share between processes would outlive one that is killed
        self._said: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        logging.setLogRecordFactory(logging.LogRecord)  # Ray's puts a field of its own into every record
        logger = logging.getLogger(LOGGER)
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers = [logging.handlers.QueueHandler(self._said)]

    def ready(self) -> None:
        """Answers as soon as the worker can take a unit."""

    def do(self, record: Mapping[str, Any], folder: str) -> Answer:
        """Do the unit of a record in the store at ``folder``, see :func:`mechdecouple.jobs.work.do`."""
        from mechdecouple.jobs.work import do

        outcome = do(Unit.of(record), folder)
        return outcome, [self._said.get() for _ in range(self._said.qsize())]


def surroundings() -> tuple[str, tuple[str, ...], int]:
    """Those of this process, as a :class:`Worker` takes them."""
    return os.getcwd(), tuple(sys.path), logging.getLogger(LOGGER).getEffectiveLevel()


def log_again(records: Sequence[logging.LogRecord]) -> None:
    """Log in this process what was logged in another."""
    for record in records:
        logging.getLogger(record.name).handle(record)
