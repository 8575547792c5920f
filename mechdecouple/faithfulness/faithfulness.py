"""Faithfulness: how well explanations of a model's answers tell what the answers depend on."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mechdecouple.errors import InputError
from mechdecouple.faithfulness.curves import Curve
from mechdecouple.faithfulness.erasure import (
    AOPC_COMPREHENSIVENESS,
    AOPC_SUFFICIENCY,
    BINS,
    COMPREHENSIVENESS,
    SUFFICIENCY,
)
from mechdecouple.faithfulness.masf import LEVEL, MASF_RATE
from mechdecouple.faithfulness.racu import RACU
from mechdecouple.faithfulness.recovery import RATIONALE_AUROC
from mechdecouple.faithfulness.unlike import Unlike
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates, holm

SCORES = ("probability", "correct")
"""What masking curves are read in: probability of the chosen option, and whether the right one is the likeliest."""


@dataclasses.dataclass(frozen=True, eq=False)
class Faithfulness:
    """Explanations of one model on n items, and how far they hold.

    Attributes:
        name: the model. ids, groups: [n] the items and their unit of resampling.
        maskable: [n, t] the features. masked: what is done to those that are masked.
        attributions: explanation -> [n, t]; NaN where there is no feature.
        curves: explanation -> masking curve; random: masking at random, mean over draws.
        comprehensiveness, sufficiency: [m + 1, b] by explanation and size of the rationale (`erasure.BINS`), the last
            row of rationales drawn at random.
        racu: [2, m] by score (``SCORES``) and explanation.
        unlike: whether items masked at random look unlike known ones, at each ratio.
        recovered: [m] how well known features are ranked first, where they are declared.
        limits: what bounds these numbers.
        passes: item passes it took.
    """

    name: str
    ids: np.ndarray
    groups: np.ndarray
    maskable: Bool[np.ndarray, "n t"]
    masked: str
    attributions: Mapping[str, Float[np.ndarray, "n t"]]
    curves: Mapping[str, Curve]
    random: Curve
    comprehensiveness: Replicates
    sufficiency: Replicates
    racu: Replicates
    unlike: Unlike
    recovered: Replicates | None
    limits: tuple[str, ...]
    passes: int

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.attributions)

    def score(self, metric: Metric, methods: Sequence[str] | None = None) -> Replicates:
        """The mean over explanations (all, or some) of RACU in probability, or of comprehensiveness or sufficiency over
        sizes.

        Raises:
            InputError: an explanation that was not made.
        """
        values = self.racu[0] if metric is RACU else self._aopc(metric)
        chosen = self.methods if methods is None else tuple(methods)
        if missing := [method for method in chosen if method not in self.methods]:
            raise InputError(
                f"{missing[0]!r} was not measured on {self.name!r}; choose among {', '.join(self.methods)}"
            )
        return Replicates.mean([values[self.methods.index(method)] for method in chosen])

    def measurements(self) -> list[Measurement]:
        """One row a metric and explanation (``concept``); ``context`` holds sizes, ratios and scores."""
        rows = []
        for metric in (AOPC_COMPREHENSIVENESS, AOPC_SUFFICIENCY):
            rows += self._rows(metric, self._aopc(metric))
        for metric, values in ((COMPREHENSIVENESS, self.comprehensiveness), (SUFFICIENCY, self.sufficiency)):
            for size, share in enumerate(BINS):
                rows += self._rows(metric, values[:, size], f"top {share:.0%}")
        for score, values in zip(SCORES, self.racu, strict=True):
            p = holm(np.array([v.p_above(0.0) for v in values], float))
            for method, value, of_method in zip(self.methods, values, p, strict=True):
                rows.append(self._row(RACU, _racu(value, float(of_method)), method, score))
        for i, ratio in enumerate(self.random.ratios):
            rows.append(self._row(MASF_RATE, self._masf(i), "", f"{ratio:.0%} masked at random"))
        for i, method in enumerate(self.methods if self.recovered is not None else ()):
            assert self.recovered is not None
            value = self.recovered[i]
            rows.append(self._row(RATIONALE_AUROC, _auroc(value), method))
        return rows

    def frame(self) -> pd.DataFrame:
        """One row a measurement (columns: ``mechdecouple.results.COLUMNS``)."""
        return frame(self.measurements())

    def items(self) -> pd.DataFrame:
        """One row a feature: what each explanation says of it."""
        item, column = np.nonzero(self.maskable)
        said = {method: values[item, column] for method, values in self.attributions.items()}
        return pd.DataFrame({"id": self.ids[item], "group": self.groups[item], "feature": column, **said})

    def table(self) -> pd.DataFrame:
        """One row an explanation: RACU, comprehensiveness and sufficiency over sizes."""
        parts = {"racu": self.racu[0], "aopc_comprehensiveness": self._aopc(AOPC_COMPREHENSIVENESS)}
        parts["aopc_sufficiency"] = self._aopc(AOPC_SUFFICIENCY)
        rows = []
        for i, method in enumerate((*self.methods, "random")):
            row: dict[str, object] = {"explanation": method}
            for name, values in parts.items():
                own = values[i] if i < len(values) else None
                low, high = (math.nan, math.nan) if own is None else own.interval()
                row |= {name: 0.0 if own is None else own.value, f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """What was found, and its limits, one sentence a line."""
        names, values = self.methods, np.asarray(self.racu.value)[0]
        if np.isnan(values).all():
            said = f"{self.name}: {_FLAT}."
        else:
            best = int(np.nanargmax(values))
            said = (
                f"{self.name}: {names[best].replace('_', ' ')} tells best what answers depend on (RACU "
                f"{self.racu[0, best].estimate(RACU)}; masking at random is 0)."
            )
        return "\n".join([said, *self.limits])

    def __repr__(self) -> str:
        return f"<Faithfulness of {self.name!r}: {len(self.methods)} explanations of {len(self.ids)} items>"

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(line)}</li>" for line in self.summary().splitlines())
        return f"<ul>{said}</ul>{self.table().to_html(index=False, float_format='%.3f', border=0)}"

    def _aopc(self, metric: Metric) -> Replicates:
        whole = self.comprehensiveness if metric is AOPC_COMPREHENSIVENESS else self.sufficiency
        return Replicates.mean([whole[:, size] for size in range(len(BINS))])

    def _rows(self, metric: Metric, values: Replicates, context: str = "") -> list[Measurement]:
        """Each explanation against rationales of the same size drawn at random."""
        chance, sign = values[len(self.methods)], 1.0 if metric.direction == "higher" else -1.0
        beyond = [(values[i] - chance) * sign for i in range(len(self.methods))]
        p = holm(np.array([b.p_above(0.0) for b in beyond], float))
        rows = []
        for i, method in enumerate(self.methods):
            estimate = values[i].estimate(metric, null=float(chance.value), p=float(p[i]))
            rows.append(self._row(metric, estimate, method, context))
        return rows

    def _masf(self, ratio: int) -> Estimate:
        if self.unlike.rate is None:
            return Estimate.undefined(self.unlike.reason, direction=MASF_RATE.direction)
        rate = self.unlike.rate[ratio]
        return rate.estimate(MASF_RATE, null=LEVEL, p=float(rate.p_above(LEVEL)))

    def _row(self, metric: Metric, estimate: Estimate, concept: str, context: str = "") -> Measurement:
        return Measurement(
            metric=metric.name,
            family=metric.family,
            estimate=estimate,
            model=self.name,
            concept=concept,
            context=context,
        )


_FLAT = "masking everything changes nothing, so there is no area to share"


def _racu(value: Replicates, p: float) -> Estimate:
    if math.isnan(value.value):
        return Estimate.undefined(_FLAT, direction=RACU.direction)
    return value.estimate(RACU, null=0.0, p=p)


def _auroc(value: Replicates) -> Estimate:
    if math.isnan(value.value):
        return Estimate.undefined("no item has both used and unused features", direction=RATIONALE_AUROC.direction)
    return value.estimate(RATIONALE_AUROC, null=0.5, p=float(value.p_above(0.5)))
