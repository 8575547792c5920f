"""What each command does."""

from __future__ import annotations

import argparse
import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechdecouple.errors import InputError, MechDecoupleError

_FAMILY = {"belief": "beliefs", "route": "mechanism", "variables": "mechanism"}


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given = {key.removeprefix("option."): value for key, value in vars(options).items() if key.startswith("option.")}
    if "columns" in given:
        pairs = [part.partition("=") for part in given["columns"]]
        wrong = next((a for a, sign, b in pairs if not (a and sign and b)), None)
        if wrong is not None:
            raise InputError(f"--columns {wrong!r}: write canonical=yours, for example prompt=statement")
        given["columns"] = {a: b for a, _, b in pairs}
    return given


def compare(options: argparse.Namespace) -> int:
    from mechdecouple.compare.config import read_config

    settings = read_config(options.config) if options.config else {}
    places = {name: getattr(options, name) or settings.get(name) for name in ("a", "b", "task", "out")}
    for name in places:
        value = settings.pop(name, None)
        if not isinstance(value, str | None):
            raise InputError(f"config {str(options.config)!r}: {name} = {value!r}; expected text")
    missing = next((name for name, value in places.items() if not value), None)
    if missing:
        how = {"a": "name two models", "b": "name a second model", "task": "add --task TABLE", "out": "add --out DIR"}[
            missing
        ]
        raise InputError(f"compare: no {missing.upper() if len(missing) == 1 else missing} given; {how}")
    a, b, task, out = (str(value) for value in places.values())
    return _run(a, b, task, Path(out), settings | _given(options), options)


def compare_many(options: argparse.Namespace) -> int:
    arms = {}
    for text in options.arm:
        name, sign, runs = text.partition("=")
        if not (name and sign and runs) or name in arms:
            raise InputError(f"--arm {text!r}: write each arm once, as name=run,run")
        arms[name] = runs.split(",")
    for name in ("task", "out"):
        if getattr(options, name) is None:
            raise InputError(f"compare-many: no {name} given; add --{name} {'TABLE' if name == 'task' else 'DIR'}")
    log(options.quiet)
    from mechdecouple.compare import compare_many
    from mechdecouple.report import write_many
    from mechdecouple.report.directory import check_directory

    check_directory(options.out)
    with nothing_left(options.out):
        many = compare_many(arms, options.task, progress=not options.quiet, **_given(options))
        where = write_many(many, options.out)
    print(many.summary())
    print(f"\nresults: {where}")
    return 0


def metrics(options: argparse.Namespace) -> int:
    from mechdecouple.report.metrics import markdown

    print(markdown())
    return 0


def demo(options: argparse.Namespace) -> int:
    from mechdecouple import zoo

    demo = zoo.demo()
    return _run(demo.a, demo.b, demo.task, options.out, demo.options, options)


def _run(a: str, b: str, task: str, out: Path, settings: dict[str, Any], options: argparse.Namespace) -> int:
    log(options.quiet)
    from mechdecouple.compare import compare, make_config
    from mechdecouple.report import write_results
    from mechdecouple.report.directory import check_directory

    families = make_config(settings).families
    for name in options.fail_on:
        if name not in ("gate", "calibration") and _FAMILY.get(name, name) not in families:
            raise InputError(f"--fail-on {name}: it is not measured; add {_FAMILY.get(name, name)} to --families")
    check_directory(out)
    with nothing_left(out):
        comparison = compare(a, b, task, out=out, progress=not options.quiet, **settings)
        page = write_results(comparison, out)
    print(comparison.summary())
    print(f"\nreport: {page}")
    return 3 if any(comparison.differs(family) for family in options.fail_on) else 0


@contextlib.contextmanager
def nothing_left(out: Path, errors: type[Exception] = MechDecoupleError) -> Iterator[None]:
    """After such an error ``out`` is as before: what this job made in it, or on the way to it, is removed."""
    before = _places(out)
    try:
        yield
    except errors:
        for path in _places(out) - before:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _places(out: Path) -> set[Path]:
    """What of the directory exists: it and its parents, its entries, and the entries of its activations."""
    out = out.absolute()
    found = [out, *out.parents, *out.glob("*"), *out.glob("activations/*")]
    return {path for path in found if path.is_dir()}


def log(quiet: bool) -> None:
    """What the library logs (the disk cost of an extraction, say), as plain lines on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("mechdecouple")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def extract(options: argparse.Namespace) -> int:
    log(quiet=False)
    from mechdecouple.extract import extract
    from mechdecouple.refs import load, load_task

    model, task = load(options.model, device=options.device), load_task(options.task)
    with nothing_left(options.out, InputError):
        acts = extract(
            model, task, options.hook_points, options.position, out=options.out, dtype=options.dtype, chat=options.chat
        )
    print(f"{len(acts)} rows at {len(acts.hook_points)} hook points in {options.out}")
    return 0


def report(options: argparse.Namespace) -> int:
    from mechdecouple.compare import Comparison
    from mechdecouple.report import write_report

    print(f"report: {write_report(Comparison.load(options.directory), options.directory)}")
    return 0


def zoo_list(options: argparse.Namespace) -> int:
    from mechdecouple import zoo

    for name, text, shipped in zoo.names():
        print(f"{name:24s} {'shipped' if shipped else 'trained':8s} {text}")
    return 0


def zoo_train(options: argparse.Namespace) -> int:
    from mechdecouple import zoo
    from mechdecouple.models import save_hooked

    _check_zoo(options)
    with nothing_left(options.out):
        print(save_hooked(zoo.train(options.name, seed=options.seed), options.out))
    return 0


def zoo_export(options: argparse.Namespace) -> int:
    from mechdecouple import zoo

    _check_zoo(options)
    with nothing_left(options.out):
        print(zoo.export(options.name, options.out, seed=options.seed))
    return 0


def _check_zoo(options: argparse.Namespace) -> None:
    """Training takes minutes: where its result goes is checked first."""
    from mechdecouple.report.directory import check_writable

    check_writable(options.out)
    other = next(options.out.iterdir(), None) if options.out.is_dir() else None
    if other is not None:
        raise InputError(f"{str(options.out)!r} holds {other.name!r} already: name a new or an empty directory")
