"""What the library logs, on stderr: plain lines, JSON lines, or errors alone."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; other attributes are fields that the message came with."""
_PACKAGE = Path(__file__).parent.parent


class JsonLines(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, then the fields of the message, if any."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return to_text(line)


class _BesideBars(logging.StreamHandler):
    """Lines that a progress bar on the same terminal makes room for."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(sys.stderr):
            super().emit(record)


def to_text(value: Any, indent: int | None = None) -> str:
    """JSON, in which numbers that are not finite are null, and what JSON does not know is text."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def finite(value: Any) -> Any:
    """The same with None for NaN and infinities."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def shown(options: argparse.Namespace) -> Iterator[None]:
    """Within: the log of this package on stderr, as the command asks for it; logs of other packages are not heard.

    ``--quiet`` leaves errors alone; ``--log-json`` makes each line a JSON object; with either, warnings of other
    packages are not heard.
    """
    handler = _BesideBars()
    handler.setFormatter(JsonLines() if options.log_json else logging.Formatter("%(message)s"))
    logger = logging.getLogger("mechdecouple")
    handlers, level = logger.handlers, logger.level
    logger.handlers = [handler]
    logger.setLevel(logging.ERROR if options.quiet else logging.INFO)
    try:
        with _others_silent(), _own_warnings() if options.quiet or options.log_json else contextlib.nullcontext():
            yield
    finally:
        logger.handlers = handlers
        logger.setLevel(level)


@contextlib.contextmanager
def _others_silent() -> Iterator[None]:
    """Where no handler is, Python prints what any package warns of; transformers brings a handler of its own."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        with _environment("TRANSFORMERS_VERBOSITY", "critical"):
            yield
    finally:
        root.removeHandler(silent)


@contextlib.contextmanager
def _own_warnings() -> Iterator[None]:
    """Warnings of this package are lines of its log, those of others are lost; in processes started meanwhile, all."""
    show = warnings.showwarning
    warnings.showwarning = _warning
    try:
        with _environment("PYTHONWARNINGS", "ignore"):
            yield
    finally:
        warnings.showwarning = show


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, which processes started meanwhile see too."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """A warning as a line of the log, where it is ours."""
    if Path(filename).is_relative_to(_PACKAGE):
        logging.getLogger("mechdecouple").warning("%s", message)


@contextlib.contextmanager
def stdout_kept(options: argparse.Namespace) -> Iterator[None]:
    """Within: what anything else prints, in this process or one that it starts, does not reach stdout.

    It goes to stderr; nowhere where that is to hold log lines alone.
    """
    sink = os.open(os.devnull, os.O_WRONLY) if options.quiet or options.log_json else os.dup(2)
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(sink, 1)
        with open(sink, "w", encoding="utf-8", errors="replace") as stream, contextlib.redirect_stdout(stream):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
