"""Kills: a process watched for its changes to files and killed before one of them, or after some processor time."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path


def watch(folder: Path, parts: tuple[str, ...], seen: Callable[[str], object]) -> None:
    """Calls ``seen`` before each change that this process makes to files below ``folder``, with the one of ``parts`` of
    the ``units`` that it is in, or ``start``."""
    below, writing = str(folder), os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, arguments: tuple) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
            return
        path = str(arguments[0])
        if path.startswith(below) and (event != "open" or (arguments[2] or 0) & writing):
            seen(next((stage for stage in parts if f"/units/{stage}/" in path), "start"))

    sys.addaudithook(hook)


def die_after(left: int) -> Callable[[str], None]:
    """For :func:`watch`: ends this process before its ``left``-th change."""

    def seen(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return seen


def kill_after(child: int, seconds: float) -> int:
    """Kills a process once it has used that much processor time; how it ended."""
    clock = (~child << 3) | 2  # of another process's time, as the kernel numbers them
    while time.clock_gettime(clock) < seconds:
        ended, how = os.waitpid(child, os.WNOHANG)
        if ended:
            return how
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def modified(path: Path) -> float:
    """When a file was; the beginning of time where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def exchange(path: Path, other: Path) -> None:
    """Each gets the name of the other."""
    aside = path.with_name("aside")
    os.rename(path, aside)
    os.rename(other, path)
    os.rename(aside, other)


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but those that hold times."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "times.json")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
