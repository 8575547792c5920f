"""Results of a job as a data set: one tidy table in Parquet files, a folder a job and stage, a file a unit.

```
DIR/results/job=NAME/stage=compare/<key>.parquet    every measurement and verdict of one comparison
DIR/results/job=NAME/stage=sae/<key>.parquet        how good the dictionaries of one model are
```
All files have the columns of ``SCHEMA``; ``job`` and ``stage`` stand in the names of the folders, where pandas, polars
and DuckDB read them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mechdecouple.activations.store import make_folder, one_line
from mechdecouple.compare.trends.steps import split_step
from mechdecouple.errors import StoreError
from mechdecouple.jobs.locks import alone
from mechdecouple.jobs.plan import JobPlan
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.results import COLUMNS

RESULTS = "results"
VERDICT = "verdict"
"""The metric of rows that hold what a comparison concludes."""
FORMAT = 1
_ABOUT = b"mechdecouple"
_NUMBERS = ("value", "low", "high", "null", "p")

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("pair", pa.int64()),
        pa.field("task", pa.string(), nullable=False),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("ref_b", pa.string(), nullable=False),
        pa.field("step", pa.int64()),
        pa.field("step_b", pa.int64()),
        *(
            pa.field(name, pa.float64())
            if name in _NUMBERS
            else pa.field(name, pa.int64() if name == "n" else pa.string(), nullable=False)
            for name in COLUMNS
        ),
    ]
)
"""Columns of every file: the unit's key; the number of its pair in the job; references of task and models, and their
steps where they name one; then those of ``mechdecouple.results.COLUMNS``. Undefined numbers are null."""


def write_results(plan: JobPlan, store: UnitStore, folder: str | Path) -> Path:
    """Write the rows of every finished unit of a plan into ``folder/results``; returns that folder.

    What is there and current is left as it is; rows of units that are no longer part of the job are removed. Several
    processes may do this at once.

    Raises:
        StoreError: rows of a unit cannot be read, or not be written; one line names the file.
    """
    target = Path(folder) / RESULTS
    pairs = pair_numbers(plan)
    by_key = {unit.key: unit for unit in plan.units}
    for stage in ("compare", "sae"):
        units = [unit for unit in plan.units if unit.stage == stage]
        place = target / f"job={plan.name}" / f"stage={stage}"
        if not units and not place.is_dir():
            continue
        make_folder(place)
        with alone(place / ".lock"):
            for unit in units:
                if store.done(unit):
                    where = unit.where or by_key[unit.needs[0]].where
                    _write(unit, where, pairs.get(unit.key), store.place(unit), place)
            _tidy(place, {unit.key for unit in units})
    return target


def pair_numbers(plan: JobPlan) -> dict[str, int]:
    """Key of each comparison -> number of its pair, in the order of the job; the same on every task."""
    numbers: dict[tuple[str, str], int] = {}
    out = {}
    for unit in plan.units:
        if unit.stage == "compare":
            out[unit.key] = numbers.setdefault((unit.where["a"], unit.where["b"]), len(numbers))
    return out


def _write(unit: Unit, where: Mapping[str, str], pair: int | None, made: Path, place: Path) -> None:
    path = place / f"{unit.key}.parquet"
    about = {"format": FORMAT, "where": dict(where), "pair": pair, "files": _sums(made)}
    told = json.dumps(about, sort_keys=True).encode()
    if path.exists() and _told(path) == told:
        return
    rows = _of_comparison(made, where) if unit.stage == "compare" else _of_dictionaries(made, where)
    rows = rows.assign(key=unit.key, pair=pair, task=where["task"])
    table = _typed(rows).replace_schema_metadata({_ABOUT: told})
    part = place / f".{unit.key}.part"
    with one_line("writing", path):
        pq.write_table(table, part, compression="zstd")
        os.replace(part, path)


def _of_comparison(made: Path, where: Mapping[str, str]) -> pd.DataFrame:
    record = _json(made / "comparison.json")
    try:
        names = record["a"], record["b"]
        rows = pd.concat([_table(made / "metrics.parquet"), _verdicts(record)], ignore_index=True)
    except (KeyError, TypeError) as error:
        raise _unreadable(made / "comparison.json", f"no {error}") from None
    return _placed(rows, dict(zip(names, (where["a"], where["b"]), strict=True)))


def _of_dictionaries(made: Path, where: Mapping[str, str]) -> pd.DataFrame:
    rows = _table(made / "evaluation.parquet")
    if {"sae", "architecture"} <= set(rows.columns):
        rows["context"] = rows.architecture + " " + rows.sae
    return _placed(rows, dict.fromkeys(rows.model, where["model"]))


def _placed(rows: pd.DataFrame, refs: Mapping[str, str]) -> pd.DataFrame:
    """Rows with the references of their models, and the steps that these name."""
    steps = {ref: split_step(ref)[1] for ref in refs.values()}
    out = rows.copy()
    for model, ref, step in (("model", "ref", "step"), ("model_b", "ref_b", "step_b")):
        out[ref] = [refs.get(name, "") for name in rows[model]]
        out[step] = pd.array([steps.get(name) for name in out[ref]], dtype="Int64")
    return out


def _verdicts(record: Mapping[str, Any]) -> pd.DataFrame:
    """The gate and the verdicts as rows of the metric ``verdict``: ``concept`` is what it is on, ``reason`` its words.

    ``value`` is 1 where a difference (or one model's gap) is claimed, 0 where none is, and null where the data cannot
    tell; ``context`` is the gate's outcome, or ``same`` where two mechanisms are said to be the same.
    """
    a, b, gate = record["a"], record["b"], record["gate"]
    known = {"different": 1.0, "equal": 0.0}
    rows = [_verdict("gate", known.get(gate["outcome"]), gate["sentence"], a, b, context=gate["outcome"])]
    for v in record["verdicts"]:
        models = {"a": (a, ""), "b": (b, "")}.get(v["subject"], (a, b))
        same = "same" if v["family"] in ("route", "variables") and v["flagged"] is False else ""
        flagged = None if v["flagged"] is None else float(v["flagged"])
        rows.append(_verdict(v["family"], flagged, v["sentence"], *models, context=same))
    return pd.DataFrame(rows)


def _verdict(family: str, value: float | None, sentence: str, model: str, model_b: str, context: str) -> dict:
    blank: dict[str, Any] = dict.fromkeys(COLUMNS, "") | dict.fromkeys(_NUMBERS, math.nan) | {"n": 0}
    facts = {"metric": VERDICT, "family": VERDICT, "concept": family, "context": context, "reason": sentence}
    return blank | facts | {"model": model, "model_b": model_b, "value": math.nan if value is None else value}


def _typed(rows: pd.DataFrame) -> pa.Table:
    """The schema whatever is in the rows: a column without a value would have no type, or another one."""
    columns = []
    for field in SCHEMA:
        column = rows[field.name]
        if pa.types.is_string(field.type):
            column = column.fillna("")
        columns.append(pa.array(column, type=field.type, from_pandas=True))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _table(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from None
    missing = next((name for name in COLUMNS if name not in rows.columns), None)
    if missing is not None:
        raise _unreadable(path, f"no column {missing!r}")
    return rows


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from None


def _sums(made: Path) -> dict[str, str]:
    """Checksums of the files of a finished unit that rows are made from."""
    files = _json(made / "unit.json").get("files", {})
    names = ("comparison.json", "metrics.parquet", "evaluation.parquet")
    return {name: files[name]["sha256"] for name in names if name in files}


def _told(path: Path) -> bytes | None:
    """What a file of rows says of where they are from; None where it cannot be read."""
    try:
        schema = pq.read_schema(path)
    except (OSError, ValueError):
        return None
    return (schema.metadata or {}).get(_ABOUT) if schema.equals(SCHEMA) else None


def _tidy(place: Path, wanted: set[str]) -> None:
    with one_line("removing", place):
        for path in place.iterdir():
            if path.suffix == ".part" or (path.suffix == ".parquet" and path.stem not in wanted):
                path.unlink()


def _unreadable(path: Path, why: str) -> StoreError:
    return StoreError(f"{str(path)!r} cannot be read ({' '.join(why.split())}): run the job again to make it anew")
