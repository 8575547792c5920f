"""Cases, how one is run, and what its outcome is called."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from mechdecouple.stats import wilson

TRUTH_RUNS = 2000
LEVEL = 0.95

Kind = Literal["interior", "boundary", "size", "exact"]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One number of a case.

    Attributes:
        name: what it is (``"A"``, ``"A − B"``).
        truth: the value its interval must cover; NaN where it is the mean of the estimate over independent data sets
            of the same size (for procedures that are fitted on n rows, or biased in n).
        kind: ``interior``: coverage of 93–97 % is asked for; ``boundary``: at least 93 %; ``size``: a test, rejecting
            in at most ``truth`` of the runs; ``exact``: rejecting in ``truth`` of the runs.
    """

    name: str
    truth: float = float("nan")
    kind: Kind = "interior"


@dataclasses.dataclass(frozen=True)
class Case:
    """One metric on one kind of data.

    Attributes:
        metric, name: together its identity; data: in words.
        groups: independent groups.
        quantities: what a draw returns, in order.
        draw: one data set -> [q, 3] value and ends of the 95 % interval; for tests [q] p-values or 0/1 rejections.
        point: one data set -> [q] values alone, where a truth is the mean of the estimate.
        level: for tests, reject where the draw is at most this.
        cheap: fast enough for a thousand runs in a test.
    """

    metric: str
    name: str
    groups: int
    quantities: Sequence[Quantity]
    draw: Callable[[np.random.Generator], Any]
    point: Callable[[np.random.Generator], Any] | None = None
    level: float = 0.05
    cheap: bool = False

    @property
    def key(self) -> str:
        return f"{self.metric}: {self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """The outcome for one quantity; ``hits`` of ``runs`` intervals covered the truth (or tests rejected)."""

    metric: str
    case: str
    quantity: str
    kind: Kind
    groups: int
    truth: float
    estimand: str
    mean: float
    sd: float
    runs: int
    hits: int
    undefined: int
    width: float
    seconds: float
    seed: int

    @property
    def bias(self) -> float:
        return self.mean - self.truth

    @property
    def rate(self) -> float:
        return self.hits / self.runs if self.runs else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the rate: what so many runs can tell."""
        return wilson(self.hits, self.runs) if self.runs else (float("nan"), float("nan"))

    @property
    def verdict(self) -> str:
        if self.kind == "size":
            return "holds" if self.interval[0] <= self.truth else "too often"
        if self.kind == "exact":
            low, high = self.interval
            return "holds" if low <= self.truth <= high else "too often" if self.rate > self.truth else "too seldom"
        if self.rate < 0.93:
            return "too short"
        return "too wide" if self.kind == "interior" and self.rate > 0.97 else "holds"

    def record(self) -> dict[str, Any]:
        low, high = self.interval
        derived = {"bias": self.bias, "rate": self.rate, "rate_low": low, "rate_high": high, "verdict": self.verdict}
        return dataclasses.asdict(self) | derived


def run(case: Case, runs: int, seed: int, truth_runs: int = TRUTH_RUNS, progress: bool = True) -> list[Row]:
    """Simulate a case. Every data set has a generator of its own, so any run can be repeated alone."""
    start = time.process_time()
    truth = np.array([q.truth for q in case.quantities])
    expected = np.isnan(truth)
    if expected.any():
        assert case.point is not None
        batch = [case.point(_generator(seed, 1, i)) for i in _bar(truth_runs, f"{case.key}, truth", progress)]
        truth = np.where(expected, np.nanmean(batch, axis=0), truth)
    draws = np.array([case.draw(_generator(seed, 0, i)) for i in _bar(runs, case.key, progress)], dtype=float)
    seconds = time.process_time() - start
    rows = []
    for j, quantity in enumerate(case.quantities):
        found = draws[:, j]
        test = quantity.kind in ("size", "exact")
        defined = ~np.isnan(found if test else found.sum(axis=1))
        found = found[defined]
        if test:
            hit, value, width = found <= case.level, found, np.array([np.nan])
        else:
            value, width = found[:, 0], found[:, 2] - found[:, 1]
            hit = (found[:, 1] <= truth[j]) & (truth[j] <= found[:, 2])
        rows.append(
            Row(
                metric=case.metric, case=case.name, quantity=quantity.name, kind=quantity.kind, groups=case.groups,
                truth=float(truth[j]),
                estimand="mean of the estimate" if expected[j] else "level" if test else "population",
                mean=float("nan") if test else float(value.mean()), sd=float("nan") if test else float(value.std()),
                runs=int(defined.sum()), hits=int(hit.sum()), undefined=int((~defined).sum()),
                width=float(width.mean()), seconds=round(seconds, 1), seed=seed,
            )
        )  # fmt: skip
    return rows


def _generator(seed: int, part: int, i: int) -> np.random.Generator:
    return np.random.default_rng([seed, part, i])


def _bar(n: int, words: str, progress: bool):
    return tqdm(range(n), desc=words, leave=False, disable=not progress, mininterval=1.0)
