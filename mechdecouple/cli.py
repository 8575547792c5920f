"""The command line: thin, and light until a command needs its tools."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mechdecouple.errors import InputError, MechDecoupleError

FAIL_ON = ("gate", "structure", "robustness", "sae", "belief", "calibration")
_FAMILY = {"belief": "beliefs"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 bad input (one line on stderr), 3 a difference named by ``--fail-on``."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        options, rest = _parser(argv).parse_known_args(argv)
        if rest:
            raise InputError(_unknown(rest[0], options))
        return options.run(options)
    except MechDecoupleError as error:
        print(f"mechdecouple: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("mechdecouple: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(f"{message} (see {self.prog} --help)")


def _unknown(argument: str, options: argparse.Namespace) -> str:
    from difflib import get_close_matches

    flags = ["--" + name.removeprefix("option.").replace("_", "-") for name in vars(options)]
    if options.command == "compare":
        from mechdecouple.compare.config import CompareConfig

        flags += ["--" + name.replace("_", "-") for name in CompareConfig.model_fields]
    close = get_close_matches(argument, flags, n=1)
    hint = f"did you mean {close[0]}?" if close else f"see mechdecouple {options.command} --help"
    return f"unknown argument {argument!r}; {hint}"


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mechdecouple", allow_abbrev=False,
        description="Compare two equally accurate models on their internal structure and on what they represent "
        "against what they say.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    compare = commands.add_parser("compare", help="compare two models on a task", allow_abbrev=False)
    compare.add_argument(
        "a", metavar="A", nargs="?", help="first model: a directory, a hub id, zoo:NAME, package.module:factory"
    )
    compare.add_argument("b", metavar="B", nargs="?", help="second model")
    compare.add_argument("--task", help="table of items (.csv .tsv .jsonl .json .parquet) or zoo:NAME")
    compare.add_argument(
        "--config", type=Path, help="the same options from a .toml, .yaml or .json file; the command line wins"
    )
    _add_out(compare)
    compare.set_defaults(run=_compare)
    if argv[:1] == ["compare"]:
        _add_options(compare)

    demo = commands.add_parser("demo", help="compare a built-in pair: equally accurate, different inside")
    _add_out(demo, default=Path("out/demo"))
    demo.set_defaults(run=_demo)

    extract = commands.add_parser("extract", help="store a model's activations on a task", allow_abbrev=False)
    extract.add_argument("model", help="a directory, a hub id, zoo:NAME, package.module:factory")
    extract.add_argument("--task", required=True, help="table of items or zoo:NAME")
    extract.add_argument(
        "--out", type=Path, required=True, help="directory of the store; an interrupted one is continued"
    )
    extract.add_argument("--hook-points", nargs="+", help="hook points; every layer's residual stream when absent")
    extract.add_argument("--position", default="last", help="last, mean, all, or a position_* column")
    extract.add_argument(
        "--dtype", default="float32", choices=("float32", "float16", "bfloat16"), help="number format on disk"
    )
    extract.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    extract.add_argument("--chat", action="store_true", help="apply the tokenizer's chat template")
    extract.set_defaults(run=_extract)

    report = commands.add_parser("report", help="write the report of a finished comparison again")
    report.add_argument("directory", type=Path, help="the --out of a compare job")
    report.set_defaults(run=_report)

    zoo = commands.add_parser("zoo", help="small models whose right answer is known")
    actions = zoo.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="what there is").set_defaults(run=_zoo_list)
    for action, text in (
        ("train", "train a recipe and write it as a directory"),
        ("export", "write a model and its task as files"),
    ):
        one = actions.add_parser(action, help=text)
        one.add_argument("name", help="a name from `mechdecouple zoo list`")
        one.add_argument("--seed", type=_seed, default=0, help="seed of the training (default: 0)")
        one.add_argument("--out", type=Path, required=True)
        one.set_defaults(run=_zoo_train if action == "train" else _zoo_export)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0")
    return int(text)


def _add_out(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    parser.add_argument("--out", type=Path, default=default, help="directory for tables, figures and report.html")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--fail-on", choices=FAIL_ON, action="append", default=[], help="exit 3 where this differs (repeatable)"
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    """One flag an option of CompareConfig, named and described by its field; only flags given reach the config."""
    from mechdecouple.compare.config import CompareConfig

    for name, field in CompareConfig.model_fields.items():
        flag, text = "--" + name.replace("_", "-"), f"{field.description} (default: {_shown(field.default)})"
        kind = str(field.annotation)
        facts: dict[str, Any] = {
            "help": text.replace("%", "%%"),
            "default": argparse.SUPPRESS,
            "dest": f"option.{name}",
        }
        if field.annotation is bool:
            facts["action"] = argparse.BooleanOptionalAction
        elif kind.startswith(("tuple", "dict")):
            facts |= {"nargs": "+", "metavar": "NAME=NAME" if kind.startswith("dict") else "NAME"}
        else:
            facts["metavar"] = name.split("_")[-1].upper()
        parser.add_argument(flag, **facts)


def _shown(default: Any) -> str:
    return "none" if default in (None, (), {}) else " ".join(default) if isinstance(default, tuple) else str(default)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given = {key.removeprefix("option."): value for key, value in vars(options).items() if key.startswith("option.")}
    if "columns" in given:
        pairs = [part.partition("=") for part in given["columns"]]
        wrong = next((a for a, sign, b in pairs if not (a and sign and b)), None)
        if wrong is not None:
            raise InputError(f"--columns {wrong!r}: write canonical=yours, for example prompt=statement")
        given["columns"] = {a: b for a, _, b in pairs}
    return given


def _compare(options: argparse.Namespace) -> int:
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


def _demo(options: argparse.Namespace) -> int:
    from mechdecouple import zoo

    demo = zoo.demo()
    return _run(demo.a, demo.b, demo.task, options.out, demo.options, options)


def _run(a: str, b: str, task: str, out: Path, settings: dict[str, Any], options: argparse.Namespace) -> int:
    _log(options.quiet)
    from mechdecouple.compare import compare, make_config
    from mechdecouple.report import write_results
    from mechdecouple.report.directory import check_directory

    families = make_config(settings).families
    for name in options.fail_on:
        if name not in ("gate", "calibration") and _FAMILY.get(name, name) not in families:
            raise InputError(f"--fail-on {name}: it is not measured; add {_FAMILY.get(name, name)} to --families")
    check_directory(out)
    with _nothing_left(out):
        comparison = compare(a, b, task, out=out, progress=not options.quiet, **settings)
        page = write_results(comparison, out)
    print(comparison.summary())
    print(f"\nreport: {page}")
    return 3 if any(comparison.differs(family) for family in options.fail_on) else 0


@contextlib.contextmanager
def _nothing_left(out: Path, errors: type[Exception] = MechDecoupleError) -> Iterator[None]:
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


def _log(quiet: bool) -> None:
    """What the library logs (the disk cost of an extraction, say), as plain lines on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("mechdecouple")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def _extract(options: argparse.Namespace) -> int:
    _log(quiet=False)
    from mechdecouple.extract import extract
    from mechdecouple.refs import load, load_task

    model, task = load(options.model, device=options.device), load_task(options.task)
    with _nothing_left(options.out, InputError):
        acts = extract(
            model, task, options.hook_points, options.position, out=options.out, dtype=options.dtype, chat=options.chat
        )
    print(f"{len(acts)} rows at {len(acts.hook_points)} hook points in {options.out}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from mechdecouple.compare import Comparison
    from mechdecouple.report import write_report

    print(f"report: {write_report(Comparison.load(options.directory), options.directory)}")
    return 0


def _zoo_list(options: argparse.Namespace) -> int:
    from mechdecouple import zoo

    for name, text, shipped in zoo.names():
        print(f"{name:24s} {'shipped' if shipped else 'trained':8s} {text}")
    return 0


def _zoo_train(options: argparse.Namespace) -> int:
    from mechdecouple import zoo
    from mechdecouple.models import save_hooked

    _check_zoo(options)
    with _nothing_left(options.out):
        print(save_hooked(zoo.train(options.name, seed=options.seed), options.out))
    return 0


def _zoo_export(options: argparse.Namespace) -> int:
    from mechdecouple import zoo

    _check_zoo(options)
    with _nothing_left(options.out):
        print(zoo.export(options.name, options.out, seed=options.seed))
    return 0


def _check_zoo(options: argparse.Namespace) -> None:
    """Training takes minutes: where its result goes is checked first."""
    from mechdecouple.report.directory import check_writable

    check_writable(options.out)
    other = next(options.out.iterdir(), None) if options.out.is_dir() else None
    if other is not None:
        raise InputError(f"{str(options.out)!r} holds {other.name!r} already: name a new or an empty directory")


def _version() -> str:
    from mechdecouple import __version__

    return f"mechdecouple {__version__}"
