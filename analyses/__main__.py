"""The studies: ``python -m analyses list``, ``run NAME [--full] [--out DIR]``, ``all [--full] [--out DIR]``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from analyses._study import Study, perform

FOLDER, OUT = Path(__file__).parent, Path("out")


def studies() -> dict[str, Study]:
    """Every study by name: findings in their order, then the checks of the instruments."""
    files = sorted(FOLDER.glob("[a-z]*.py"))
    names = [file.stem for file in files if "\nSTUDY = " in file.read_text(encoding="utf-8")]
    found: list[Study] = [importlib.import_module(f"analyses.{name}").STUDY for name in names]
    return {s.name: s for s in sorted(found, key=lambda s: (s.finding == 0, s.finding, s.name))}


def show(found: dict[str, Study], out: Path) -> None:
    """One line a study: its finding, the verdict of its last run, and its claim."""
    for study in found.values():
        kind = f"finding {study.finding}" if study.finding else "check"
        print(f"{study.name:<20} {kind:<11} {verdict(out / study.name):<15} {study.claim}")


def verdict(directory: Path) -> str:
    """Of the last run that was written there; a dash where there was none."""
    try:
        facts = json.loads((directory / "result.json").read_text(encoding="utf-8"))
        return str(facts["verdict"])
    except (OSError, ValueError, KeyError):
        return "-"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m analyses", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="every study, and the verdict of its last run")
    one = actions.add_parser("run", help="run one study")
    one.add_argument("name")
    every = actions.add_parser("all", help="run the study of every finding; trained models are shared and kept")
    for action in (one, every):
        action.add_argument("--full", action="store_true", help="full size: more seeds, more simulations")
    for action in actions.choices.values():
        action.add_argument("--out", type=Path, default=OUT, help="where each study has a directory (default: out)")
    options = parser.parse_args(argv)
    found = studies()
    if options.action == "list":
        show(found, options.out)
        return 0
    if options.action == "run" and options.name not in found:
        close = get_close_matches(options.name, found, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(found)}"
        print(f"analyses: no study {options.name!r}; {hint}", file=sys.stderr)
        return 2
    chosen = [found[options.name]] if options.action == "run" else [s for s in found.values() if s.finding]
    for study in chosen:
        began = time.monotonic()
        perform(study, options.full, options.out / study.name)
        print(f"{time.monotonic() - began:.0f} s\n", flush=True)
    if options.action == "all":
        show({s.name: s for s in chosen}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
