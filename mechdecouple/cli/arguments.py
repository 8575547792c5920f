"""What each command takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mechdecouple.cli import commands as run
from mechdecouple.cli import gap, jobs, rating, sae
from mechdecouple.cli.answer import FAIL_ON
from mechdecouple.cli.values import add_voice, seed
from mechdecouple.errors import InputError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(f"{message} (see {self.prog} --help)")


def unknown(argument: str, options: argparse.Namespace) -> str:
    from difflib import get_close_matches

    flags = ["--" + name.removeprefix("option.").replace("_", "-") for name in vars(options)]
    if options.command in ("compare", "compare-many"):
        from mechdecouple.compare.config import CompareConfig

        flags += ["--" + name.replace("_", "-") for name in CompareConfig.model_fields]
    close = get_close_matches(argument, flags, n=1)
    hint = f"did you mean {close[0]}?" if close else f"see mechdecouple {options.command} --help"
    return f"unknown argument {argument!r}; {hint}"


def parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    root = _Parser(
        prog="mechdecouple", allow_abbrev=False,
        description="Compare two equally accurate models on their internal structure and on what they represent "
        "against what they say.",
    )  # fmt: skip
    root.add_argument("--version", action="version", version=_version())
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

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
    compare.set_defaults(run=run.compare)
    if argv[:1] == ["compare"]:
        _add_options(compare)

    many = commands.add_parser("compare-many", help="compare recipes, each by several runs", allow_abbrev=False)
    many.add_argument(
        "--arm", action="append", default=[], metavar="NAME=RUN,RUN", help="a recipe and its runs; give two or more"
    )
    many.add_argument("--task", help="table of items or zoo:NAME")
    many.add_argument("--out", type=Path, help="directory for tables and figures")
    add_voice(many)
    many.set_defaults(run=run.compare_many)
    if argv[:1] == ["compare-many"]:
        _add_options(many)

    commands.add_parser("metrics", help="every metric as a Markdown table").set_defaults(run=run.metrics)

    demo = commands.add_parser(
        "demo", help="compare a built-in pair: equally accurate, different inside", allow_abbrev=False
    )
    _add_out(demo, default=Path("out/demo"))
    demo.set_defaults(run=run.demo)

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
    add_voice(extract)
    extract.set_defaults(run=run.extract)

    sae.add(commands)
    gap.add(commands)
    jobs.add(commands)
    rating.add(commands)

    report = commands.add_parser("report", help="write the report of a finished comparison again")
    report.add_argument("directory", type=Path, help="the --out of a compare job")
    report.set_defaults(run=run.report)

    zoo = commands.add_parser("zoo", help="small models whose right answer is known")
    actions = zoo.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="what there is").set_defaults(run=run.zoo_list)
    for action, text in (
        ("train", "train a recipe and write it as a directory"),
        ("export", "write a model and its task as files"),
    ):
        one = actions.add_parser(action, help=text)
        one.add_argument("name", help="a name from `mechdecouple zoo list`")
        one.add_argument("--seed", type=seed, default=0, help="seed of the training (default: 0)")
        one.add_argument("--out", type=Path, required=True)
        one.set_defaults(run=run.zoo_train if action == "train" else run.zoo_export)
    return root


def _add_out(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    parser.add_argument("--out", type=Path, default=default, help="directory for tables, figures and report.html")
    add_voice(parser)
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


def _version() -> str:
    from mechdecouple import __version__

    return f"mechdecouple {__version__}"
