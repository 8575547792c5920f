"""The page of a gap report: one file, no network, no script, everything escaped; and the files beside it."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import math
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

import mechdecouple
from mechdecouple.behavior.calibration import ECE_DEBIASED
from mechdecouple.beliefs.gap import AUROC_GAP, METRICS
from mechdecouple.beliefs.gap_metrics import KNOWLEDGE_METRICS
from mechdecouple.beliefs.score_verdicts import GapVerdict, verdicts
from mechdecouple.beliefs.scores import GapReport
from mechdecouple.compare.provenance import commit
from mechdecouple.errors import InputError
from mechdecouple.report.directory import check_writable
from mechdecouple.report.figures.gap import CAPTION, STRATA, figure
from mechdecouple.report.page import flat, template
from mechdecouple.report.tokens import visible
from mechdecouple.report.view import interval, number, sentence
from mechdecouple.report.write import draw_files, write_whole
from mechdecouple.results import Measurement, Metric

PAGE, RECORD = "report.html", "gap.json"
_OWN = (PAGE, RECORD, "metrics.parquet", "scores.parquet", "figures/gap.pdf", "figures/gap.png")
_PACKAGES = ("numpy", "scipy", "pandas", "matplotlib")
_KNOWN: dict[str, Metric] = {m.name: m for m in (*METRICS.values(), *KNOWLEDGE_METRICS.values(), ECE_DEBIASED)}
# Scores alone do not say where they were read.
_TITLES = {"represented_auroc_selected": "AUROC of what is represented"}
_STATUS = {
    True: ("differs", "⚑", "Flagged"),
    False: ("same", "–", "Not flagged"),
    None: ("unknown", "?", "Cannot be told"),
}


def write_gap(report: GapReport, directory: str | Path) -> Path:
    """Write ``report.html``, ``gap.json``, ``metrics.parquet``, ``scores.parquet``, ``figures/gap.{pdf,png}``.

    A directory that does not exist is made, an earlier gap report in it is replaced. The same report gives the same
    bytes but for ``created`` in its provenance. Returns the page.

    Raises:
        InputError: ``directory`` is a file, or holds something else than a gap report.
        StoreError: it cannot be written; nothing of this report is left in it, an earlier one is as it was.
    """
    directory = Path(directory)
    check_gap_directory(directory)
    facts = provenance(report)

    def make(folder: Path) -> None:
        (folder / "figures").mkdir()
        image, width, height = draw_files(figure(report), folder, "gap")
        report.frame().to_parquet(folder / "metrics.parquet", index=False)
        report.scores.given().to_parquet(folder / "scores.parquet", index=False)
        (folder / RECORD).write_text(json.dumps(_record(report, facts), indent=1) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(render_gap(report, image, width, height, facts), encoding="utf-8")

    write_whole(directory, make, _OWN)
    return directory / PAGE


def check_gap_directory(directory: str | Path) -> None:
    """Refuses a directory that a gap report cannot be written to; changes nothing.

    Raises:
        InputError: it is a file, or holds something else than a gap report; StoreError: it cannot be written.
    """
    directory = Path(directory)
    check_writable(directory)
    if not directory.is_dir() or (directory / RECORD).exists():
        return
    other = sorted(p.name for p in directory.iterdir() if not p.name.startswith("."))
    if other:
        raise InputError(
            f"{str(directory)!r} holds files that are no gap report ({other[0]!r}): name a new or an empty directory"
        )


def provenance(report: GapReport) -> dict[str, Any]:
    """Everything needed to make the report again; ``created`` alone differs between two runs of the same thing."""
    return {
        "mechdecouple": mechdecouple.__version__,
        **commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "scores": {"name": report.scores.name, "statements": len(report.scores), "sha256": report.scores.fingerprint},
        "options": {"honest": report.honest, **report.options},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def render_gap(report: GapReport, png: bytes, width: int, height: int, facts: dict[str, Any]) -> str:
    """The page; ``png``: its picture, ``width`` and ``height`` of it in CSS pixels; ``facts``: its provenance."""
    names = [visible(report.label(model)) for model in report.models]
    table = report.measurements()
    groups = report.scores.frame.group.nunique()
    asked = f"The truth is asked for in stratum {visible(report.honest)}. " if report.honest else ""
    strata = ["", *report.scores.strata]
    who = " and ".join(names)
    who = who[:1].upper() + who[1:] if not any(report.models) else who
    return template("gap.html.j2").render(
        title=f"Belief and claim in {visible(report.scores.name)}",
        lead=f"{who} on {len(report.scores)} statements in {groups} groups.",
        models=names,
        strata=report.strata,
        cards=[_card(verdict) for verdict in verdicts(report)],
        rests=f"{groups} groups, drawn {report.options['n_resamples']} times as wholes. {asked}",
        margin=f"{AUROC_GAP.margin:g}",
        picture={
            "data": Markup(base64.b64encode(png).decode("ascii")),
            "width": width,
            "height": height,
            "caption": CAPTION,
        },
        cut=STRATA if len(report.strata) > STRATA else 0,
        differences=[
            (_title(s), [_difference(row) for row in table if row.model_b and row.context == s])
            for s in strata
            if len(names) == 2
        ],
        levels=[_level(report, s, names, table) for s in strata],
        metrics=[(_name(m), _words(m)) for m in dict.fromkeys(row.metric for row in table)],
        provenance=[(key, visible(value)) for key, value in flat(facts)],
    )


def _record(report: GapReport, facts: dict[str, Any]) -> dict[str, Any]:
    gates = {
        model: {
            "passed": gate.passed, "auroc": _finite(gate.auroc), "p": _finite(gate.p), "stratum": gate.stratum,
            "groups": gate.n_groups, "sentence": gate.sentence,
        }
        for model, gate in report.gates.items()
    }  # fmt: skip
    said = [{"subject": v.subject, "flagged": v.flagged, "sentence": v.sentence} for v in verdicts(report)]
    return {
        "models": list(report.models),
        "strata": list(report.scores.strata),
        "verdicts": said,
        "gates": gates,
        "provenance": facts,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _card(verdict: GapVerdict) -> dict[str, str]:
    style, mark, status = _STATUS[verdict.flagged]
    return {
        "style": style,
        "mark": mark,
        "status": status,
        "what": visible(verdict.subject),
        "sentence": visible(verdict.sentence),
    }


def _title(stratum: str) -> str:
    return f"Stratum {visible(stratum)}" if stratum else "All statements"


def _name(metric: str) -> str:
    title = _TITLES.get(metric) or _KNOWN[metric].title
    return title[:1].upper() + title[1:]


def _words(metric: str) -> str:
    known = _KNOWN[metric]
    parts = [known.measures, f"Range {known.range}" if known.range else "", f"Null: {known.null}" if known.null else ""]
    parts += [
        f"Assumes: {known.assumes}" if known.assumes else "", f"Source: {known.source}" if known.source else "",
    ]  # fmt: skip
    return " ".join(sentence(part) for part in parts if part)


def _difference(row: Measurement) -> dict[str, str]:
    e = row.estimate
    return {
        "title": _name(row.metric),
        "value": interval(e, signed=True),
        "p": number(e.p),
        "n": str(e.n),
        "note": visible(e.reason),
    }


def _level(report: GapReport, stratum: str, names: list[str], table: list[Measurement]) -> dict[str, Any]:
    cells: dict[tuple[str, str], dict[str, Measurement]] = {}
    for row in table:
        if not row.model_b and row.context == stratum:
            cells.setdefault((row.metric, row.concept), {})[row.model] = row
    return {
        "title": _title(stratum),
        "n": report.levels[report.models[0]][stratum].n,
        "rows": [_row(report, names, *key, own) for key, own in cells.items()],
        "tables": list(_tables(report, stratum, names)),
    }


def _row(report: GapReport, names: list[str], metric: str, concept: str, own: dict[str, Measurement]) -> dict[str, Any]:
    found = [own[model].estimate if model in own else None for model in report.models]
    notes: dict[str, list[str]] = {}
    for name, e in zip(names, found, strict=True):
        if e is not None and e.reason:
            notes.setdefault(visible(e.reason), []).append(name)
    everywhere = len(names)
    return {
        "title": _name(metric) + (f", {concept}" if concept else ""),
        "cells": ["" if e is None else interval(e) for e in found],
        "null": next((number(e.null, 2) for e in found if e is not None and math.isfinite(e.null)), ""),
        "note": "; ".join(note if len(of) == everywhere else f"{', '.join(of)}: {note}" for note, of in notes.items()),
    }


def _tables(report: GapReport, stratum: str, names: list[str]) -> Iterator[dict[str, Any]]:
    for name, model in zip(names, report.models, strict=True):
        for given, shares in report.levels[model][stratum].gap.tables.items():
            (not_denied, not_claimed), (denied, claimed) = shares
            cells = [number(float(x), 3) for x in (claimed, denied, not_claimed, not_denied)]
            yield {"model": name, "given": given, "cells": cells}
