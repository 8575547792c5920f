"""Independent jobs of a study, two at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from mechdecouple.progress import bar

T = TypeVar("T")


def spread(jobs: Sequence[Callable[[], T]], **shown: Any) -> list[T]:
    """What each job returns, in order.

    Jobs run in processes of one thread, which is what models this small are fastest on; a single job runs here.

    Args:
        jobs: partials of functions that can be imported, the longest first.
        shown: options of ``mechdecouple.progress.bar``.

    Raises:
        Exception: what a job raises, once those before it are done.
    """
    shown = {"total": len(jobs), **shown}
    if len(jobs) < 2:
        return list(bar((job() for job in jobs), **shown))
    with workers() as pool:
        return list(bar(pool.map(_call, jobs), **shown))


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """Two processes of one thread, or one where there is one core; after an error what waits is not begun any more."""
    context, n = multiprocessing.get_context("spawn"), min(2, os.cpu_count() or 1)
    pool = ProcessPoolExecutor(n, context, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _call(job: Callable[[], T]) -> T:
    return job()
