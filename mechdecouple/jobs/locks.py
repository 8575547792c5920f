"""Locks: one process at a time, by files that a kill releases and that go when the work is done.

The lock is the kernel's (``flock``) on a file opened for writing, which file systems shared by several machines pass on
to each other; on a directory they would not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mechdecouple.activations.store import one_line, write_file
from mechdecouple.errors import StoreError


@contextlib.contextmanager
def alone(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds ``lock``, a file that is there for this alone, and removes it at the end. Threads exclude each other too.

    Args:
        wait: until whoever holds it has ended; otherwise False comes at once in place of True.

    Raises:
        StoreError: the file cannot be made, or the file system has no locks.
    """
    while True:
        with one_line("locking", lock):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _taken(descriptor, lock, exclusive=True, wait=wait):
                yield False
                return
            # Whoever held it before has removed the file: others hold the next one.
            if not same(descriptor, lock):
                continue
            try:
                yield True
            finally:
                # As long as it is held, so that whoever waits for it finds it gone.
                lock.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def hold(path: Path, *, exclusive: bool) -> Iterator[bool]:
    """Holds a file that is there for other reasons; False comes where it is held in a way that excludes this one, is
    not there, or was replaced or moved meanwhile.

    Raises:
        StoreError: the file cannot be opened, or the file system has no locks.
    """
    with one_line("locking", path):
        try:
            descriptor = os.open(path, os.O_RDWR if exclusive else os.O_RDONLY)
        except FileNotFoundError:
            yield False
            return
    try:
        yield _taken(descriptor, path, exclusive=exclusive, wait=False) and same(descriptor, path)
    finally:
        os.close(descriptor)


def is_held(lock: Path) -> bool:
    """Whether a process is :func:`alone` with ``lock``; asked without taking it from anyone."""
    with contextlib.suppress(StoreError), hold(lock, exclusive=False) as free:
        return not free and lock.exists()
    return False


def sweep(lock: Path) -> None:
    """Removes what a killed process left of a lock, and of the file that it wrote with :func:`write_alone`."""
    with alone(lock, wait=False) as mine:
        if mine:
            _part(lock.with_suffix("")).unlink(missing_ok=True)


def write_alone(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path`` whole or not at all, whoever else writes there at the same time.

    Raises:
        StoreError: the disk is full or the folder cannot be written; what was at ``path`` before is untouched.
    """
    with alone(path.with_name(path.name + ".lock")):
        write_file(path, data)


def same(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _taken(descriptor: int, path: Path, *, exclusive: bool, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be locked ({error.strerror}): choose a folder on a file system with locks (flock)"
        ) from None
    return True
