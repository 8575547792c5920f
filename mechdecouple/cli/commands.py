"""What each command does."""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechdecouple.cli.answer import DIFFERENT, DONE, Answer, check_fail_on, differences, told
from mechdecouple.errors import InputError, MechDecoupleError


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given = {key.removeprefix("option."): value for key, value in vars(options).items() if key.startswith("option.")}
    if "columns" in given:
        pairs = [part.partition("=") for part in given["columns"]]
        wrong = next((a for a, sign, b in pairs if not (a and sign and b)), None)
        if wrong is not None:
            raise InputError(f"--columns {wrong!r}: write canonical=yours, for example prompt=statement")
        given["columns"] = {a: b for a, _, b in pairs}
    return given


def compare(options: argparse.Namespace) -> Answer:
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


def compare_many(options: argparse.Namespace) -> Answer:
    arms = {}
    for text in options.arm:
        name, sign, runs = text.partition("=")
        if not (name and sign and runs) or name in arms:
            raise InputError(f"--arm {text!r}: write each arm once, as name=run,run")
        arms[name] = runs.split(",")
    for name in ("task", "out"):
        if getattr(options, name) is None:
            raise InputError(f"compare-many: no {name} given; add --{name} {'TABLE' if name == 'task' else 'DIR'}")
    from mechdecouple.compare import compare_many
    from mechdecouple.report import write_many
    from mechdecouple.report.directory import check_directory

    check_directory(options.out)
    with nothing_left(options.out):
        many = compare_many(arms, options.task, progress=bars(options), **_given(options))
        page = write_many(many, options.out)
    found = {
        "arms": arms,
        "gate": {"outcome": many.gate.outcome, "sentence": many.gate.sentence},
        "metrics": [
            {"metric": name, "flagged": many.flags[name], "sentence": text} for name, text in many.sentences.items()
        ],
        "distance": many.distance_sentence,
        "notes": many.remarks,
    }
    return Answer(f"{many.summary()}\n\nresults: {page}", out=options.out, report=page, result=found)


def metrics(options: argparse.Namespace) -> Answer:
    from mechdecouple.report.metrics import markdown

    return Answer(markdown())


def demo(options: argparse.Namespace) -> Answer:
    from mechdecouple import zoo

    demo = zoo.demo()
    return _run(demo.a, demo.b, demo.task, options.out, demo.options, options)


def _run(a: str, b: str, task: str, out: Path, settings: dict[str, Any], options: argparse.Namespace) -> Answer:
    from mechdecouple.compare import compare, make_config
    from mechdecouple.report import write_results
    from mechdecouple.report.directory import check_directory

    check_fail_on(options.fail_on, make_config(settings).families)
    check_directory(out)
    with nothing_left(out):
        comparison = compare(a, b, task, out=out, progress=bars(options), **settings)
        page = write_results(comparison, out)
    pair = told(out, a, b, task)
    differs = differences([pair], options.fail_on)
    return Answer(
        f"{comparison.summary()}\n\nreport: {page}", DIFFERENT if differs else DONE,
        out=out, report=page, comparisons=[pair], differs=differs,
    )  # fmt: skip


def bars(options: argparse.Namespace) -> bool:
    """Whether progress bars may be shown: people read along, and no program."""
    return not (options.quiet or options.json or options.log_json)


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


def extract(options: argparse.Namespace) -> Answer:
    from mechdecouple.activations.store import TIMES, read_json
    from mechdecouple.extract import extract
    from mechdecouple.refs import load, load_task

    model, task = load(options.model, device=options.device), load_task(options.task)
    with nothing_left(options.out, InputError):
        acts = extract(
            model, task, options.hook_points, options.position, out=options.out, dtype=options.dtype,
            chat=options.chat, progress=bars(options),
        )  # fmt: skip
    text = f"{len(acts)} rows at {len(acts.hook_points)} hook points in {options.out}"
    found = {
        "model": options.model, "task": options.task, "rows": len(acts), "hook_points": list(acts.hook_points),
        "position": options.position, "dtype": options.dtype, "runs": read_json(options.out / TIMES),
    }  # fmt: skip
    return Answer(text, out=options.out, result=found)


def report(options: argparse.Namespace) -> Answer:
    from mechdecouple.compare import Comparison
    from mechdecouple.report import write_report

    return Answer(f"report: {write_report(Comparison.load(options.directory), options.directory)}")


def zoo_list(options: argparse.Namespace) -> Answer:
    from mechdecouple import zoo

    lines = [f"{name:24s} {'shipped' if shipped else 'trained':8s} {text}" for name, text, shipped in zoo.names()]
    return Answer("\n".join(lines))


def zoo_train(options: argparse.Namespace) -> Answer:
    from mechdecouple import zoo
    from mechdecouple.models import save_hooked

    _check_zoo(options)
    with nothing_left(options.out):
        return Answer(str(save_hooked(zoo.train(options.name, seed=options.seed), options.out)))


def zoo_export(options: argparse.Namespace) -> Answer:
    from mechdecouple import zoo

    _check_zoo(options)
    with nothing_left(options.out):
        return Answer(str(zoo.export(options.name, options.out, seed=options.seed)))


def _check_zoo(options: argparse.Namespace) -> None:
    """Training takes minutes: where its result goes is checked first."""
    from mechdecouple.report.directory import check_writable

    check_writable(options.out)
    other = next(options.out.iterdir(), None) if options.out.is_dir() else None
    if other is not None:
        raise InputError(f"{str(options.out)!r} holds {other.name!r} already: name a new or an empty directory")
