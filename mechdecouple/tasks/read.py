"""Files and data sets into a raw table: a DataFrame whose cells are still as the user wrote them."""

from __future__ import annotations

import csv
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from mechdecouple.errors import TaskError
from mechdecouple.tasks.refuse import show

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
ARRAYS = (".npy", ".npz", ".safetensors")


def read_table(path: Path) -> pd.DataFrame:
    """A CSV, TSV, JSONL, JSON or Parquet file as a table of raw cells.

    Text cells of a CSV stay text (``NA`` is a word, not a missing value); nullable integers of Parquet stay integers.

    Raises:
        TaskError: no such file, unknown ending, not readable as what its ending says, repeated column, ragged row.
    """
    ending = path.suffix.lower()
    if ending not in TABLES:
        raise TaskError(
            f"{path}: a task file ends in one of {', '.join(TABLES)}, not {ending!r}; convert it to one of these"
        )
    if not path.is_file():
        raise TaskError(f"{path}: no such file; give the path of a task table ({', '.join(TABLES)})")
    try:
        if ending in (".csv", ".tsv"):
            return _read_csv(path, "\t" if ending == ".tsv" else ",")
        if ending == ".parquet":
            return _read_parquet(path)
        if ending == ".json":
            return _records(path, _json_list(path))
        return _records(path, _json_lines(path))
    except UnicodeDecodeError as e:
        raise TaskError(f"{path}: not UTF-8 text (byte {e.start}: {e.reason}); save it as UTF-8") from None
    except OSError as e:
        raise TaskError(f"{path}: cannot be read ({e.strerror or e}); check the file and its permissions") from None


def _read_csv(path: Path, separator: str) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next((row for row in csv.reader(stream, delimiter=separator) if row), [])
    if not header:
        raise TaskError(
            f"{path}: the file is empty; the first line must name the columns, e.g. id,prompt,answer,choices"
        )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise TaskError(f"{path}: column {show(twice)} is there twice; rename or drop one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", pd.errors.ParserWarning
            )  # rows longer than the header are otherwise cut in silence
            return pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                na_values=[],
                index_col=False,
                encoding="utf-8-sig",
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as e:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(e))
        if found:
            want, line, saw = map(int, found.groups())
            place = f"row {line - 1}: {saw} fields where the header has {want}"
        elif "Length of header" in str(e):
            place = "the rows have more fields than the header"
        else:
            place = " ".join(str(e).split())
        raise TaskError(f"{path}: {place}; put text that holds a separator or a line break in double quotes") from None


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    try:
        return _from_arrow(pyarrow.parquet.read_table(path))
    except pyarrow.ArrowInvalid as e:
        raise TaskError(f"{path}: not a Parquet file ({show(str(e), 80)}); write it again") from None


def _from_arrow(table) -> pd.DataFrame:
    return table.to_pandas(integer_object_nulls=True, ignore_metadata=True)


def _json_lines(path: Path) -> list:
    rows = []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as e:
                    message = f"line {number + 1} is not JSON ({e.msg} at column {e.colno}); write one object a line"
                    raise TaskError(f"{path}: {message}") from None
    return rows


def _json_list(path: Path) -> list:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as e:
        raise TaskError(
            f"{path}: not JSON ({e.msg} at line {e.lineno}); for one object a line name it .jsonl"
        ) from None
    if not isinstance(value, list):
        raise TaskError(
            f"{path}: the file must hold a list of objects, not {type(value).__name__}; wrap the rows in [ ]"
        )
    return value


def _records(path: Path, rows: list) -> pd.DataFrame:
    columns: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise TaskError(f'{path}, row {number + 1}: must be an object of columns, not {kind}; write {{"id": …}}')
        columns.update(dict.fromkeys(row))
    # object cells: pandas must not turn 1 and null into 1.0 and NaN
    return pd.DataFrame({c: pd.Series([r.get(c) for r in rows], dtype=object) for c in columns})


def read_dataset(dataset) -> pd.DataFrame:
    """A ``datasets.Dataset`` as a table of raw cells (its selected rows, in its order).

    Raises:
        TaskError: a dictionary of splits, or an iterable data set without a length.
    """
    if hasattr(dataset, "keys"):
        raise TaskError(
            f"a DatasetDict holds several splits ({', '.join(dataset.keys())}); give one, e.g. dataset['test']"
        )
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "__len__"):
        raise TaskError(f"expected a datasets.Dataset, got {type(dataset).__name__}; load it without streaming")
    return _from_arrow(dataset.with_format("arrow")[:])


def read_array(source: str | Path | np.ndarray) -> np.ndarray:
    """Tensor inputs [n, ...] from memory, ``.npy`` (no pickle), ``.npz`` or ``.safetensors``.

    A file of several arrays must call the one meant ``inputs``.

    Raises:
        TaskError: no such file, unknown ending, not numbers, several arrays and none called ``inputs``.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix.lower() not in ARRAYS:
            raise TaskError(f"inputs {path}: an array file ends in one of {', '.join(ARRAYS)}; save it with numpy.save")
        if not path.is_file():
            raise TaskError(f"inputs {path}: no such file; give the path of an array ({', '.join(ARRAYS)})")
        try:
            array = _load_array(path)
        except TaskError:
            raise
        except Exception as e:  # three libraries, a dozen kinds of error for a damaged file
            raise TaskError(
                f"inputs {path}: cannot be read as an array of numbers ({show(str(e), 80)}); save it again"
            ) from None
        name = str(path)
    else:
        array, name = np.asarray(source), "array"
    if array.dtype.kind not in "fiub":
        raise TaskError(f"inputs {name}: must be numbers, got dtype {array.dtype}; save it as float32")
    if array.ndim < 2:
        raise TaskError(f"inputs {name}: must be [items, ...], got shape {array.shape}; add an axis")
    return array


def _load_array(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[_only(path, list(arrays.files))]
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as arrays:
        return arrays.get_tensor(_only(path, list(arrays.keys())))


def _only(path: Path, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    if "inputs" in names:
        return "inputs"
    raise TaskError(f"inputs {path}: holds {len(names)} arrays ({', '.join(names[:5])}); name the one meant 'inputs'")
