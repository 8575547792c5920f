"""The numbers of a section of the page, as rows of its tables."""

from __future__ import annotations

import math
from typing import Any

from mechdecouple.report.metrics import FUNCTIONAL, METRICS, describe, title
from mechdecouple.report.metrics_of_mechanism import STITCHED
from mechdecouple.report.sections import Section
from mechdecouple.report.view import OF_LATENTS, View, interval, is_difference, number, sentence

Row = dict[str, str]


def contrast_table(view: View, section: Section) -> list[dict[str, str]]:
    """The paired differences of one family, each against its margin."""
    rows = []
    for row in view.contrasts.itertuples():
        if row.metric not in section.metrics:
            continue
        where = f", {row.context}" if row.context else ""
        scale = {"difference": "A − B", "log-ratio": "log A/B", "relative": "(A − B) / mean"}[row.scale]
        rows.append(
            {
                "metric": title(row.metric) + where,
                "scale": scale,
                "difference": interval(row, signed=True),
                "margin": f"±{row.margin:g}",
                "reading": against_margin(row),
                "note": "" if math.isfinite(row.value) else sentence(row.reason),
            }
        )
    return rows


def against_margin(row) -> str:
    """How an interval lies to its margin, in words."""
    if not math.isfinite(row.value):
        return "not compared"
    if not math.isfinite(row.low):
        return "no interval"
    if row.low > row.margin or row.high < -row.margin:
        return "beyond the margin"
    if -row.margin <= row.low and row.high <= row.margin:
        return "within the margin"
    return "reaches across the margin"


def number_tables(view: View, section: Section) -> list[tuple[str, list[Row]]]:
    """The section's numbers, A beside B: for each metric its title and a row a place, concept and context.

    Functional versions follow at the end.
    """
    used = [name for metric in section.metrics if (name := f"functional_{metric}") in FUNCTIONAL]
    made = [(title(metric), _numbers(view, metric)) for metric in (*section.metrics, *used) if metric in METRICS]
    return [(name, rows) for name, rows in made if rows]


def _numbers(view: View, metric: str) -> list[Row]:
    of = view.rows(metric)
    if not len(of):
        return []
    # hook points of B that A lacks get rows of their own; what is read at one chosen place is told by condition
    chosen = (of.groupby("model").hook_point.nunique() <= 1).all()
    cells: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in of[of.model.isin(view.names)].itertuples():
        key = ("" if chosen else row.hook_point, row.concept, row.context)
        cells.setdefault(key, {}).setdefault(row.model, row)
    return [_beside(view, metric, own) for own in cells.values()]


def _beside(view: View, metric: str, own: dict[str, Any]) -> Row:
    """One metric at one place: the rows of the models, each in its column."""
    found = [own[model] for model in view.names if model in own]
    places = dict.fromkeys(row.hook_point for row in found if row.hook_point)
    null = next((row.null for row in found if math.isfinite(row.null)), math.nan)
    return {
        "metric": title(metric),
        "place": " | ".join(places),
        "of": ", ".join(x for x in (found[0].concept, found[0].context) if x),
        "a": interval(own[view.names[0]]) if view.names[0] in own else "",
        "b": interval(own[view.names[1]]) if view.names[1] in own else "",
        "null": number(null, 2),
        "n": str(max(int(row.n) for row in found)),
        "note": "; ".join(dict.fromkeys(row.reason for row in found if row.reason)),
    }


def pair_tables(view: View, section: Section) -> list[tuple[str, list[Row]]]:
    """What is measured on both models at once and is no difference: similarities, or what became of an ancestor."""
    made = []
    for metric in section.metrics:
        rows = [
            {
                "metric": _called(row),
                "place_a": row.hook_point,
                "place_b": row.hook_point_b if row.family != "ancestry" else row.model if "graft" in metric else "",
                "value": interval(row),
                "null": number(row.null),
                "p": number(row.p),
                "n": str(int(row.n)),
                "reason": row.reason,
            }
            for row in view.pairs(metric).itertuples()
            if not is_difference(row)
        ]
        made.append((title(metric), rows))
    return [(name, rows) for name, rows in made if rows]


def _called(row: Any) -> str:
    """A metric of the pair, with what it is of where one metric has several rows at a place."""
    if row.metric in OF_LATENTS:
        return f"{title(row.metric)}, of {row.model}"
    if row.metric in STITCHED:
        return f"{title(row.metric)}: {row.model} by {row.model_b} ({row.context})"
    return f"{title(row.metric)}: {row.concept}" if row.family == "mechanism" and row.concept else title(row.metric)


def metric_notes(view: View, section: Section) -> list[tuple[str, str]]:
    """Metrics of the section that were measured, each with what it is."""
    present = set(view.table.metric)
    return [(title(m), describe(m)) for m in section.metrics if m in present]
