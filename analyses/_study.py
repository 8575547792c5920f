"""What every study shares: criteria stated beforehand, a verdict, and the files of a result."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mechdecouple.compare.provenance import PACKAGES, commit
from mechdecouple.errors import InputError
from mechdecouple.report.style import png, save_pdf

Side = Literal["both", "at least", "at most"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Criterion:
    """One statement that a study stands or falls by.

    Attributes:
        group, name: what it is about.
        value: what was measured (NaN meets nothing).
        expected, tolerance: met if the value lies no further than this on the ``side`` that counts.
        how: where the expected value and its tolerance come from.
    """

    group: str
    name: str
    value: float
    expected: float
    tolerance: float = 0.0
    side: Side = "both"
    how: str = ""

    @property
    def met(self) -> bool:
        excess, allowed = self.value - self.expected, self.tolerance + 1e-12 * abs(self.expected)
        low = self.side == "at most" or excess >= -allowed
        high = self.side == "at least" or excess <= allowed
        return bool(not math.isnan(self.value) and low and high)

    def row(self) -> dict[str, Any]:
        numbers = {key: _plain(getattr(self, key)) for key in ("value", "expected", "tolerance")}
        return {"group": self.group, "name": self.name, **numbers, "side": self.side, "met": self.met, "how": self.how}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A study's result; ``tables`` become Parquet files, ``figures`` PDF and PNG.

    Attributes:
        name, claim, source: which study it is, what it tests, and where that comes from.
        full: whether it was run at full size.
        notes: what a reader must know of the numbers.
    """

    name: str
    claim: str
    source: str
    full: bool
    criteria: tuple[Criterion, ...]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``reproduced`` if every criterion is met, ``not reproduced`` if fewer than half are, else ``partly``."""
        met = sum(c.met for c in self.criteria)
        if met == len(self.criteria) > 0:
            return "reproduced"
        return "partly" if 2 * met >= len(self.criteria) > 0 else "not reproduced"

    def write(self, directory: Path) -> None:
        """``result.json``, tables and figures, the same bytes for the same numbers; ``provenance.json`` is dated.

        Raises:
            InputError: the directory is a file.
        """
        if directory.exists() and not directory.is_dir():
            raise InputError(f"{str(directory)!r} is a file: name a directory")
        directory.mkdir(parents=True, exist_ok=True)
        facts = {key: getattr(self, key) for key in ("name", "claim", "source", "full", "verdict", "notes")}
        met = sum(c.met for c in self.criteria)
        facts |= {"met": met, "of": len(self.criteria), "criteria": [c.row() for c in self.criteria]}
        _write_json(directory / "result.json", facts)
        for name, table in self.tables.items():
            table.to_parquet(directory / f"{name}.parquet", index=False)
        for name, figure in self.figures.items():
            (directory / f"{name}.png").write_bytes(png(figure))
            # Laid out once: the same places for both kinds of file.
            figure.set_layout_engine("none")
            save_pdf(figure, directory / f"{name}.pdf")
        _write_json(directory / "provenance.json", _provenance())

    def report(self) -> str:
        """The criteria met by group, every unmet one, what to know, and the verdict."""
        lines = []
        groups = dict.fromkeys(c.group for c in self.criteria)
        width = max((len(g) for g in groups), default=0)
        for group in groups:
            own = [c for c in self.criteria if c.group == group]
            lines.append(f"{group:<{width}}  {sum(c.met for c in own):>4} of {len(own)} met")
        for c in self.criteria:
            if not c.met:
                sign = {"both": "±", "at least": "at least, −", "at most": "at most, +"}[c.side]
                lines.append(f"  not met: {c.group}: {c.name}: {c.value:.4g}, expected {c.expected:.4g} "
                             f"({sign}{c.tolerance:.2g})")  # fmt: skip
        return "\n".join([*lines, *self.notes, "", f"verdict: {self.verdict}"])


def where(table: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """The rows that hold these values in these columns."""
    mask = np.ones(len(table), dtype=bool)
    for name, value in columns.items():
        mask &= np.asarray(table[name] == value)
    return table.iloc[np.flatnonzero(mask)]


def column(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column of numbers in float64."""
    return np.asarray(table[name], dtype=np.float64)


def arguments(name: str, description: str, argv: Iterable[str] | None = None) -> argparse.Namespace:
    """``--full`` and ``--out``, which every study takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="full size: more seeds, more simulations")
    parser.add_argument("--out", type=Path, default=Path("out", name), help="directory (default: %(default)s)")
    return parser.parse_args(None if argv is None else list(argv))


_STARTED = time.time()


def _provenance() -> dict[str, Any]:
    return {
        **commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seconds": round(time.time() - _STARTED, 1),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
