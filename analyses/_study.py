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
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest
from scipy.stats import t as student

from analyses._venues import save_for_venues
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
        low, high: 95 % interval of the value over ``seeds``; NaN where it rests on one run.
        seeds: the value of each seed, whose mean is ``value``; empty where it rests on one run.
    """

    group: str
    name: str
    value: float
    expected: float
    tolerance: float = 0.0
    side: Side = "both"
    how: str = ""
    low: float = math.nan
    high: float = math.nan
    seeds: tuple[float, ...] = ()

    @classmethod
    def over_seeds(
        cls, group: str, name: str, values: Iterable[float], expected: float, side: Side = "both", *,
        tolerance: float = 0.0, how: str = "",
    ) -> Criterion:  # fmt: skip
        """Of the mean over seeds; the interval is Student's, or exactly binomial for a share of seeds (of booleans)."""
        found = np.asarray(list(values))
        seeds = tuple(found.astype(np.float64).tolist())
        value, low, high = seed_interval(seeds)
        if len(seeds) > 1 and found.dtype == np.bool_:
            low, high = binomtest(int(found.sum()), len(seeds)).proportion_ci()
        return cls(
            group=group, name=name, value=value, expected=expected, tolerance=tolerance, side=side, how=how, low=low,
            high=high, seeds=seeds,
        )  # fmt: skip

    @property
    def met(self) -> bool:
        excess, allowed = self.value - self.expected, self.tolerance + 1e-12 * abs(self.expected)
        low = self.side == "at most" or excess >= -allowed
        high = self.side == "at least" or excess <= allowed
        return bool(not math.isnan(self.value) and low and high)

    def row(self) -> dict[str, Any]:
        numbers = {key: _plain(getattr(self, key)) for key in ("value", "low", "high", "expected", "tolerance")}
        facts = {"side": self.side, "met": self.met, "how": self.how, "seeds": [_plain(x) for x in self.seeds]}
        return {"group": self.group, "name": self.name, **numbers, **facts}

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.3g}, {self.high:.3g}]"
        sign = {"both": "±", "at least": "at least, −", "at most": "at most, +"}[self.side]
        asked = f"expected {self.expected:.4g} ({sign}{self.tolerance:.2g})"
        return f"{self.group}: {self.name}: {self.value:.4g}{interval}, {asked}"


def seed_interval(
    values: Iterable[float], least: float = -math.inf, most: float = math.inf
) -> tuple[float, float, float]:
    """Mean of the runs of several seeds and the ends of its 95 % interval (Student's t; NaN for fewer than two), cut
    off at the ``least`` and ``most`` that is possible."""
    x = np.array(list(values), dtype=np.float64)
    if len(x) < 2:
        return (float(x[0]) if len(x) else math.nan), math.nan, math.nan
    half = float(student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    mean = float(x.mean())
    return mean, max(least, mean - half), min(most, mean + half)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A study's result; ``tables`` become Parquet files, ``figures`` PDF and PNG.

    Attributes:
        name, claim, source: which study it is, what it tests, and where that comes from.
        full: whether it was run at full size.
        notes: what a reader must know of the numbers.
        captions: figure -> what it shows, with the numbers of this run.
        extras: name of a file or folder -> what writes it there.
    """

    name: str
    claim: str
    source: str
    full: bool
    criteria: tuple[Criterion, ...]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    notes: tuple[str, ...] = ()
    captions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    extras: Mapping[str, Callable[[Path], None]] = dataclasses.field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``reproduced`` if every criterion is met, ``not reproduced`` if fewer than half are, else ``partly``."""
        met = sum(c.met for c in self.criteria)
        if met == len(self.criteria) > 0:
            return "reproduced"
        return "partly" if 2 * met >= len(self.criteria) > 0 else "not reproduced"

    def write(self, directory: Path) -> None:
        """``result.json``, tables and figures, the same bytes for the same numbers; ``provenance.json`` is dated.

        Figures come in this package's width, and in folders of their own in those of venues.

        Raises:
            InputError: the directory is a file.
        """
        if directory.exists() and not directory.is_dir():
            raise InputError(f"{str(directory)!r} is a file: name a directory")
        directory.mkdir(parents=True, exist_ok=True)
        facts = {key: getattr(self, key) for key in ("name", "claim", "source", "full", "verdict", "notes")}
        met = sum(c.met for c in self.criteria)
        facts |= {"met": met, "of": len(self.criteria), "criteria": [c.row() for c in self.criteria]}
        facts |= {"figures": list(self.figures), "captions": dict(self.captions)}
        _write_json(directory / "result.json", facts)
        for name, table in self.tables.items():
            table.to_parquet(directory / f"{name}.parquet", index=False)
        for name, figure in self.figures.items():
            (directory / f"{name}.png").write_bytes(png(figure))
            engine = figure.get_layout_engine()
            # Laid out once: the same places for both kinds of file.
            figure.set_layout_engine("none")
            save_pdf(figure, directory / f"{name}.pdf")
            figure.set_layout_engine(engine)
            save_for_venues(figure, name, directory)
        for name, write in self.extras.items():
            write(directory / name)
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
                lines.append(f"  not met: {c}")
        return "\n".join([*lines, *self.notes, "", f"verdict: {self.verdict}"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study as ``python -m analyses`` knows it; each module of ``analyses`` that holds one calls it ``STUDY``.

    Attributes:
        name: of the module; finding: which line of findings it tests, 0 for a check of the package's own instruments.
        claim, source: what is tested, and who said it.
        run: makes the result; takes ``full`` (more seeds, full size) and ``progress``.
    """

    name: str
    finding: int
    claim: str
    source: str
    run: Callable[[bool, bool], Result]


def perform(study: Study, full: bool, out: Path, progress: bool = True) -> Result:
    """Print the claim, run the study, write its files and print its report."""
    print(f"{study.name}: {study.claim}\n({study.source})", end="\n\n", flush=True)
    result = study.run(full, progress)
    result.write(out)
    print(result.report())
    print(f"written to {out}", flush=True)
    return result


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
