"""A raw table into the canonical one: every cell checked, converted, or refused by row and column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.tasks import cells
from mechdecouple.tasks.refuse import Where, near, show
from mechdecouple.tasks.template import apply

PERFORMANCES = ("choice", "generation", "loss", "class", "score")
_PLAIN = ("id", "prompt", "tokens", "answer", "choices", "truth", "group", "context", "condition", "split", "asks")
_SCORES = ("score_a", "score_b")
_PREFIXES = ("concept_", "position_")


def rename(table: pd.DataFrame, columns: Mapping[str, str] | None, name: str) -> pd.DataFrame:
    """The table with ``columns`` (canonical name -> the table's own name) under their canonical names.

    Raises:
        TaskError: a name that is no canonical column, or a column the table does not have.
    """
    where = Where(name, table)
    table = table.reset_index(drop=True)
    table.columns = [str(c) for c in table.columns]
    if table.columns.duplicated().any():
        twice = table.columns[table.columns.duplicated()][0]
        raise where.table_error(f"column {twice!r} is there twice; rename or drop one")
    renamed = {}
    for ours, theirs in (columns or {}).items():
        if ours not in _PLAIN + _SCORES and not ours.startswith(_PREFIXES):
            known = ", ".join(_PLAIN + _SCORES)
            raise where.table_error(
                f"columns: {ours!r} is no task column{near(ours, _PLAIN)}; they are {known}, concept_*, position_*"
            )
        if theirs not in table.columns:
            have = ", ".join(table.columns)
            raise where.table_error(
                f"columns: no column {theirs!r} to be {ours}{near(theirs, table.columns)}; the table has {have}"
            )
        renamed[ours] = table[theirs]
    return table.assign(**renamed)


def check(
    table: pd.DataFrame,
    *,
    name: str,
    performance: str | None,
    honest: str | None,
    affirm: str | None,
    inputs: np.ndarray | None,
    template: str | None,
    system: str | None,
) -> tuple[pd.DataFrame, str, str | None, str | None]:
    """The canonical frame, the performance kind, the honest level and the affirming choice of a raw table.

    Raises:
        TaskError: one line naming row and column (see the module's tests for the kinds).
    """
    where = Where(name, table)
    if len(table) == 0:
        raise where.table_error("has no rows; give at least one item")
    has = set(table.columns)
    _check_sources(where, has, inputs, template)
    performance = _performance(where, has, inputs, performance)

    out: dict[str, object] = {"id": _ids(where)}
    if "prompt" in has or template is not None:
        prompts = apply(template, system, where)
        out["prompt"] = cells.prompts(where, prompts)
    elif system is not None:
        raise where.table_error("system text needs prompts; drop it or give a prompt column")
    if "tokens" in has:
        out["tokens"] = cells.token_lists(where, "tokens")
    out |= _expected(where, has, performance, inputs)
    if "truth" in has:
        out["truth"] = cells.truths(where)
    for column in ("group", "context", "condition", "split"):
        if column in has:
            out[column] = cells.labels(where, column)
    if performance == "score":
        for column in _SCORES:
            out[column] = cells.numbers(where, column)
    for column in table.columns:
        if column in _PREFIXES:
            raise where.table_error(f"column {column!r} has no name after the underscore; call it e.g. {column}topic")
        if column.startswith("concept_"):
            out[column] = cells.concept(where, column)
        elif column.startswith("position_"):
            out[column] = cells.positions(where, column, out)
    if "asks" in has:
        out["asks"] = _asks(where, out)

    frame = pd.DataFrame({c: pd.Series(v, dtype=_dtype(v)) for c, v in out.items()})
    honest = _honest(where, frame, honest)
    return frame, performance, honest, _affirm(where, frame, honest, affirm)


def _dtype(values: object) -> Any:
    if isinstance(values, np.ndarray):
        return values.dtype
    return object


def _check_sources(where: Where, has: set[str], inputs: np.ndarray | None, template: str | None) -> None:
    sources = [
        s
        for s, there in (
            ("prompt", "prompt" in has or template),
            ("tokens", "tokens" in has),
            ("inputs", inputs is not None),
        )
        if there
    ]
    if len(sources) > 1:
        raise where.table_error(
            f"has both {sources[0]} and {sources[1]}; keep one of prompt, tokens or an array of inputs"
        )
    if not sources and not has.issuperset(_SCORES):
        guess = next((near(c, ("prompt", "tokens")) for c in has if near(c, ("prompt", "tokens"))), "")
        have = ", ".join(map(str, where.table.columns))
        raise where.table_error(
            f"column prompt is missing{guess}; the table has {have}: rename with columns={{'prompt': …}}"
        )
    if inputs is None:
        return
    if len(inputs) != len(where.table):
        raise where.table_error(
            f"inputs hold {len(inputs)} rows but the table has {len(where.table)}; both must list the same items"
        )
    if inputs.dtype.kind == "f":
        bad = ~np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
        if bad.any():
            where.cell(int(bad.argmax()), "inputs", "holds NaN or infinity; replace these values or drop the row")


def _performance(where: Where, has: set[str], inputs: np.ndarray | None, declared: str | None) -> str:
    needs = {
        "choice": ("choices", "answer"),
        "generation": ("answer",),
        "loss": (),
        "class": ("answer",),
        "score": _SCORES,
    }
    if declared is None:
        if "choices" in has:
            declared = "choice"
        elif has.issuperset(_SCORES):
            declared = "score"
        elif inputs is not None:
            declared = "class"
        else:
            declared = "generation" if "answer" in has else "loss"
    if declared not in needs:
        raise where.table_error(
            f"performance {show(declared)} is unknown{near(str(declared), needs)}; it is one of {', '.join(needs)}"
        )
    for column in needs[declared]:
        if column not in has:
            have = ", ".join(map(str, where.table.columns))
            raise where.table_error(
                f"column {column} is missing; performance {declared!r} needs it; the table has {have}"
            )
    if inputs is not None and declared in ("choice", "generation", "loss"):
        raise where.table_error(
            f"performance {declared!r} needs prompts or tokens, not an array of inputs; use 'class'"
        )
    return declared


def _ids(where: Where) -> list[str]:
    if "id" not in where.table.columns:
        return [str(i + 1) for i in range(len(where.table))]
    ids = cells.labels(where, "id")
    first: dict[str, int] = {}
    for row, value in enumerate(ids):
        if value in first:
            where.cell(row, "id", f"repeats the id of row {first[value] + 1}; ids must be unique")
        first[value] = row
    return ids


def _expected(where: Where, has: set[str], performance: str, inputs: np.ndarray | None) -> dict[str, object]:
    """The answer and choices columns, whichever are there."""
    as_tokens = "tokens" in has
    if performance == "class":
        return {"answer": cells.classes(where)}
    if "choices" in has:
        choices = cells.choices(where, as_tokens)
        if "answer" not in has:
            return {"choices": choices}
        return {"choices": choices, "answer": cells.answers_among(where, choices, as_tokens)}
    if "answer" in has:
        return {"answer": cells.answers(where, as_tokens)}
    return {}


def _asks(where: Where, out: Mapping[str, object]) -> list[str]:
    """The concept each item's answer is about; every one must be a concept of the table."""
    known = [c.removeprefix("concept_") for c in out if c.startswith("concept_")]
    asked = cells.labels(where, "asks")
    for row, name in enumerate(asked):
        if name not in known:
            there = f"concepts are {', '.join(known)}" if known else "the table has no concept_* columns"
            where.cell(row, "asks", f"names no concept{near(name, known)}; {there}")
    return asked


def _honest(where: Where, frame: pd.DataFrame, honest: str | None) -> str | None:
    if "condition" not in frame:
        if honest is not None:
            raise where.table_error(
                f"honest level {honest!r} is declared but there is no condition column; add it or drop honest"
            )
        return None
    levels = sorted(set(frame["condition"]))
    listed = ", ".join(map(repr, levels[:10]))
    if honest is None:
        if len(levels) > 1:
            raise where.table_error(
                f"column condition has levels {listed}; declare which is honest, e.g. honest={levels[0]!r}"
            )
        return levels[0]
    if str(honest) not in levels:
        raise where.table_error(
            f"honest level {honest!r} is not in column condition{near(str(honest), levels)}; its levels are {listed}"
        )
    return str(honest)


def _affirm(where: Where, frame: pd.DataFrame, honest: str | None, affirm: str | None) -> str | None:
    """The declared affirming choice, or the one answer that all true honest items share and no false one has."""
    if affirm is not None:
        if "choices" not in frame:
            raise where.table_error(
                f"affirm {affirm!r} is declared but there is no choices column; add it or drop affirm"
            )
        offered = {c for row in frame["choices"] for c in row}
        if affirm not in offered:
            listed = ", ".join(map(repr, sorted(offered)[:10]))
            raise where.table_error(
                f"affirm {affirm!r} is no item's choice{near(affirm, offered)}; choices are {listed}"
            )
        return affirm
    if not {"choices", "answer", "truth"} <= set(frame.columns):
        return None
    rows = frame if honest is None else frame[frame["condition"] == honest]
    true, false = (set(rows["answer"][rows["truth"] == t]) for t in (1.0, 0.0))
    return next(iter(true)) if len(true) == 1 and not true & false else None
