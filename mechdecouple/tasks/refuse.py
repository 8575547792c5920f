"""Refusals: one line naming task, row, id and column, what was expected and the mend."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import NoReturn

import pandas as pd

from mechdecouple.errors import TaskError


def show(value: object, limit: int = 60) -> str:
    """A value on one line: escaped and cut to ``limit`` characters."""
    if isinstance(value, str) and len(value) > 2 * limit:
        value = value[: 2 * limit]
    text = repr(value).replace("\n", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def near(name: str, known: Iterable[object]) -> str:
    """`` (did you mean 'x'?)`` for a misspelt name, else nothing."""
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


@dataclasses.dataclass(frozen=True)
class Where:
    """Names places in one raw table, so that every refusal reads alike."""

    task: str
    table: pd.DataFrame

    def table_error(self, message: str) -> TaskError:
        return TaskError(f"{self.task}: {message}")

    def cell(self, row: int, column: str, message: str) -> NoReturn:
        """Refuse the cell in 0-based ``row``; the message counts data rows from 1 and adds the id, if there is one."""
        raise TaskError(f"{self.task}, row {row + 1}{self._identity(row)}, column {column}: {message}")

    def _identity(self, row: int) -> str:
        if "id" not in self.table.columns:
            return ""
        value = self.table["id"].iloc[row]
        return "" if is_missing(value) else f" (id {show(plain(value), 40)})"


def plain(value: object) -> object:
    """NumPy scalars as Python's own, so that messages and strings do not depend on where a value came from."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


def is_missing(value: object) -> bool:
    """None, NaN, NaT, pd.NA, or text without any character but white space."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, float) and value != value
