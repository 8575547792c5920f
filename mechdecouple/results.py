"""Estimate: a number that says all of itself; Measurement: an Estimate with its place; frame: a tidy table of them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Direction = Literal["higher", "lower", ""]

COLUMNS = (
    "metric",
    "family",
    "model",
    "model_b",
    "hook_point",
    "hook_point_b",
    "position",
    "concept",
    "context",
    "value",
    "low",
    "high",
    "method",
    "null",
    "p",
    "n",
    "unit",
    "direction",
    "reason",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a metric is: the facts that hold for each of its values.

    Attributes:
        name: identifier used in tables, e.g. ``"ccgp"``.
        family: behavior, geometry, fracture, entanglement, robustness, similarity, sae, beliefs or causal.
        title: words for an axis or a table head.
        measures: one line on what it measures.
        range: the values it can take, e.g. ``"[0, 1]"``.
        direction: which way is tidier; empty where neither is.
        invariances: transformations of the activations that leave it unchanged.
        null: the value expected when there is no effect, in words; says so where there is no honest null.
        assumes: what must hold for the number to mean what it says.
        source: where it comes from (arXiv id or article).
        margin: for a primary metric, the smallest difference of two models that counts; NaN otherwise.
        scale: how two models are compared: by difference, by log ratio, or relative to their mean.
    """

    name: str
    family: str
    title: str
    measures: str
    range: str
    direction: Direction = ""
    invariances: str = ""
    null: str = ""
    assumes: str = ""
    source: str = ""
    margin: float = math.nan
    scale: Literal["difference", "log-ratio", "relative"] = "difference"

    def contrasted(self) -> Metric:
        """The metric as a comparison of two models, which the range of either does not bound."""
        return dataclasses.replace(self, range="")

    def functional(self) -> Metric:
        """The same metric of activations projected on what the answers depend on: what nothing reads does not count."""
        parts = [part for part in (self.invariances, "inert dimensions") if part]
        return dataclasses.replace(
            self,
            name=f"functional_{self.name}",
            title=f"{self.title}, functional",
            measures=f"{self.measures}; of activations projected on what the answers depend on",
            invariances=", ".join(parts),
            assumes=", ".join(p for p in (self.assumes, "gradients of the answer span what it depends on") if p),
            margin=math.nan,
        )

    def clip(self, value: float) -> float:
        """The value moved into a closed ``range`` such as ``"[0, 1]"``: an interval ends where its metric does."""
        match = re.fullmatch(r"\[(-?[\d.]+), (-?[\d.]+)\]", self.range)
        return min(max(value, float(match[1])), float(match[2])) if match and not math.isnan(value) else value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its interval, null and limits.

    Attributes:
        value: the point estimate; NaN only together with a ``reason``.
        low, high: ends of the 95 % interval; NaN where none was computed.
        method: how the interval was made.
        null: the value expected without any effect; p: p-value against it, adjusted over the map of layers that the
            value is part of, if it is part of one.
        n: how many independent units it rests on; unit: what n counts (``"groups"``, ``"items"``, ``"latents"``).
        direction: which way is tidier (``"higher"``, ``"lower"``, or empty).
        invariances: transformations that leave the value unchanged.
        reason: why the value is undefined, or which limit it carries (no honest null, too few groups for an interval).
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    method: str = ""
    null: float = math.nan
    p: float = math.nan
    n: int = 0
    unit: str = "items"
    direction: Direction = ""
    invariances: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.value) and not self.reason:
            raise ValueError("an undefined Estimate (NaN) must carry a reason")

    @classmethod
    def undefined(cls, reason: str, **facts) -> Estimate:
        """The NaN that says why."""
        return cls(value=math.nan, reason=reason, **facts)

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"undefined ({self.reason})"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def _repr_html_(self) -> str:
        import html

        return f"<code>{html.escape(str(self))}</code>"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of ``metrics.parquet``: a metric's Estimate and where it was taken.

    With ``model_b`` the value compares two models: a paired difference A - B (on the metric's ``scale``), or a
    similarity.
    """

    metric: str
    family: str
    estimate: Estimate
    model: str
    model_b: str = ""
    hook_point: str = ""
    hook_point_b: str = ""
    position: str = ""
    concept: str = ""
    context: str = ""

    def row(self) -> dict[str, object]:
        place = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "estimate"}
        facts = dataclasses.asdict(self.estimate)
        return {name: place[name] if name in place else facts[name] for name in COLUMNS}


def frame(measurements: Iterable[Measurement]) -> pd.DataFrame:
    """A tidy table, one row a measurement, with the columns ``COLUMNS``."""
    import pandas as pd

    return pd.DataFrame([m.row() for m in measurements], columns=list(COLUMNS))
