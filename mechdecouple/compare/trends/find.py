"""trends: how measures move along runs of checkpoints: where structure changes, and whether accuracy does too."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.compare.trends.events import Event, drifting, find_events
from mechdecouple.compare.trends.series import PLACE, Series, make_series
from mechdecouple.compare.trends.trend import Change, Trend, find_trends
from mechdecouple.errors import InputError
from mechdecouple.stats import benjamini_hochberg
from mechdecouple.stats.change_points import FEWEST

COLUMNS = (
    *PLACE, "kind", "step_before", "step_after", "step_low", "step_high", "before", "after", "difference",
    "difference_low", "difference_high", "drift", "p", "p_adjusted", "p_drift", "p_drift_adjusted", "n", "reason",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Trends:
    """What every measure does along every run of checkpoints.

    Attributes:
        all: one a series; margin: the largest difference of performance that still counts as none.
        notes: what is in no series, and why.
    """

    all: tuple[Trend, ...]
    margin: float
    alpha: float
    notes: tuple[str, ...] = ()

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Where measures jump, those of one place together."""
        return tuple(find_events(self.all, self.margin))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said."""
        said = [*(event.sentence for event in self.events), *drifting(self.all)]
        tested = sum(trend.kind != "undefined" for trend in self.all)
        nothing = f"No measure is shown to jump or drift ({tested} series were tested)."
        if not tested:
            nothing = f"No series has the {FEWEST} checkpoints or more that change points take."
        return tuple(said) or (nothing,)

    def trend(self, metric: str, **place: str) -> Trend:
        """The trend of a metric; ``hook_point``, ``concept``, ``run`` … where it has several.

        Raises:
            InputError: there is none, or more than one.
        """
        wanted = {"metric": metric, **place}
        found = [t for t in self.all if all(getattr(t.series, name) == value for name, value in wanted.items())]
        if len(found) != 1:
            known = ", ".join(dict.fromkeys(t.series.metric for t in self.all))
            mend = f"name more of {', '.join(PLACE)}" if found else f"there are {known}"
            raise InputError(f"{len(found)} series answer to {wanted}: {mend}")
        return found[0]

    def frame(self) -> pd.DataFrame:
        """One row a jump, or a series without one (columns: ``COLUMNS``)."""
        rows = [row for trend in self.all for row in _rows(trend)]
        steps = dict.fromkeys([name for name in COLUMNS if name.startswith("step_")], "Int64")
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(steps)

    def summary(self) -> str:
        """What may be said, as plain text."""
        return "\n".join([*self.sentences, *(f"(note) {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<Trends of {len(self.all)} series: {len(self.events)} places of change>"

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(text)}</li>" for text in (*self.sentences, *self.notes))
        table = self.frame().query("kind == 'jumps'").drop(columns=["job", "kind", "reason", "position", "context"])
        return f"<ul>{said}</ul>" + (table.head(20).to_html(index=False, float_format="%.3g") if len(table) else "")


def trends(
    results: Any, *, order: Sequence[str] | None = None, metrics: Sequence[str] | None = None, margin: float = 0.02,
    alpha: float = 0.05, seed: int = 0,
) -> Trends:  # fmt: skip
    """Find where the measures of a run of checkpoints jump, which drift, and whether performance moves with them.

    The order is that of the steps that the models' names hold (``step-1000``, ``org/name@step1000``); models that share
    all but the step are a run. See ``mechdecouple.stats.change_points`` for the test, which tells jumps from drift and
    from noise that wanders. A jump must also be larger than the intervals of the values allow. p-values are adjusted
    over all series (Benjamini-Hochberg). Distances between checkpoints count as equal, whatever lies between them.

    Args:
        results: what ``mechdecouple.open_results`` gives, or a table with its columns.
        order: references in order, where names hold no step.
        metrics: of which to look for trends; all when absent. Fewer series leave more power for each.
        margin: largest difference of performance that still counts as none.
        alpha: level of the tests.
        seed: of the draws of the null.

    Raises:
        InputError: a metric or a model of ``order`` that is not there.

    Example:
        >>> print(trends(open_results("runs/sweep")).summary())  # doctest: +SKIP
    """
    table: Any = results if isinstance(results, pd.DataFrame) else results.frame()
    if metrics is not None:
        known = list(dict.fromkeys(table.metric))
        strange = next((name for name in metrics if name not in known), None)
        if strange is not None:
            raise InputError(f"metric {strange!r} is not among the results; there are {', '.join(known)}")
        table = table[table.metric.isin(list(metrics))]
    series, notes = make_series(table, order)
    found = adjusted(find_trends(series, alpha, seed), alpha)
    return Trends(tuple(found), margin, alpha, tuple(notes))


def adjusted(found: Sequence[Trend], alpha: float) -> list[Trend]:
    """The same with p-values over all series, and with what these leave to be said."""
    p, p_drift = (benjamini_hochberg(np.array([getattr(t, n) for t in found], float)) for n in ("p", "p_drift"))
    out = []
    for trend, jump, drift in zip(found, p, p_drift, strict=True):
        facts: dict[str, Any] = {"p_adjusted": float(jump), "p_drift_adjusted": float(drift), "changes": ()}
        if trend.kind != "undefined":
            changes = tuple(change for change in trend.changes if change.p <= alpha)
            if jump <= alpha and changes:
                facts |= {"kind": "jumps", "changes": changes}
            elif drift <= alpha:
                facts["kind"] = "drifts"
        out.append(dataclasses.replace(trend, **facts))
    return out


def _rows(trend: Trend) -> list[dict[str, Any]]:
    series = trend.series
    common: dict[str, Any] = {name: getattr(series, name) for name in PLACE}
    names = ("kind", "p", "p_adjusted", "p_drift", "p_drift_adjusted", "drift", "reason")
    common |= {name: getattr(trend, name) for name in names} | {"n": len(series.defined)}
    if not trend.changes:
        return [common]
    return [common | _place(series, change) | _size(change) for change in trend.changes]


def _place(series: Series, change: Change) -> dict[str, int]:
    ends = {"before": change.last, "after": change.first, "low": change.low, "high": change.high}
    return {f"step_{name}": int(series.steps[i]) for name, i in ends.items()}


def _size(change: Change) -> dict[str, float]:
    names = ("before", "after", "difference", "difference_low", "difference_high")
    return {name: getattr(change, name) for name in names}
