"""A blind rating sheet: texts of several models, their names and order hidden, for people to rate."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.errors import InputError
from mechdecouple.report.rating.form import form
from mechdecouple.report.rating.questions import QUESTIONS, Question

KEY, FORMS = "key.json", "forms"
FORMAT = 1
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_log = logging.getLogger(__name__)

Table = Any
"""A pandas DataFrame, read by the names of its columns, which type checkers do not know."""


@dataclasses.dataclass(frozen=True)
class RatingSheet:
    """What was written.

    Attributes:
        forms: the folder to give to raters: for each a table ``rater-1.csv`` to fill in, and the same as a page
            ``rater-1.html``; any one of the two.
        key: which text is whose; to be kept from the raters until `read_ratings` opens it.
        n: texts to rate.
        telling: codes of texts in which the name of a model stands: they are not blind.
    """

    forms: Path
    key: Path
    n: int
    telling: tuple[str, ...]


def export_rating(
    texts: pd.DataFrame,
    out: str | Path,
    *,
    questions: Sequence[Question] = QUESTIONS,
    raters: int = 2,
    items: int | None = None,
    seed: int = 0,
    title: str = "Rating of texts",
) -> RatingSheet:
    """Write a sheet for each rater, and the key.

    Every rater sees the texts of all models on the same items, each in an order of their own, under codes drawn at
    random; neither files nor codes tell which model a text is of.

    Args:
        texts: one row an item and model: ``id``, ``model``, ``text`` (a trace, an explanation); and, where there are
            any, ``prompt`` and ``answer``, which are shown, and ``group``, the unit of resampling.
        out: folder, made where it is not there; one with a sheet in it is refused.
        raters: people who rate, each with a file of their own.
        items: most items, drawn at random among those that every model has a text of; all of them without.
        seed: of items, codes and orders. Raters should not know it.

    Raises:
        InputError: a column or text is missing, fewer than two models, an item twice, a folder in use.
    """
    table = _checked(texts)
    if raters < 1 or not questions or len({q.name.casefold() for q in questions}) < len(questions):
        raise InputError(f"{raters} raters and {len(questions)} questions: expected at least one of each, named apart")
    out = Path(out)
    if (out / KEY).exists():
        raise InputError(f"{str(out)!r} already holds a rating sheet: its key would be lost; choose another folder")
    rng = np.random.default_rng(seed)
    table = _drawn(table, items, rng)
    table["code"] = _codes(len(table), rng)
    (out / FORMS).mkdir(parents=True, exist_ok=True)
    for rater in range(1, raters + 1):
        shown = table.iloc[rng.permutation(len(table))]
        shown = shown[[c for c in ("code", "prompt", "text", "answer") if c in shown]].to_dict("records")
        _write_table(out / FORMS / f"rater-{rater}.csv", shown, questions)
        page = form(shown, questions, title=title, rater=f"rater-{rater}")
        (out / FORMS / f"rater-{rater}.html").write_text(page, encoding="utf-8")
    key = {
        "format": FORMAT,
        "questions": [dataclasses.asdict(question) for question in questions],
        # by code, so that the key of one sheet does not tell of another how items were drawn
        "texts": table.sort_values("code")[["code", "id", "model", "group"]].to_dict("records"),
    }
    (out / KEY).write_text(json.dumps(key, indent=1), encoding="utf-8")
    telling = _telling(table)
    if telling:
        _log.warning(
            "the name of a model stands in %d of %d texts (%s …): they are not blind",
            len(telling),
            len(table),
            telling[0],
        )
    return RatingSheet(out / FORMS, out / KEY, len(table), telling)


def _checked(texts: Table) -> Table:
    missing = [c for c in ("id", "model", "text") if c not in texts]
    if missing:
        raise InputError(f"the table of texts has no column {missing[0]!r}; expected id, model and text")
    kept = [c for c in ("id", "model", "text", "prompt", "answer", "group") if c in texts]
    table = texts[kept].reset_index(drop=True)
    for column in kept:
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if column != "answer" and empty.any():
            raise InputError(f"row {int(empty.idxmax()) + 1} of the table of texts has no {column}; fill or drop it")
        table[column] = table[column].where(~empty, "").astype(str)
    twice = table.duplicated(["id", "model"])
    if twice.any():
        row = table[twice].iloc[0]
        raise InputError(f"item {row.id!r} has two texts of model {row.model!r}; give one of each model an item")
    if table.model.nunique() < 2:
        raise InputError("there are texts of fewer than two models: a blind sheet is for telling models apart")
    table["group"] = table.get("group", table.id)
    return table


def _drawn(table: Table, items: int | None, rng: np.random.Generator) -> Table:
    counts = table.groupby("id").model.nunique()
    both = counts.index[counts == table.model.nunique()].to_numpy()
    if not len(both):
        raise InputError("no item has a text of every model; give the models' texts on the same items")
    if items is not None and items < 1:
        raise InputError(f"items is {items}: expected at least one")
    chosen = both if items is None or items >= len(both) else rng.choice(both, items, replace=False)
    return table[table.id.isin(chosen)].reset_index(drop=True)


def _codes(n: int, rng: np.random.Generator) -> list[str]:
    codes: dict[str, None] = {}
    while len(codes) < n:
        codes["".join(rng.choice(list(_ALPHABET), 5))] = None
    return list(codes)


def _write_table(path: Path, shown: Sequence[dict[str, str]], questions: Sequence[Question]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        asked = [question.name for question in questions]
        writer.writerow([*shown[0], *asked])
        # a text that begins like a formula would be run by a spreadsheet
        writer.writerows(
            [*(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row.values()), *[""] * len(asked)]
            for row in shown
        )


def _telling(table: Table) -> tuple[str, ...]:
    names = "|".join(re.escape(name) for name in table.model.unique())
    pattern = re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE)
    shown = table[[c for c in ("prompt", "text", "answer") if c in table]]
    return tuple(code for code, row in zip(table.code, shown.itertuples(index=False), strict=True)
                 if any(pattern.search(cell) for cell in row))  # fmt: skip
