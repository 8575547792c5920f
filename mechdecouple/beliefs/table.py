"""ScoreTable: what is represented and expressed of each statement as a table, checked cell by cell."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.tasks.read import read_table
from mechdecouple.tasks.refuse import Where, is_missing, near, plain, show

REQUIRED = ("id", "group", "truth", "represented")
OPTIONAL = ("expressed", "claim", "stratum", "model", "question")
_NUMBERS = ("represented", "expressed", "claim")
_BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one model, or of two on the same statements.

    Attributes:
        name: of the table, for messages and titles.
        frame: a row a statement and model with all of ``REQUIRED`` and ``OPTIONAL``, rows of the models in the same
            order of ids. Empty cells of truth, represented, expressed, claim are NaN; without a stratum or a model
            column theirs is ``""``; without a question column the question is the group.
        models: names in order of appearance; strata: levels in order of appearance, empty without the column.
        fingerprint: SHA-256 of the content.
    """

    name: str
    frame: pd.DataFrame
    models: tuple[str, ...]
    strata: tuple[str, ...]
    fingerprint: str

    @classmethod
    def read(cls, source: str | Path | pd.DataFrame, name: str = "scores") -> ScoreTable:
        """A CSV, TSV, JSONL, JSON or Parquet file, or a DataFrame.

        Columns: ``id``, ``group`` (the independent unit), ``truth`` (0, 1, or empty where unknown), ``represented``
        (belief b in [0, 1], out of fold), and ``expressed`` (probability p in [0, 1]) or ``claim`` (0 or 1) or both;
        ``stratum`` (condition, polarity, topic …), ``model`` (one or two), ``question`` (what several rows are answers
        to) where there are any. Other columns are not read.

        Raises:
            InputError: the file cannot be read, a column is missing or misspelt, a value is outside its range, an id
                comes twice, more than two models; MismatchError: the models' rows are not of the same statements.
        """
        if isinstance(source, pd.DataFrame):
            raw = source.reset_index(drop=True)
        else:
            raw, name = read_table(Path(source)), Path(source).name
        where = Where(name, raw)
        _check_columns(where)
        frame = pd.DataFrame({column: _column(where, column) for column in (*REQUIRED, *OPTIONAL)})
        if frame.represented.isna().all():
            raise where.table_error("column represented is empty; give the belief of each statement in [0, 1]")
        models = tuple(dict.fromkeys(frame.model))
        strata = tuple(dict.fromkeys(frame.stratum)) if "stratum" in raw.columns else ()
        _check_ids(where, frame)
        if len(models) > 2:
            raise where.table_error(f"holds {len(models)} models ({', '.join(models[:4])} …); keep one or two")
        if len(models) == 2:
            frame = _aligned(where, frame, models)
        digest = hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
        return cls(name, frame, models, strata, digest)

    def of(self, model: str) -> pd.DataFrame:
        """The rows of one model."""
        return self.frame.loc[self.frame.model == model].reset_index(drop=True)

    def given(self) -> pd.DataFrame:
        """The table without the columns that it was read without: what :meth:`read` takes back."""
        left_out = [] if self.strata else ["stratum"]
        left_out += [] if any(self.models) else ["model"]
        left_out += [name for name in ("expressed", "claim") if np.isnan(np.asarray(self.frame[name])).all()]
        left_out += ["question"] if list(self.frame.question) == list(self.frame.group) else []
        return self.frame.drop(columns=left_out)

    def __len__(self) -> int:
        """Statements: rows of one model."""
        return len(self.frame) // len(self.models)


def _check_columns(where: Where) -> None:
    columns = [str(column) for column in where.table.columns]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise where.table_error(f"column {show(twice)} is there twice; rename or drop one")
    known = (*REQUIRED, *OPTIONAL)
    others = [column for column in columns if column not in known]
    for column in REQUIRED:
        if column not in columns:
            raise where.table_error(
                f"has no column {column!r}{near(column, others)}; expected {', '.join(REQUIRED)} and expressed or claim"
            )
    if not {"expressed", "claim"} & set(columns):
        raise where.table_error(
            f"has neither a column 'expressed'{near('expressed', others)} nor 'claim'; give the probability or the "
            "claim that each statement is answered with"
        )
    for column in others:
        likely = next((k for k in known if k not in columns and column.lower().rstrip("s") == k.rstrip("s")), None)
        if likely:
            raise where.table_error(f"column {column!r} would not be read; did you mean {likely!r}?")
    if not len(where.table):
        raise where.table_error("has no rows; give at least one statement")


def _column(where: Where, column: str) -> list[Any]:
    n = len(where.table)
    if column not in where.table.columns:
        if column == "question":
            return _column(where, "group")
        return [math.nan] * n if column in _NUMBERS else [""] * n
    convert = {"truth": _binary, "claim": _binary, "represented": _probability, "expressed": _probability}
    read: Callable[[Where, int, str, Any], Any] = convert.get(column, _text)
    return [read(where, row, column, plain(value)) for row, value in enumerate(where.table[column].tolist())]


def _text(where: Where, row: int, column: str, value: Any) -> str:
    if is_missing(value):
        where.cell(row, column, "is empty; fill it or drop the row")
    return str(value).strip()


def _binary(where: Where, row: int, column: str, value: Any) -> float:
    if is_missing(value):
        return math.nan
    key = str(value).strip().lower()
    if key not in _BINARY:
        where.cell(row, column, f"must be 0, 1 or empty, got {show(value)}; code true as 1, false as 0")
    return _BINARY[key]


def _probability(where: Where, row: int, column: str, value: Any) -> float:
    if is_missing(value):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        where.cell(
            row, column, f"must be a probability in [0, 1], got {show(value)}; calibrate scores, or leave it empty"
        )
    return number


def _check_ids(where: Where, frame: pd.DataFrame) -> None:
    twice = frame.duplicated(["model", "id"])
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        of = f" of model {show(frame.model[row])}" if frame.model[row] else ""
        where.cell(row, "id", f"{show(frame.id[row])}{of} comes twice; give each row an id of its own")
    spread = frame.groupby("question", sort=False).group.nunique()
    if (spread > 1).any():
        raise where.table_error(f"question {show(spread.idxmax())} is in {spread.max()} groups; give it one group")


def _aligned(where: Where, frame: pd.DataFrame, models: tuple[str, ...]) -> pd.DataFrame:
    """Rows of the second model in the order of the first."""
    a, b = (frame.loc[frame.model == model] for model in models)
    for mine, theirs, name, other in ((a, b, *models), (b, a, *models[::-1])):
        missing = mine.id[~mine.id.isin(theirs.id)]
        if len(missing):
            raise MismatchError(
                f"{where.task}: id {show(missing.iloc[0])} is there for model {show(name)} and not for {show(other)}; "
                "two models are compared on identical statements"
            )
    b = b.set_index("id").loc[a.id.tolist()].reset_index()
    for column in ("group", "truth", "stratum", "question"):
        mine, theirs = np.asarray(a[column]), np.asarray(b[column])
        differ = np.flatnonzero((mine != theirs) & ~(pd.isna(mine) & pd.isna(theirs)))
        if len(differ):
            at = differ[0]
            found, other = show(plain(mine[at])), show(plain(theirs[at]))
            raise MismatchError(
                f"{where.task}: {column} of id {show(a.id.iloc[at])} is {found} for model {show(models[0])} and "
                f"{other} for {show(models[1])}; it must be the same"
            )
    return pd.concat([a, b[list(frame.columns)]], ignore_index=True)


def refuse_level(table: ScoreTable, honest: str) -> None:
    """Refuse an honest level that is no stratum of the table.

    Raises:
        InputError: it is none.
    """
    if honest and honest not in table.strata:
        there = f"there are {', '.join(table.strata[:8])}" if table.strata else "the table has no column stratum"
        raise InputError(f"honest stratum {honest!r} is not in {table.name}{near(honest, table.strata)}; {there}")
