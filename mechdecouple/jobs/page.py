"""write_page: the page of a job's folder, made from its results and its store."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow.dataset as ds

from mechdecouple.activations.store import make_folder
from mechdecouple.compare.trends import Trends, trends
from mechdecouple.jobs.locks import write_alone
from mechdecouple.jobs.plan import JobPlan
from mechdecouple.jobs.result_set import ResultSet, open_results
from mechdecouple.jobs.results import RESULTS, VERDICT
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.report.page_job import Failed, Job, Pair, Said, render_job

PAGE = "index.html"
_REPORT = "report.html"
_FEWEST = 3
"""Checkpoints of a run from which it is drawn."""


def write_page(plan: JobPlan, store: UnitStore, folder: str | Path) -> Path:
    """Write ``folder/index.html`` from what is done so far; returns it. Call ``write_results`` first.

    The same bytes for the same results. A page that is there is replaced whole. Trends take margin and seed of the
    job's comparisons.

    Raises:
        StoreError: the page cannot be written, or a file of results is damaged.
    """
    folder = Path(folder)
    done = [unit for unit in plan.units if store.done(unit)]
    waiting = [unit for unit in plan.units if not store.done(unit)]
    failed = [Failed(u.stage, u.label, reason) for u in waiting if (reason := store.failure(u))]
    names = _names((*plan.models, *plan.tasks))
    tasks = tuple(names[ref] for ref in plan.tasks)
    job = Job(plan.name, len(plan.models), tasks, len(plan.units), len(done), tuple(failed))
    results = _results(folder / RESULTS / f"job={plan.name}")
    verdicts = {} if results is None else _verdicts(results)
    pairs = [_pair(unit, store, folder, names, verdicts.get(unit.key, ())) for unit in done if unit.stage == "compare"]
    found = None if results is None else _trends(results, plan)
    make_folder(folder)
    write_alone(folder / PAGE, render_job(job, pairs, found).encode())
    return folder / PAGE


def _results(place: Path) -> ResultSet | None:
    return open_results(place) if next(place.glob("stage=*/*.parquet"), None) is not None else None


def _verdicts(results: ResultSet) -> Mapping[str, tuple[Said, ...]]:
    """Key of a comparison -> its verdicts."""
    columns = ["key", "model", "model_b", "concept", "context", "value", "reason"]
    rows: Any = results.frame(columns, ds.field("metric") == VERDICT)
    out: dict[str, tuple[Said, ...]] = {}
    for row in rows.itertuples():
        flagged = None if pd.isna(row.value) else bool(row.value)
        alone = "" if row.model_b else row.model
        out[row.key] = (*out.get(row.key, ()), Said(row.concept, flagged, row.reason, alone, row.context))
    return out


def _pair(
    unit: Unit, store: UnitStore, folder: Path, names: Mapping[str, str], said: tuple[Said, ...]
) -> Pair:  # fmt: skip
    report = store.place(unit) / _REPORT
    link = quote(os.path.relpath(report, folder)) if report.is_file() else ""
    a, b, task = (names.get(unit.where[part], unit.where[part]) for part in ("a", "b", "task"))
    return Pair(a, b, task, said, link)


def _names(refs: Sequence[str]) -> dict[str, str]:
    """The last part of each reference; the whole of those that share it with another."""
    short = {ref: Path(ref).name or ref for ref in refs}
    often = Counter(short.values())
    return {ref: name if often[name] == 1 else ref for ref, name in short.items()}


def _trends(results: ResultSet, plan: JobPlan) -> Trends | None:
    """None where no run has enough checkpoints to look at."""
    options = next((unit.spec.get("options", {}) for unit in plan.units if unit.stage == "compare"), {})
    found = trends(results, **{name: options[name] for name in ("margin", "seed") if name in options})
    return found if any(len(trend.series.refs) >= _FEWEST for trend in found.all) else None
