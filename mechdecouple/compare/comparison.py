"""Comparison: the answer of the main job, with its verdicts, tables and provenance."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from mechdecouple.compare.gate import Gate, Stratum
from mechdecouple.compare.verdict import Verdict
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, frame

FORMAT = 1
_TABLES = ("features", "examples", "parts", "evidence")
"""Tables that a comparison has only where their family was measured."""


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on one task: are they equally accurate, how do they differ inside, does each say what it represents.

    Attributes:
        a, b: labels of the models; task: its name.
        gate: the equal-accuracy gate.
        verdicts: what may be said, in sentences; they hold for this pair of models, not for the recipes that made them.
        measurements: every number, see :meth:`frame`.
        items: item x model (answer, margin, correctness, confidence, belief, claim).
        features: one row a live latent of either model's autoencoder: whether the other model has it, what it does to
            the answers, whether it carries the truth or the claim (columns: ``compare.latents.FEATURES``).
        examples: the items that each of these latents fires on most, with its strength at every token.
        parts: one row a part of either model that was taken out: how much of the answer depends on it (columns:
            ``compare.mechanism.PARTS``).
        evidence: one row a piece of evidence on the mechanism of the two (columns: ``structure.mechanism``'s
            ``evidence_frame``).
        notes: what could not be compared, and why.
        provenance: versions, references, weight hashes, options and seed.
    """

    a: str
    b: str
    task: str
    gate: Gate
    verdicts: tuple[Verdict, ...]
    measurements: tuple[Measurement, ...]
    items: pd.DataFrame
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    features: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    examples: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    parts: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    evidence: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    def frame(self) -> pd.DataFrame:
        """One row a measurement (columns: ``mechdecouple.results.COLUMNS``)."""
        return frame(self.measurements)

    def verdict(self, family: str, subject: str = "pair") -> Verdict | None:
        """The verdict of one family, or None where that family was not measured."""
        return next((v for v in self.verdicts if v.family == family and v.subject == subject), None)

    def differs(self, family: str) -> bool:
        """Whether a difference is claimed: ``gate``, or any family of verdicts (``structure``, ``belief``, …)."""
        if family == "gate":
            return self.gate.outcome == "different"
        return any(v.flagged for v in self.verdicts if v.family == family)

    def summary(self) -> str:
        """The verdicts as plain text, one a paragraph.

        Marks: ``!`` a difference or a gap is claimed, ``-`` none is shown (which is not equality), ``?`` the data
        cannot tell; ``=`` where the gate shows equality, or a mechanism is the same.
        """
        head = f"{self.a} against {self.b} on {self.task}"
        marks = {True: "!", False: "-", None: "?"}
        lines = [head, "-" * len(head), f"[{_gate_mark(self.gate)}] {self.gate.sentence}"]
        lines += [f"[{'=' if v.says_same else marks[v.flagged]}] {v.sentence}" for v in self.verdicts]
        lines += [f"(note) {note}" for note in self.notes]
        return "\n".join(
            [*lines, "One pair of models supports a statement about this pair, not about the recipes behind it."]
        )

    def __repr__(self) -> str:
        found = f"{self.gate.outcome}, {len(self.measurements)} measurements"
        return f"<Comparison {self.a!r} against {self.b!r} on {self.task!r}: {found}>"

    def _repr_html_(self) -> str:
        said = "".join(
            f"<li><b>{html.escape(v.family)}</b>{' ⚑' if v.flagged else ''}: {html.escape(v.sentence)}</li>"
            for v in self.verdicts
        )
        shown = self.frame().query("model_b == ''")[
            ["metric", "model", "hook_point", "concept", "value", "low", "high", "n"]
        ]
        return (
            f"<h4>{html.escape(self.a)} against {html.escape(self.b)} on {html.escape(self.task)}</h4>"
            f"<p>{html.escape(self.gate.sentence)}</p><ul>{said}</ul>"
            f"<p>{len(self.measurements)} measurements; the first ten:</p>"
            + shown.head(10).to_html(index=False, float_format="%.3f")
        )

    def save(self, directory: str | Path) -> Path:
        """Write ``comparison.json``, ``metrics.parquet``, ``items.parquet``; ``features.parquet`` and
        ``examples.parquet`` where latents were described, ``parts.parquet`` and ``evidence.parquet`` where mechanisms
        were compared; returns the directory."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.frame().to_parquet(directory / "metrics.parquet", index=False)
        self.items.to_parquet(directory / "items.parquet", index=False)
        for name in _TABLES:
            if len(table := getattr(self, name)):
                table.to_parquet(directory / f"{name}.parquet", index=False)
        record = {
            "format": FORMAT,
            "a": self.a,
            "b": self.b,
            "task": self.task,
            "gate": dataclasses.asdict(self.gate),
            "verdicts": [dataclasses.asdict(v) for v in self.verdicts],
            "notes": list(self.notes),
            "provenance": self.provenance,
        }
        text = json.dumps(without_nan(record), indent=2, ensure_ascii=False, allow_nan=False)
        (directory / "comparison.json").write_text(text + "\n", encoding="utf-8")
        return directory

    @classmethod
    def load(cls, directory: str | Path) -> Comparison:
        """Read back what :meth:`save` wrote.

        Raises:
            InputError: not a directory of a comparison, or one of another format.
        """
        directory = Path(directory)
        try:
            record = json.loads((directory / "comparison.json").read_text(encoding="utf-8"))
            table, items = (pd.read_parquet(directory / f"{name}.parquet") for name in ("metrics", "items"))
            further = {
                name: pd.read_parquet(file) for name in _TABLES if (file := directory / f"{name}.parquet").exists()
            }
        except (OSError, ValueError) as error:
            raise InputError(
                f"{str(directory)!r} holds no readable comparison ({error}); give the --out of a compare job"
            ) from None
        found = record.get("format") if isinstance(record, dict) else None
        if found != FORMAT:
            raise InputError(
                f"{str(directory)!r} has format {found!r}, this version reads {FORMAT}; run the comparison again"
            )
        try:
            return cls(
                a=record["a"],
                b=record["b"],
                task=record["task"],
                gate=_gate(record["gate"]),
                verdicts=tuple(_verdict(v) for v in record["verdicts"]),
                measurements=tuple(read_measurement(row) for row in table.to_dict("records")),
                items=items,
                notes=tuple(record["notes"]),
                provenance=record["provenance"],
                **further,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(directory)!r} holds no readable comparison ({error}); run the comparison again"
            ) from None


def _gate_mark(gate: Gate) -> str:
    return {"equal": "=", "different": "!"}.get(gate.outcome, "?")


def without_nan(value: Any) -> Any:
    """JSON has no NaN: undefined numbers become null (their Estimate carries the reason)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


_NUMBERS = {f.name for f in dataclasses.fields(Estimate) if f.type == "float"}


def _estimate(record: dict[str, Any]) -> Estimate:
    facts: dict[str, Any] = {k: math.nan if v is None and k in _NUMBERS else v for k, v in record.items()}
    return Estimate(**facts)


def read_measurement(row: dict[str, Any]) -> Measurement:
    estimate = row.get("estimate") or {f.name: row[f.name] for f in dataclasses.fields(Estimate) if f.name in row}
    place = {f.name: row[f.name] for f in dataclasses.fields(Measurement) if f.name != "estimate"}
    return Measurement(**place, estimate=_estimate(estimate))


def _verdict(record: dict[str, Any]) -> Verdict:
    facts = {name: tuple(record[name]) for name in ("speaks_for", "speaks_against", "silent") if name in record}
    return Verdict(**{**record, **facts, "evidence": tuple(read_measurement(m) for m in record["evidence"])})


def _gate(record: dict[str, Any]) -> Gate:
    strata = tuple(
        Stratum(**{**s, "difference": _estimate(s["difference"]), "a": _float(s["a"]), "b": _float(s["b"])})
        for s in record["strata"]
    )
    numbers = {key: _float(record[key]) for key in ("margin", "p_equal", "p_different", "supported_margin", "chance")}
    estimates = {key: _estimate(record[key]) for key in ("a", "b", "difference", "agreement")}
    return Gate(**{**record, **numbers, **estimates, "strata": strata})


def _float(value: float | None) -> float:
    return math.nan if value is None else value
