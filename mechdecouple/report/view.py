"""View: the rows of a comparison as figures and tables ask for them."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.compare import Comparison
from mechdecouple.report.metrics import METRICS
from mechdecouple.report.metrics_of_mechanism import AGREEMENTS
from mechdecouple.sae import KIND_EXCESSES, KIND_SHARES

Table = Any
"""A pandas DataFrame, read by the names of its columns, which type checkers do not know."""
INERT = "inert"
_INPUT = "blocks.0.hook_resid_pre"
MAPPED = ("geometry", "fracture", "entanglement")
"""Families of which the differences at each hook point are given as well."""
OF_LATENTS = tuple(metric.name for metrics in (KIND_SHARES, KIND_EXCESSES) for metric in metrics.values())
"""What becomes of one model's latents in the other."""
_OF_BOTH = ("similarity", "ancestry"), ("matched_share", "agreement", *OF_LATENTS, *AGREEMENTS)
"""Families and metrics of which a row about two models is one value of the pair, and no difference A − B."""
CONTRASTS = (
    "performance",
    "ece_debiased",
    "ccgp",
    "erasure_residual",
    "coding_overlap",
    "participation_ratio",
    "noise_tolerance",
    "shift_performance",
    "matched_share_excess",
    "auroc_gap",
    "racu",
)
"""Metrics whose paired difference is held against a declared margin, in the order of telling."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One metric of one model over its hook points, in their order: value, low, high [k], NaN where undefined."""

    points: tuple[str, ...]
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    null: np.ndarray
    inert: np.ndarray

    @property
    def drawn(self) -> bool:
        return bool(np.isfinite(self.value).any())


class View:
    """A comparison, seen by metric and model.

    Attributes:
        names: labels of A and B; table: every measurement, see ``Comparison.frame``.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.names = (comparison.a, comparison.b)
        # a table without a row has no types
        numbers = dict.fromkeys(("value", "low", "high", "null", "p"), float)
        self.table: Table = comparison.frame().astype(numbers)
        # figures ask for the same thousands of times
        self._points: dict[str, tuple[str, ...]] = {}
        self._curves: dict[tuple[str, str, str | None, str | None], Curve] = {}

    def rows(self, metric: str, model: str | None = None) -> Table:
        """Rows of one metric about one model (or both), without those that compare two."""
        of = self._of(metric)
        of = of[of.model_b == ""]
        return of if model is None else of[of.model == model]

    def pairs(self, metric: str) -> Table:
        """Rows of one metric that compare the two models."""
        of = self._of(metric)
        return of[of.model_b != ""]

    def _of(self, metric: str) -> Table:
        return self._by_metric.get(metric, self.table.iloc[:0])

    @cached_property
    def _by_metric(self) -> dict[Any, Table]:
        return dict(iter(self.table.groupby("metric", sort=False)))

    def differences(self) -> Table:
        """The map of differences: every measure of structure, A − B, at each pair of hook points."""
        table = self.table
        held = np.isfinite(table.value) & (table.hook_point != "")
        return table[(table.model_b != "") & table.family.isin(MAPPED) & held]

    def points(self, model: str) -> tuple[str, ...]:
        """The hook points of a model in order."""
        if model not in self._points:
            self._points[model] = self._found_points(model)
        return self._points[model]

    def _found_points(self, model: str) -> tuple[str, ...]:
        # parts of a mechanism lie at hook points of their own
        table = self.table[self.table.family != "mechanism"]
        of = table[(table.model == model) & (table.model_b == "") & (table.hook_point != "")]
        other = table[(table.model_b == model) & (table.hook_point_b != "")].hook_point_b
        return tuple(dict.fromkeys([*of.hook_point, *other]))

    def concepts(self, metric: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.rows(metric).concept))

    @cached_property
    def inert(self) -> set[tuple[str, str]]:
        """(model, hook point) that the answers do not depend on."""
        effects = self.rows("ablation_effect")
        return {(r.model, r.hook_point) for r in effects.itertuples() if r.reason.startswith(INERT)}

    def curve(self, metric: str, model: str, concept: str | None = None, context: str | None = None) -> Curve:
        """A metric over the hook points of a model."""
        key = metric, model, concept, context
        if key not in self._curves:
            self._curves[key] = self._found_curve(*key)
        return self._curves[key]

    def _found_curve(self, metric: str, model: str, concept: str | None, context: str | None) -> Curve:
        of = self.rows(metric, model)
        of = of if concept is None else of[of.concept == concept]
        of = of if context is None else of[of.context == context]
        at = of.drop_duplicates("hook_point").set_index("hook_point")
        points = tuple(p for p in self.points(model) if p in at.index)
        value, low, high, null = (
            at[name].reindex(list(points)).to_numpy(dtype=float) for name in ("value", "low", "high", "null")
        )
        return Curve(points, value, low, high, null, np.array([(model, p) in self.inert for p in points], dtype=bool))

    def mean_curve(self, metric: str, model: str, context: str | None = None) -> Curve:
        """The mean over concepts, at hook points where all that are drawn are defined; no band but that of one."""
        curves = [self.curve(metric, model, concept, context) for concept in self.concepts(metric)]
        curves = [curve for curve in curves if curve.drawn]
        if len(curves) == 1:
            return curves[0]
        points = tuple(p for p in self.points(model) if curves and all(p in c.points for c in curves))
        at = [[c.points.index(p) for p in points] for c in curves]
        value = np.array([c.value[i] for c, i in zip(curves, at, strict=True)]).reshape(len(curves), len(points))
        none = np.full(len(points), np.nan)
        inert = np.array([(model, p) in self.inert for p in points], dtype=bool)
        return Curve(points, value.mean(axis=0) if curves else none, none, none, none, inert)

    def reason(self, *metrics: str) -> str:
        """Why nothing of these metrics can be drawn."""
        rows = self.table[self.table.metric.isin(metrics)]
        reasons = list(dict.fromkeys(r for r in rows.reason if r))
        if not len(rows):
            return "Not measured."
        return sentence(reasons[0]) if reasons else "Nothing is defined here."

    @cached_property
    def contrasts(self) -> Table:
        """Paired differences of primary metrics: metric, context, value, low, high, p, margin, scale, reason."""
        found = []
        for name in CONTRASTS:
            margin = self.comparison.gate.margin if name == "performance" else METRICS[name].margin
            rows = self.pairs(name)
            # the gate's strata stand under the gate
            rows = rows[rows.context == ""] if name == "performance" else rows
            # the map of differences holds one a hook point; the contrast is over all of them
            rows = rows[(rows.hook_point == "") | ~rows.family.isin(MAPPED)]
            for row in rows.itertuples():
                found.append(
                    {
                        "metric": name,
                        "context": row.context,
                        **self._held(row),
                        "p": row.p,
                        "margin": margin,
                        "scale": METRICS[name].scale,
                    }
                )
        return pd.DataFrame(
            found, columns=["metric", "context", "value", "low", "high", "p", "margin", "scale", "reason"]
        )

    def _held(self, row) -> dict[str, object]:
        """Value and interval of a contrast; nothing, and why, where its verdict says that it supports no statement."""
        verdict = self.comparison.verdict(row.family)
        if row.family == "sae" and verdict is not None and verdict.flagged is None:
            return {"value": math.nan, "low": math.nan, "high": math.nan, "reason": verdict.sentence}
        return {"value": row.value, "low": row.low, "high": row.high, "reason": row.reason}

    def items(self, model: str) -> Table:
        items: Table = self.comparison.items
        return items[items.model == model].reset_index(drop=True)

    def gate_items(self, model: str) -> Table:
        """Items on which performance is compared: asked honestly, in distribution, held out where the task says so."""
        of = self.items(model)
        honest = (self.comparison.provenance.get("task") or {}).get("honest")
        of = of[(of.condition == honest) | (of.condition == "")] if honest else of
        of = of[of.split != "shift"]
        return of[of.split == "test"] if (of.split == "test").any() else of

    def honest_first(self, levels: list[str]) -> list[str]:
        honest = (self.comparison.provenance.get("task") or {}).get("honest")
        return sorted(levels, key=lambda level: (level != honest, levels.index(level)))


def is_difference(row) -> bool:
    """Whether a row of the table is a difference A − B."""
    families, metrics = _OF_BOTH
    return bool(row.model_b) and row.family not in families and row.metric not in metrics


def sentence(words: str) -> str:
    """As a sentence: a capital and a full stop."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def shorten(points: tuple[str, ...], longest: int = 14) -> list[str]:
    """Labels for hook points, unique; long ones lose their middle.

    ``blocks.3.hook_resid_post`` is ``3`` where all blocks are read at one place, else ``3.resid_post``.
    """
    blocks = [re.fullmatch(r"blocks\.(\d+)\.(.+)", p) for p in points]
    kinds = {m.group(2) for m, p in zip(blocks, points, strict=True) if m and p != _INPUT}
    labels = []
    for point, block in zip(points, blocks, strict=True):
        if point in ("hook_embed", _INPUT) and len(kinds) == 1:
            labels.append("emb" if point == "hook_embed" else "in")
        elif block and len(kinds) == 1:
            labels.append(block.group(1))
        elif block:
            labels.append(f"{block.group(1)}.{block.group(2).removeprefix('hook_')}")
        else:
            labels.append(point.removeprefix("hook_"))
    cut = [
        label if len(label) <= longest else f"{label[: longest // 2 - 1]}…{label[-(longest // 2) :]}"
        for label in labels
    ]
    return cut if len(set(cut)) == len(cut) else [f"{i}:{label}" for i, label in enumerate(cut)]


def place(points: tuple[str, ...]) -> str:
    """What the axis over these hook points is called."""
    kinds = {m.group(1) for p in points if p != _INPUT and (m := re.fullmatch(r"blocks\.\d+\.hook_(.+)", p))}
    if kinds == {"resid_post"}:
        return "residual stream after block"
    return (
        f"block ({kinds.pop()})"
        if len(kinds) == 1 and all(p.startswith(("blocks.", "hook_")) for p in points)
        else "hook point"
    )


def number(value: float, digits: int = 3, signed: bool = False) -> str:
    """A number for a table; an en dash where there is none. Whole parts are kept, small ones get an exponent."""
    if value is None or not math.isfinite(value):
        return "–"
    sign, size = "+" if signed else "", abs(value)
    if size < 1e-12:
        return "0"
    if size < 0.5 * 10**-digits:
        return f"{value:{sign}.1e}".replace("-", "−")
    shown = f"{value:{sign}.{digits}f}" if size < 100 else f"{value:{sign}.1f}"
    return shown.replace("-", "−")


def interval(row, digits: int = 3, signed: bool = False) -> str:
    """``value [low, high]`` of a row or an Estimate; an en dash where it is undefined."""
    if not math.isfinite(row.value):
        return "–"
    if not math.isfinite(row.low):
        return number(row.value, digits, signed)
    return (
        f"{number(row.value, digits, signed)} [{number(row.low, digits, signed)}, {number(row.high, digits, signed)}]"
    )
