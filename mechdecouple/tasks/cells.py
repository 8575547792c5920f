"""Columns of raw cells into typed values; the first cell that will not do is refused by row and column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pandas as pd

from mechdecouple.tasks.refuse import Where, is_missing, plain, show

MAX_LEVELS = 50


def _raw(where: Where, column: str, mend: str = "fill it or drop the row") -> list:
    """The column's cells without NumPy or pandas scalars, none of them missing."""
    values = [plain(v) for v in where.table[column].tolist()]
    for row, value in enumerate(values):
        if is_missing(value):
            where.cell(row, column, f"is {'missing' if not isinstance(value, str) else 'empty'}; {mend}")
    return values


def _word(value: object) -> str | None:
    """A label as text: text as it is, whole numbers and booleans by their digits or name; None where it is neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None


def labels(where: Where, column: str) -> list[str]:
    """Names: id, group, context, condition, split."""
    out = []
    for row, value in enumerate(_raw(where, column)):
        word = _word(value)
        if word is None:
            where.cell(row, column, f"must be text or a whole number, got {show(value)}; write a name")
        out.append(word)
    return out


def prompts(where: Where, values: pd.Series) -> list[str]:
    out = values.tolist()
    for row, value in enumerate(out):
        if is_missing(value):
            where.cell(row, "prompt", "is empty; write the text the model reads, or drop the row")
        if not isinstance(value, str):
            where.cell(
                row, "prompt", f"must be text, got {show(plain(value))}; quote it, or use a tokens column for token ids"
            )
    return out


def token_ids(value: object) -> list[int] | None:
    """Token ids of a list, an array, one integer, or text of integers with white space between; None for all else."""
    if isinstance(value, str):
        parts = value.split()
        return [int(p) for p in parts] if all(p.isascii() and p.isdigit() for p in parts) else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return None
    good = all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in map(plain, value))
    return [int(v) for v in value] if good else None


def token_lists(where: Where, column: str) -> list[np.ndarray]:
    out = []
    for row, value in enumerate(_raw(where, column)):
        ids = token_ids(value)
        if ids is None:
            where.cell(row, column, f"must be whole numbers from 0, got {show(value)}; write e.g. 12 7 31")
        if not ids:
            where.cell(row, column, "is empty; give at least one token id or drop the row")
        out.append(np.array(ids, dtype=np.int64))
    return out


def _option(where: Where, row: int, column: str, value: object, as_tokens: bool) -> str:
    """One choice or answer as text; for token tasks its ids in digits, separated by single spaces."""
    if as_tokens:
        ids = token_ids(value)
        if not ids:
            where.cell(
                row, column, f"must be token ids, as the task gives tokens, got {show(value)}; write e.g. 17 or 17 4"
            )
        return " ".join(map(str, ids))
    word = _word(value)
    if word is None and isinstance(value, float):
        return repr(value)
    if word is None:
        where.cell(row, column, f"must be text, got {show(value)}; quote it")
    return word


def choices(where: Where, as_tokens: bool) -> list[tuple[str, ...]]:
    """Options of each row: a list, or text with ``|`` between them (white space around each is dropped then)."""
    seen: dict[str, tuple[str, ...]] = {}
    out = []
    for row, value in enumerate(_raw(where, "choices")):
        if isinstance(value, str) and value in seen:
            out.append(seen[value])
            continue
        if isinstance(value, str):
            options = [o.strip() for o in value.split("|")]
        elif isinstance(value, list | tuple | np.ndarray):
            options = [plain(o) for o in value]
        else:
            where.cell(row, "choices", f"must be a list, or text with | between the options, got {show(value)}")
        options = tuple(_checked_option(where, row, o, as_tokens) for o in options)
        if len(options) < 2:
            where.cell(row, "choices", f"needs at least 2 options, got {show(value)}; separate them by |")
        if len(set(options)) < len(options):
            twice = next(o for o in options if options.count(o) > 1)
            where.cell(row, "choices", f"offers {show(twice)} twice; make the options distinct")
        if isinstance(value, str):
            seen[value] = options
        out.append(options)
    return out


def _checked_option(where: Where, row: int, option: object, as_tokens: bool) -> str:
    if is_missing(option) or (isinstance(option, list | tuple) and not option):
        where.cell(row, "choices", "has an empty option; write text between the | or remove one")
    return _option(where, row, "choices", option, as_tokens)


def answers(where: Where, as_tokens: bool) -> list[str]:
    mend = "write the expected answer or drop the row"
    return [_option(where, row, "answer", v, as_tokens) for row, v in enumerate(_raw(where, "answer", mend))]


def answers_among(where: Where, offered: list[tuple[str, ...]], as_tokens: bool) -> list[str]:
    out = []
    for row, (answer, options) in enumerate(zip(answers(where, as_tokens), offered, strict=True)):
        if answer not in options:
            answer = answer.strip()
        if answer not in options:
            listed = ", ".join(show(o, 30) for o in options[:6]) + (", …" if len(options) > 6 else "")
            where.cell(row, "answer", f"{show(answer)} is not among the row's choices ({listed}); make it one of them")
        out.append(answer)
    return out


def classes(where: Where) -> np.ndarray:
    """Class indices [n] int64."""

    def index(value: object) -> int | None:
        if isinstance(value, str):
            return int(value) if value.strip().isascii() and value.strip().isdigit() else None
        if isinstance(value, bool):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return value if isinstance(value, int) and value >= 0 else None

    return np.array(
        _each(where, "answer", index, "must be a class index (0, 1, 2, …)", "number the classes"), dtype=np.int64
    )


def truths(where: Where) -> np.ndarray:
    """Truth [n] float: 0, 1, or NaN where the cell is empty."""
    known = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
    out = np.full(len(where.table), math.nan)
    for row, value in enumerate(where.table["truth"].tolist()):
        value = plain(value)
        if is_missing(value):
            continue
        key = str(value).strip().lower() if isinstance(value, str | bool | int | float) else ""
        if key not in known:
            where.cell(
                row, "truth", f"must be 0, 1 or empty, got {show(value)}; code true as 1, false as 0, unknown as empty"
            )
        out[row] = known[key]
    return out


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool | int | float):
        return float(value) if math.isfinite(value) else None
    return None


def numbers(where: Where, column: str) -> np.ndarray:
    return np.array(_each(where, column, _number, "must be a finite number", "write e.g. 0.5"), dtype=np.float64)


def _each(where: Where, column: str, convert: Callable[[object], object], expected: str, mend: str) -> list:
    out = []
    for row, value in enumerate(_raw(where, column)):
        converted = convert(value)
        if converted is None:
            where.cell(row, column, f"{expected}, got {show(value)}; {mend}")
        out.append(converted)
    return out


def concept(where: Where, column: str) -> np.ndarray | list[str]:
    """A concept's values: finite numbers, or the names of its levels.

    A column that is mostly numbers is read as numbers, so that a stray word in it is refused and not taken for a level.
    """
    values = _raw(where, column, "a concept needs a value in every row; fill it or drop the row")
    as_numbers = [_number(v) for v in values]
    if 2 * sum(v is not None for v in as_numbers) > len(values):
        return numbers(where, column)
    for row, (value, number) in enumerate(zip(values, as_numbers, strict=True)):
        if not isinstance(value, str):
            kind = "a number among names" if number is not None else "neither a number nor text"
            where.cell(row, column, f"{show(value)} is {kind}; use numbers or names throughout")
    levels = len(set(values))
    if levels > MAX_LEVELS:
        raise where.table_error(
            f"column {column} has {levels} levels, more than {MAX_LEVELS}; use numbers, or call it group or context"
        )
    return values


def positions(where: Where, column: str, checked: dict[str, object]) -> np.ndarray | list[str]:
    """Token positions of each row: indices from 0, or texts whose last occurrence in the prompt is meant."""
    values = _raw(where, column)

    def index(value: object) -> int | None:
        found = token_ids(value) if not isinstance(value, list | tuple | np.ndarray) else None
        return found[0] if found and len(found) == 1 else None

    if "prompt" in checked and 2 * sum(index(v) is not None for v in values) <= len(values):
        return _position_texts(where, column, values, checked["prompt"])  # type: ignore[arg-type]
    out = np.array(_each(where, column, index, "must be a token index from 0", "write a whole number"), dtype=np.int64)
    if "tokens" in checked:
        lengths = [len(t) for t in checked["tokens"]]  # type: ignore[attr-defined]
        for row, (position, length) in enumerate(zip(out, lengths, strict=True)):
            if position >= length:
                where.cell(row, column, f"{position} is beyond the row's {length} tokens; the last one is {length - 1}")
    return out


def _position_texts(where: Where, column: str, values: list, texts: list[str]) -> list[str]:
    def refuse(row: int, message: str) -> NoReturn:
        where.cell(row, column, message)

    for row, (value, prompt) in enumerate(zip(values, texts, strict=True)):
        if not isinstance(value, str):
            refuse(row, f"must be text from the prompt, or a token index in every row, got {show(value)}")
        if value not in prompt:
            refuse(row, f"{show(value)} does not occur in the prompt; copy the text exactly as it stands there")
    return values
