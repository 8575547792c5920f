"""open_results: the rows that any number of jobs have written, as one table."""

from __future__ import annotations

import dataclasses
import glob
import html
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mechdecouple.errors import InputError, StoreError
from mechdecouple.jobs.results import RESULTS, SCHEMA, VERDICT

_PARTS = pa.schema([("job", pa.string()), ("stage", pa.string())])
COLUMNS = ("job", "stage", *SCHEMA.names)


@dataclasses.dataclass(frozen=True)
class ResultSet:
    """Rows of one or more jobs, read where they lie.

    Attributes:
        files: the Parquet files, in order.
    """

    files: tuple[Path, ...]

    @cached_property
    def dataset(self) -> ds.Dataset:
        """As a pyarrow dataset, to be filtered and scanned without reading everything."""
        parts = ds.partitioning(_PARTS, flavor="hive")
        schema = pa.schema([*_PARTS, *SCHEMA])
        return ds.dataset([str(path) for path in self.files], schema=schema, format="parquet", partitioning=parts)

    def table(self, columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
        """As a pyarrow Table.

        Args:
            columns: all (``COLUMNS``) when absent.
            where: which rows, as a pyarrow expression: ``pyarrow.dataset.field("metric") == "ccgp"``.

        Raises:
            StoreError: a file is damaged.
        """
        try:
            return self.dataset.to_table(columns=None if columns is None else list(columns), filter=where)
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(self.files, error) from None

    def frame(self, columns: Sequence[str] | None = None, where: Any = None) -> pd.DataFrame:
        """As a pandas table, one row a measurement or verdict; see :meth:`table`."""
        return self.table(columns, where).to_pandas()

    def verdicts(self) -> pd.DataFrame:
        """One row a comparison, one column a verdict: what the gate found, and True where a difference is claimed,
        False where none is, missing where the data cannot tell."""
        place = ["job", "pair", "task", "ref", "ref_b", "key"]
        rows: Any = self.frame([*place, "model_b", "concept", "context", "value"], ds.field("metric") == VERDICT)
        rows = rows[rows.model_b != ""].drop_duplicates([*place, "concept"]).set_index(place)
        families = [name for name in dict.fromkeys(rows.concept) if name != "gate"]
        claimed = rows.set_index("concept", append=True).value.astype("boolean").unstack("concept")
        out = claimed.reindex(columns=families)
        out.insert(0, "gate", rows[rows.concept == "gate"].context)
        return out.rename_axis(columns=None).reset_index()

    def sql(self, query: str) -> pd.DataFrame:
        """What DuckDB answers to a query of the table ``results``.

        Raises:
            InputError: DuckDB is not installed, or refuses the query.
        """
        try:
            import duckdb
        except ImportError:
            raise InputError("sql needs DuckDB: pip install duckdb, or use frame()") from None
        with duckdb.connect() as connection:
            connection.register("results", self.dataset)
            try:
                return connection.sql(query).df()
            except duckdb.Error as error:
                raise InputError(f"sql: {' '.join(str(error).split())}") from None

    def __len__(self) -> int:
        """Rows, from the files' footers."""
        return self.dataset.count_rows()

    def __repr__(self) -> str:
        return f"<ResultSet of {len(self)} rows in {len(self.files)} files>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>" + self.verdicts().head(20).to_html(index=False, na_rep="–")


def open_results(pattern: str | Path) -> ResultSet:
    """The results of jobs: of one folder, of several (a pattern such as ``runs/*``), or of Parquet files by name.

    Raises:
        InputError: nothing matches, or a file holds other things.
        StoreError: a file is damaged.
    """
    place = Path(pattern).expanduser()
    # a folder whose name holds brackets is itself, and no pattern
    names = [str(place)] if place.exists() else glob.glob(str(place), recursive=True)
    files = list(dict.fromkeys(path for name in sorted(names) for path in _files(Path(name))))
    if not files:
        raise InputError(f"no results match {str(pattern)!r}: name the folder of a job, as in open_results('runs/*')")
    for path in files:
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged([path], error) from None
        missing = next((name for name in SCHEMA.names if name not in schema.names), None)
        if missing is not None:
            raise InputError(f"{str(path)!r} holds no results of a job (no column {missing!r}): leave it out")
    return ResultSet(tuple(files))


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix == ".parquet" else []
    inside = place / RESULTS if (place / RESULTS).is_dir() else place
    return sorted(path for path in inside.glob("**/stage=*/*.parquet") if not path.name.startswith("."))


def _damaged(files: Sequence[Path], error: Exception) -> StoreError:
    where = next((path for path in files if str(path) in str(error)), files[0])
    why = " ".join(str(error).split())
    return StoreError(f"{str(where)!r} cannot be read ({why}): remove it and run the job again")
