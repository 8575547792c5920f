"""Protocol: a represented belief with every control that its reading rests on, and what may be claimed of it."""

from __future__ import annotations

import dataclasses
import html
from functools import cached_property
from typing import TYPE_CHECKING

from mechdecouple.beliefs.protocol import controls
from mechdecouple.beliefs.protocol.auroc import READ_AUROC
from mechdecouple.beliefs.protocol.statement import Claim, claims, verdict
from mechdecouple.beliefs.protocol.transfer import LEFT_OUT_AUROC, TRANSFER_AUROC
from mechdecouple.beliefs.represent import Represented
from mechdecouple.probes import PROBE_SELECTIVITY
from mechdecouple.results import Estimate, Measurement, Metric, frame

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Protocol:
    """What one model represents as true, and what else could explain it. AUROCs compare statements within a fold.

    Attributes:
        represented: the out-of-fold belief with its choice of hook point, probe and penalty and its permutation null.
        auroc: of that belief on honest statements; p is the permutation's.
        strata: (stratum, level) → AUROC of honest statements of that level (contexts among them).
        conditions: level → AUROC of the belief under that condition, read by probes of the honest one.
        matrix: (train context, test context) → AUROC on unseen groups; empty without contexts.
        left_out: context → AUROC there of a read-out chosen and fitted in the others.
        selectivity: accuracy on the truth minus that on random labels of the same types of item.
        correlations: surface feature → Spearman correlation with the belief.
        surface: surface feature → its own AUROC.
        deciles: surface feature → AUROC of the belief within its deciles.
        identity: "context", "condition" → how well their levels are told apart at the hook point of the belief.
        baselines: "layer 0", "untrained" → AUROC of the same selection there; beyond: the paired difference to them.
    """

    represented: Represented
    auroc: Estimate
    strata: dict[tuple[str, str], Estimate]
    conditions: dict[str, Estimate]
    matrix: dict[tuple[str, str], Estimate]
    left_out: dict[str, Estimate]
    selectivity: Estimate
    correlations: dict[str, Estimate]
    surface: dict[str, Estimate]
    deciles: dict[str, Estimate]
    identity: dict[str, Estimate]
    baselines: dict[str, Estimate]
    beyond: dict[str, Estimate]
    model: str = ""

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """What may be claimed, what may not, and what was not checked: one Claim a control."""
        return claims(self)

    @property
    def passed(self) -> bool:
        """Whether the belief may be called represented: no control that was run speaks against it."""
        return not self.represented.reason and all(claim.holds is not False for claim in self.claims)

    @property
    def verdict(self) -> str:
        """What may be claimed, in one sentence; its limits; what was left open."""
        return verdict(self)

    @property
    def statement(self) -> str:
        """The verdict, then every claim in plain words, one sentence a control."""
        return " ".join([self.verdict, *(claim.sentence for claim in self.claims)])

    def generalisation(self) -> pd.DataFrame:
        """AUROC by train context (rows) × test context (columns), with the row ``all others`` of those left out."""
        import pandas as pd

        names = list(self.left_out)
        table = pd.DataFrame(
            [[self.matrix[a, b].value for b in names] for a in names], pd.Index(names, name="train"), names
        )
        if names:
            table.loc["all others"] = [self.left_out[b].value for b in names]
        table.columns.name = "test"
        return table

    def measurements(self) -> list[Measurement]:
        """Every number of the report, a row each."""
        at = self.represented.hook_point

        def row(metric: Metric, estimate: Estimate, hook_point: str = at, **place: str) -> Measurement:
            return Measurement(
                metric=metric.name,
                family=metric.family,
                estimate=estimate,
                model=self.model,
                hook_point=hook_point,
                **place,
            )

        found = [row(READ_AUROC, self.auroc)]
        found += [row(READ_AUROC, e, concept=stratum, context=level) for (stratum, level), e in self.strata.items()]
        found += [row(READ_AUROC, e, concept="condition", context=level) for level, e in self.conditions.items()]
        found += [row(TRANSFER_AUROC, e, "", concept=f"trained on {a}", context=b) for (a, b), e in self.matrix.items()]
        found += [row(LEFT_OUT_AUROC, e, "", context=name) for name, e in self.left_out.items()]
        found += [row(PROBE_SELECTIVITY, self.selectivity)]
        for metric, table, where in (
            (controls.SURFACE_CORRELATION, self.correlations, at),
            (controls.SURFACE_AUROC, self.surface, ""),
            (controls.WITHIN_DECILES_AUROC, self.deciles, at),
            (controls.IDENTITY_AUROC, self.identity, at),
            (READ_AUROC, self.baselines, ""),
            (controls.BEYOND_AUROC, self.beyond, at),
        ):
            found += [row(metric, estimate, where, concept=name) for name, estimate in table.items()]
        return found

    def frame(self) -> pd.DataFrame:
        """``measurements`` as a tidy table."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        marks = {True: "yes", False: "no", None: "not checked"}
        rows = "".join(
            f"<tr><td>{html.escape(claim.question)}</td><td>{marks[claim.holds]}</td>"
            f"<td>{html.escape(claim.sentence)}</td></tr>"
            for claim in self.claims
        )
        head = "<tr><th>claim</th><th>holds</th><th>why</th></tr>"
        parts = [f"<p>{html.escape(self.verdict)}</p>", f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"]
        if self.left_out:
            parts.append("<p>AUROC by training context (rows) and test context (columns):</p>")
            parts.append(self.generalisation().to_html(float_format="{:.3f}".format, na_rep="undefined"))
        return "".join(parts)
