"""Task: the items two models are compared on."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mechdecouple.errors import TaskError
from mechdecouple.tasks.check import check, rename
from mechdecouple.tasks.fingerprint import fingerprint
from mechdecouple.tasks.read import read_array, read_dataset, read_table
from mechdecouple.tasks.refuse import show


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Task:
    """Validated items, one row each; made by `from_file`, `from_frame` or `from_dataset`, which check every cell.

    Columns of a task table (``columns=`` renames: canonical name -> the table's own name):

    ==============  ===================================================================================================
    id              unique name of the item; without the column items are called by their row number, from "1"
    prompt          text the model reads; or ``tokens`` (token ids); or an array of ``inputs`` [n, ...] beside the table
    answer          expected answer: one of the choices, the text to generate, or a class index
    choices         two or more options: a list, or text with ``|`` between them; token ids where the task gives tokens
    truth           1 where the item's statement is true, 0 where false, empty where unknown
    group           unit of resampling and splitting (default: the item itself)
    context         situations across which an internal code may generalise
    condition       persona or situation under test; ``honest`` declares the level in which the model answers honestly
    split           ``fit`` | ``test`` | ``shift``; other values are kept and have no meaning here
    concept_*       numbers, or names: two levels are coded 0/1 in sorted order, more become one column a level
    asks            the concept that the item's answer is about, without ``concept_``
    position_*      token index from 0, or text of the prompt: the last token of its last occurrence
    score_a/_b      scores per item supplied by the user, for the first and the second model
    ==============  ===================================================================================================

    Attributes:
        name: shown in messages and reports.
        frame: the canonical table (``choices`` are tuples, ``tokens`` arrays), RangeIndex; other columns are left out.
        inputs: [n, ...] for tasks on tensors, else None.
        performance: ``"choice"``, ``"generation"``, ``"loss"``, ``"class"`` or ``"score"``: what counts as doing well.
        honest: the honest level of ``condition``; None without that column.
        affirm: the choice that asserts the statement; None where there is none.
    """

    name: str
    frame: pd.DataFrame
    inputs: np.ndarray | None
    performance: str
    honest: str | None
    affirm: str | None

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        performance: str | None = None,
        honest: str | None = None,
        affirm: str | None = None,
        inputs: str | Path | np.ndarray | None = None,
        columns: Mapping[str, str] | None = None,
        template: str | None = None,
        system: str | None = None,
    ) -> Task:
        """Read and check a CSV, TSV, JSONL, JSON or Parquet file; the options are those of `from_frame`.

        Raises:
            TaskError: the file or a cell of it cannot be used; one line naming row and column.
        """
        path = Path(path)
        return cls.from_frame(
            read_table(path), name=name or path.name, performance=performance, honest=honest, affirm=affirm,
            inputs=inputs, columns=columns, template=template, system=system,
        )  # fmt: skip

    @classmethod
    def from_dataset(cls, dataset, *, name: str = "dataset", **options) -> Task:
        """Read and check a ``datasets.Dataset``; ``options`` are those of `from_frame`."""
        return cls.from_frame(read_dataset(dataset), name=name, **options)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        name: str = "task",
        performance: str | None = None,
        honest: str | None = None,
        affirm: str | None = None,
        inputs: str | Path | np.ndarray | None = None,
        columns: Mapping[str, str] | None = None,
        template: str | None = None,
        system: str | None = None,
    ) -> Task:
        """Check a table of items.

        Args:
            frame: the raw table.
            name: shown in messages and reports.
            performance: default: ``choice`` with choices, ``score`` with both score columns, ``class`` with inputs,
                ``generation`` with an answer only, else ``loss``.
            honest: the honest level of ``condition``; required where that column has more than one level.
            affirm: the choice that asserts the statement; default: the one answer that all true honest items share and
                no false one has.
            inputs: array [n, ...], or the path of one (``.npy``, ``.npz``, ``.safetensors``).
            columns: canonical name -> the table's own name, e.g. ``{"prompt": "statement", "truth": "label"}``.
            template: text with ``{prompt}`` and other columns as fields (few-shot examples, instructions).
            system: text put before every prompt as a paragraph of its own.

        Raises:
            TaskError: one line naming row and column, what was expected and the mend.
        """
        if not isinstance(frame, pd.DataFrame):
            raise TaskError(f"{name}: expected a pandas DataFrame, got {type(frame).__name__}; see Task.from_file")
        array = None if inputs is None else read_array(inputs)
        table, performance, honest, affirm = check(
            rename(frame, columns, name), name=name, performance=performance, honest=honest, affirm=affirm,
            inputs=array, template=template, system=system,
        )  # fmt: skip
        return cls(name, table, array, performance, honest, affirm)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {len(self)} items, performance={self.performance!r})"

    @cached_property
    def ids(self) -> np.ndarray:
        """[n] str, unique."""
        return self._text("id")  # type: ignore[return-value]

    @cached_property
    def groups(self) -> np.ndarray:
        """[n] str: the unit of resampling; the item itself where the table has no group."""
        groups = self._text("group")
        return self.ids if groups is None else groups

    @cached_property
    def prompts(self) -> list[str] | None:
        return self._list("prompt")

    @cached_property
    def tokens(self) -> list[np.ndarray] | None:
        """Token ids [t] int64 of each item."""
        return self._list("tokens")

    @cached_property
    def answers(self) -> np.ndarray | None:
        """[n] str, or int64 class indices where performance is ``class``."""
        if "answer" not in self.frame:
            return None
        return self.frame["answer"].to_numpy(np.int64) if self.performance == "class" else self._text("answer")

    @cached_property
    def choices(self) -> list[tuple[str, ...]] | None:
        return self._list("choices")

    @cached_property
    def truth(self) -> np.ndarray | None:
        """[n] float: 0, 1, NaN = unknown."""
        return self.frame["truth"].to_numpy(np.float64) if "truth" in self.frame else None

    @cached_property
    def context(self) -> np.ndarray | None:
        return self._text("context")

    @cached_property
    def condition(self) -> np.ndarray | None:
        return self._text("condition")

    @cached_property
    def split(self) -> np.ndarray | None:
        return self._text("split")

    @cached_property
    def concepts(self) -> dict[str, np.ndarray]:
        """Name -> [n] float. Two named levels are 0/1 in sorted order; of more, each is a 0/1 column ``name=level``."""
        out: dict[str, np.ndarray] = {}
        for column in self._starting("concept_"):
            name, values = column.removeprefix("concept_"), self.frame[column]
            if values.dtype.kind == "f":
                out[name] = values.to_numpy(np.float64)
                continue
            labels = np.asarray(values.tolist(), dtype=np.str_)
            levels = self._levels[column]
            if len(levels) <= 2:
                out[name] = (labels == levels[-1]).astype(np.float64) * (len(levels) - 1)
            else:
                out |= {f"{name}={level}": (labels == level).astype(np.float64) for level in levels}
        return out

    @cached_property
    def asks(self) -> np.ndarray | None:
        """[n] str: the concept each answer is about."""
        return self._text("asks")

    @cached_property
    def scores(self) -> dict[str, np.ndarray] | None:
        """``{"a": [n], "b": [n]}`` where performance is ``score``."""
        if "score_a" not in self.frame:
            return None
        return {slot: self.frame[f"score_{slot}"].to_numpy(np.float64) for slot in "ab"}

    @property
    def positions(self) -> tuple[str, ...]:
        """Names of the ``position_*`` columns."""
        return tuple(self._starting("position_"))

    @cached_property
    def honest_mask(self) -> np.ndarray:
        """[n] bool: items in the honest condition; all of them without conditions."""
        return np.ones(len(self), bool) if self.condition is None else self.condition == self.honest

    @cached_property
    def shift_mask(self) -> np.ndarray:
        """[n] bool: items of the shift split."""
        return np.zeros(len(self), bool) if self.split is None else self.split == "shift"

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Limits of the table that are allowed but bound what can be measured on it."""
        notes = []
        if self.truth is not None:
            known = self.truth[~np.isnan(self.truth)]
            if len(np.unique(known)) < 2:
                what = f"{known[0]:g} in every known row" if len(known) else "unknown in every row"
                notes.append(f"truth is {what}: nothing can be probed for it")
        notes += [
            f"concept {c} has one value: nothing can be probed for it"
            for c, v in self.concepts.items()
            if np.ptp(v) == 0
        ]
        if self.answers is not None and self.performance in ("choice", "class") and len(np.unique(self.answers)) == 1:
            notes.append("every item has the same answer: a constant model is right throughout")
        return tuple(notes)

    def place(self, row: int) -> str:
        """A row (from 0) as messages name it: task, row counted from 1, id."""
        return f"{self.name}, row {row + 1} (id {show(str(self.ids[row]), 40)})"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the contents (columns, inputs and declarations; not the name)."""
        return fingerprint(self.frame, self.inputs, [self.performance, self.honest, self.affirm])

    def select(self, rows: np.ndarray) -> Task:
        """The task on some of its items: a mask [n] bool or row indices, in the order given.

        Raises:
            TaskError: nothing selected, a row beyond the end, a mask of another length, a row asked for twice.
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise TaskError(
                    f"{self.name}: a mask must have shape ({len(self)},), got {rows.shape}; one value an item"
                )
            rows = np.flatnonzero(rows)
        if len(rows) == 0:
            raise TaskError(f"{self.name}: the selection leaves no items; select at least one")
        if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(self):
            raise TaskError(
                f"{self.name}: rows must be indices from 0 to {len(self) - 1}, got {rows.min()} to {rows.max()}"
            )
        if len(np.unique(rows)) < len(rows):
            raise TaskError(f"{self.name}: rows are selected twice; ids must stay unique, so weight items instead")
        part = self.frame.iloc[rows].reset_index(drop=True)
        inputs = None if self.inputs is None else self.inputs[rows]
        task = dataclasses.replace(self, frame=part, inputs=inputs)
        task.__dict__["_levels"] = self._levels  # a concept means the same on a part as on the whole
        return task

    @cached_property
    def _levels(self) -> dict[str, list[str]]:
        named = [c for c in self._starting("concept_") if self.frame[c].dtype.kind != "f"]
        return {c: sorted(set(self.frame[c])) for c in named}

    def _starting(self, prefix: str) -> list[str]:
        return [c for c in self.frame.columns if c.startswith(prefix)]

    def _text(self, column: str) -> np.ndarray | None:
        return np.asarray(self.frame[column].tolist(), dtype=np.str_) if column in self.frame else None

    def _list(self, column: str) -> list | None:
        return self.frame[column].tolist() if column in self.frame else None

    def _repr_html_(self) -> str:
        facts = [f"{len(self)} items", f"{len(np.unique(self.groups))} groups", f"performance: {self.performance}"]
        if self.condition is not None:
            facts.append(f"honest: {self.honest} ({int(self.honest_mask.sum())} items)")
        if self.concepts:
            facts.append("concepts: " + ", ".join(self.concepts))
        if self.inputs is not None:
            facts.append(f"inputs: {self.inputs.shape}")
        notes = "".join(f"<li>{html.escape(n)}</li>" for n in self.notes)
        head = self.frame.head(5).to_html(index=False, max_cols=12, border=0)
        title = f"<b>{html.escape(self.name)}</b>: {html.escape(' · '.join(facts))}"
        return f"<div>{title}{f'<ul>{notes}</ul>' if notes else ''}{head}</div>"
