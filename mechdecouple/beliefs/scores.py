"""The whole report of the gap from a table of scores: no model and no activations are needed."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mechdecouple.behavior.calibration import ECE_DEBIASED
from mechdecouple.beliefs.gap import METRICS, STATISTICS
from mechdecouple.beliefs.gap_metrics import GAP_METRICS, KNOWLEDGE_METRICS
from mechdecouple.beliefs.gate import ScoreGate, score_gate
from mechdecouple.beliefs.level import CHANNELS, Level, evaluate
from mechdecouple.beliefs.table import ScoreTable, refuse_level
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates, group_bootstrap_weights

if TYPE_CHECKING:
    import pandas as pd

# What a comparison of two models subtracts, beside hidden knowledge.
PAIRED = (
    "auroc_gap", "log_score_gap", "represented_auroc", "expressed_auroc", "claim_correlation", "bullshit_index",
    "kappa", "claim_rate",
)  # fmt: skip
# Statistics that speak of a gap, and are claimed only past the gate.
GATED = ("auroc_gap", "log_score_gap", "bullshit_index", "bullshit_index_normalised", "bullshit_index_excess",
         "hidden_knowledge", "hidden_knowledge_star", "hidden_knowledge_relative")  # fmt: skip
_NULLS = {
    "represented_auroc": 0.5, "expressed_auroc": 0.5, "auroc_gap": 0.0, "log_score_gap": 0.0, "claim_correlation": 0.0,
    "kappa": 0.0, "hidden_knowledge": 0.0, "hidden_knowledge_star": 0.0, "hidden_knowledge_relative": 0.0,
    "knowledge_internal": 0.5, "knowledge_external": 0.5,
}  # fmt: skip
_TESTED = ("auroc_gap", "log_score_gap", "claim_correlation", "kappa", "hidden_knowledge", "hidden_knowledge_star")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GapReport:
    """What is represented against what is expressed, of one model or two, from scores alone.

    Attributes:
        scores: the table; options: resamples, permutations and seed that it was evaluated with.
        honest: stratum in which the truth is asked for; empty where none was declared.
        gates: model → whether a gap of it may be claimed.
        levels: model → stratum → Level; the first stratum is ``""``, all rows.
        paired: the same for a comparison of two models, rows that lack a score in either left out of both.
    """

    scores: ScoreTable
    honest: str
    gates: dict[str, ScoreGate]
    levels: dict[str, dict[str, Level]]
    paired: dict[str, dict[str, Level]]
    options: dict[str, int]

    @property
    def models(self) -> tuple[str, ...]:
        return self.scores.models

    @property
    def strata(self) -> tuple[str, ...]:
        """Strata that verdicts are made of: those of the table, the honest one first, or all rows."""
        named = sorted(self.scores.strata, key=lambda name: name != self.honest)
        return tuple(named) or ("",)

    def label(self, model: str) -> str:
        """The model's name, or ``the model`` where the table gives none."""
        return model or "the model"

    def measurements(self) -> list[Measurement]:
        """Every statistic of every model in every stratum, then the paired differences A − B."""
        own = [row for model in self.models for level in self.levels[model] for row in self._rows(model, level)]
        return [*own, *self.differences()]

    def differences(self) -> list[Measurement]:
        """Paired differences of two models, gap of A − gap of B among them, on identical statements.

        Those of a gap are undefined, with the reason, unless both models pass the gate.
        """
        if len(self.models) < 2:
            return []
        a, b = self.models
        out = []
        for level, mine in self.paired[a].items():
            theirs = self.paired[b][level]
            for name in (*PAIRED, "hidden_knowledge"):
                closed = [self.gates[m].sentence for m in (a, b) if name in GATED and not self.gates[m].passed]
                out.append(
                    Measurement(
                        metric=_metric(name).name, family="beliefs", model=a, model_b=b, context=level,
                        estimate=_difference(name, mine, theirs, closed),
                    )
                )  # fmt: skip
        return out

    def frame(self) -> pd.DataFrame:
        """A tidy table, one row a statistic, model and stratum."""
        return frame(self.measurements())

    @classmethod
    def load(cls, directory: str | Path) -> GapReport:
        """A report that was written: its stored scores, evaluated again with its stored options.

        Raises:
            InputError: the directory holds no gap report.
        """
        folder = Path(directory)
        if not (folder / "gap.json").is_file():
            raise InputError(f"{str(folder)!r} holds no gap.json: name the directory of a gap report")
        facts = json.loads((folder / "gap.json").read_text(encoding="utf-8"))["provenance"]
        table = dataclasses.replace(ScoreTable.read(folder / "scores.parquet"), name=facts["scores"]["name"])
        return gap_from_scores(table, **facts["options"])

    def summary(self) -> str:
        """The verdicts, in sentences with their numbers."""
        from mechdecouple.beliefs.score_verdicts import verdicts

        return "\n".join(f"{verdict.status.upper()}: {verdict.sentence}" for verdict in verdicts(self))

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{html.escape(line)}</li>" for line in self.summary().splitlines())
        table = self.frame()[["metric", "model", "model_b", "concept", "context", "value", "low", "high", "reason"]]
        return f"<ul>{rows}</ul>" + table.to_html(index=False, float_format="{:.3f}".format)

    def _rows(self, model: str, stratum: str) -> Iterator[Measurement]:
        level, gate = self.levels[model][stratum], self.gates[model]

        def row(metric: Metric, estimate: Estimate, concept: str = "") -> Measurement:
            if metric.name in GATED and not gate.passed:
                reason = "; ".join(filter(None, (estimate.reason, gate.sentence)))
                estimate = dataclasses.replace(estimate, reason=reason)
            return Measurement(
                metric=metric.name, family=metric.family, estimate=estimate, model=model, context=stratum,
                concept=concept,
            )  # fmt: skip

        for name in STATISTICS:
            replicates = getattr(level.gap, name)
            facts = _facts(name, replicates)
            if name == "represented_auroc" and stratum == gate.stratum:
                facts["p"] = gate.p
            yield row(METRICS[name], level.gap.estimate(name, METRICS[name], **facts))
        for name in KNOWLEDGE_METRICS:
            yield row(
                KNOWLEDGE_METRICS[name],
                level.knowledge.estimate(name, **_facts(name, getattr(level.knowledge, name))),
            )
        if level.excess is not None:
            reason = level.gap.reasons.get("bullshit_index", "the claims of the honest stratum have no Bullshit index")
            metric = GAP_METRICS["bullshit_index_excess"]
            given = "" if np.isfinite(level.excess.value) else reason
            yield row(metric, level.excess.estimate(metric, null=0.0, p=level.excess.p_differs(0.0), reason=given))
        for given, rate in level.gap.claim_rates.items():
            yield row(METRICS["claim_rate"], rate.estimate(METRICS["claim_rate"]), f"{given} statements")
        yield row(GAP_METRICS["cramers_v"], _cramers_v(level))
        for channel in CHANNELS:
            yield row(ECE_DEBIASED, level.ece[channel], channel)
            for name, value in level.brier[channel].items():
                yield row(GAP_METRICS[f"brier_{name}"], value, channel)


def gap_from_scores(
    scores: ScoreTable | pd.DataFrame | str | Path,
    *,
    honest: str = "",
    n_resamples: int = 1000,
    n_permutations: int = 200,
    seed: int = 0,
) -> GapReport:
    """Everything that scores alone can say of the gap, stratum by stratum, with its gate.

    One bootstrap plan over groups serves all models and strata, so what they share cancels in differences.

    Args:
        scores: a table as :class:`ScoreTable` reads it. Represented scores are taken as given: they must come from
            groups that their probe was not fitted on, and their intervals leave out what refitting it would change.
        honest: stratum in which the model is asked for the truth; the gate is asked there, and the Bullshit index of
            other strata is set against it. A stratum called ``honest`` by default, else the gate is asked on all rows.

    Raises:
        InputError: the table cannot be used, or ``honest`` is no stratum of it.

    Example:
        >>> import pandas as pd
        >>> truth = np.tile([1, 0], 50)
        >>> table = pd.DataFrame({"id": range(100), "group": np.arange(100) // 2, "truth": truth})
        >>> found = gap_from_scores(table.assign(represented=0.1 + 0.8 * truth, expressed=0.8))
        >>> round(found.levels[""][""].gap.auroc_gap.value, 3)
        0.5
    """
    table = scores if isinstance(scores, ScoreTable) else ScoreTable.read(scores)
    for name, number, least in (("n_resamples", n_resamples, 100), ("n_permutations", n_permutations, 19)):
        if number < least:
            raise InputError(f"{name} is {number}: expected at least {least} for an interval or a p-value of 95 %")
    refuse_level(table, honest)
    honest = honest or ("honest" if "honest" in table.strata else "")
    own = {model: table.of(model) for model in table.models}
    first = own[table.models[0]]
    weights = group_bootstrap_weights(np.asarray(first.group), n_resamples, seed)

    def evaluated(rows: pd.DataFrame) -> dict[str, Level]:
        return evaluate(rows, ("", *table.strata), honest, weights, seed)

    levels = {model: evaluated(rows) for model, rows in own.items()}
    paired = levels
    if len(own) == 2:
        a, b = own.values()
        columns = ["represented", "expressed", "claim"]
        of_a, of_b = (np.asarray(rows[columns].isna()) for rows in (a, b))
        lacking = of_a | of_b
        if (of_a != of_b).any():
            both = {model: rows.assign(**rows[columns].mask(lacking)) for model, rows in own.items()}
            paired = {model: evaluated(rows) for model, rows in both.items()}

    def gate(rows: pd.DataFrame) -> ScoreGate:
        asked = rows.loc[rows.stratum == honest] if honest else rows
        return score_gate(
            asked.group, asked.truth, asked.represented, n_permutations=n_permutations, seed=seed, stratum=honest
        )

    return GapReport(
        scores=table,
        honest=honest,
        gates={model: gate(rows) for model, rows in own.items()},
        levels=levels,
        paired=paired,
        options={"n_resamples": n_resamples, "n_permutations": n_permutations, "seed": seed},
    )


def _metric(name: str) -> Metric:
    return KNOWLEDGE_METRICS[name] if name in KNOWLEDGE_METRICS else METRICS[name]


def _facts(name: str, replicates: Replicates) -> dict[str, float]:
    facts = {"null": _NULLS[name]} if name in _NULLS else {}
    return facts | ({"p": replicates.p_differs(0.0)} if name in _TESTED else {})


def _difference(name: str, mine: Level, theirs: Level, closed: list[str]) -> Estimate:
    of = "knowledge" if name in KNOWLEDGE_METRICS else "gap"
    a, b = getattr(mine, of), getattr(theirs, of)
    why = next((x.reasons[name] for x in (a, b) if np.isnan(getattr(x, name).value)), "") or " ".join(closed)
    metric = _metric(name)
    n = min(getattr(x, name).n for x in (a, b))
    if why:
        return Estimate.undefined(why, n=n, unit="groups", direction=metric.direction)
    paired = getattr(a, name) - getattr(b, name)
    limit = a.reasons.get(name) or b.reasons.get(name) or ""
    return paired.estimate(metric.contrasted(), null=0.0, p=paired.p_differs(0.0), reason=limit)


def _cramers_v(level: Level) -> Estimate:
    value, n = level.gap.cramers_v, level.gap.claim_rate.n
    if np.isnan(value):
        return Estimate.undefined(level.gap.reasons.get("claim_rate") or "claims or truth are constant", unit="groups")
    return Estimate(value=value, n=n, unit="groups", reason="no interval: resampling itself raises it")
