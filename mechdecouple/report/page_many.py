"""The HTML page of many runs: summary, picture and tables; one file, no network, no script, everything escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from markupsafe import Markup

from mechdecouple.compare import ManyComparison
from mechdecouple.compare.many.spread import ArmContrast
from mechdecouple.compare.many.words import UNIT
from mechdecouple.report.figures.many import CAPTION
from mechdecouple.report.metrics import describe, title
from mechdecouple.report.page import flat, template
from mechdecouple.report.view import interval, number

_GATE = {
    "equal": ("same", "=", "Equal"),
    "different": ("differs", "≠", "Different"),
    "undecided": ("unknown", "?", "Undecided"),
    "chance": ("unknown", "?", "All at chance"),
    "unknown": ("unknown", "?", "Unknown"),
}
_ARMS = {
    True: ("differs", "⚑", "Arms differ"),
    False: ("same", "–", "No difference claimed"),
    None: ("unknown", "?", "Cannot be told"),
}


def render_many(many: ManyComparison, png: bytes, width: int, height: int) -> str:
    """The page; ``png``: its picture, ``width`` and ``height`` of it in CSS pixels."""
    return template("many.html.j2").render(
        m=many,
        unit=UNIT,
        cards=list(_cards(many)),
        remarks=many.remarks,
        picture={
            "data": Markup(base64.b64encode(png).decode("ascii")),
            "width": width,
            "height": height,
            "caption": CAPTION,
        },
        contrasts=[_contrast(many, c) for c in many.contrasts],
        runs=[_run(many, run) for run in many.labels],
        columns=[title(metric.name) for metric in many.metrics],
        distances=_distances(many),
        metrics=[(title(metric.name), describe(metric.name)) for metric in many.metrics],
        provenance=list(flat(many.provenance)),
    )


def _cards(many: ManyComparison) -> Iterator[dict[str, Any]]:
    style, mark, status = _GATE[many.gate.outcome]
    yield _card(style, mark, status, "Equally accurate?", many.gate.sentence, gate=True)
    for name, sentence in many.sentences.items():
        yield _card(*_ARMS[many.flags[name]], title(name), sentence)
    yield _card("unknown", "·", "Described", "Distances inside", many.distance_sentence)


def _card(style: str, mark: str, status: str, what: str, sentence: str, gate: bool = False) -> dict[str, Any]:
    return {"style": style, "mark": mark, "status": status, "what": what, "sentence": sentence, "gate": gate}


def _contrast(many: ManyComparison, contrast: ArmContrast) -> dict[str, Any]:
    """One metric: the mean of each arm with its interval over runs, the largest difference of two, and its test."""
    metric = contrast.metric
    facts = {
        "metric": title(metric.name),
        "means": [interval(contrast.arm_mean(arm)) for arm in many.arms],
        "margin": f"±{metric.margin:g}" if math.isfinite(metric.margin) else "",
    }
    if not contrast.defined:
        return facts | {"difference": "–", "of": "", "share": "–", "p": "–", "holm": "–", "note": contrast.reason}
    pair = max(combinations(many.arms, 2), key=lambda arms: abs(contrast.difference(*arms).value))
    scale = {"difference": "", "log-ratio": " (log ratio)", "relative": " (of their mean)"}[metric.scale]
    return facts | {
        "difference": interval(contrast.difference(*pair), signed=True),
        "of": f"{pair[0]} − {pair[1]}{scale}",
        "share": number(contrast.share, 2),
        "p": number(contrast.p),
        "holm": number(contrast.p_adjusted),
        "note": "",
    }


def _run(many: ManyComparison, run: str) -> dict[str, Any]:
    at = {row.metric: row.estimate for row in many.runs if row.model == run}
    cells = [interval(at[metric.name]) if metric.name in at else "" for metric in many.metrics]
    return {"run": run, "arm": many.arm_of[run], "cells": cells}


def _distances(many: ManyComparison) -> list[list[str]]:
    """Distance inside of every two runs, a row a run; empty where there are none."""
    return [] if many.distance is None else [[number(float(d)) for d in row] for row in many.distance]
