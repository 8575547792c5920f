"""The equal-accuracy gate: before the inside of two models is spoken of, whether they perform alike."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
from scipy import stats as sps

from mechdecouple import stats
from mechdecouple.behavior import Answers
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.tasks import Task

Outcome = Literal["equal", "different", "undecided", "chance", "unknown"]

PERFORMANCE = Metric(
    name="performance",
    family="behavior",
    title="performance",
    range="[0, 1] or nats",
    measures="mean score over honest-condition items, in the unit the task declares",
    null="chance level of the task",
    invariances="any change inside that leaves the answers",
)
AGREEMENT = Metric(
    name="agreement",
    family="behavior",
    title="agreement on items",
    range="[0, 1]",
    measures="share of items on which both models give the same answer",
    null="with two options: agreement of two models that err independently at these rates",
)


@dataclasses.dataclass(frozen=True)
class Stratum:
    """The gate within one level of the task's ``context``."""

    name: str
    outcome: Outcome
    a: float
    b: float
    difference: Estimate


@dataclasses.dataclass(frozen=True)
class Gate:
    """Whether two models perform alike on the same items.

    Attributes:
        outcome: ``equal`` (TOST rejects a difference as large as ``margin``), ``different`` (the interval of the
            difference leaves out 0 and equality is not shown), ``undecided`` (neither; the data do not suffice),
            ``chance`` (neither model is above chance and they are not told apart, so equality says nothing),
            ``unknown`` (a model expresses no answers).
        unit: what the scores are measured in (``accuracy``, ``nats per token`` …); ``margin`` is in this unit.
        a, b: performance of each; difference: A - B, paired, with its 95 % interval.
        p_equal: p of the two one-sided tests; p_different: exact McNemar (its score form with counts divided by the
            design effect where groups repeat; paired t for scores that are not 0/1).
        supported_margin: the smallest margin that this many items could have supported at 90 % power.
        chance: performance of guessing (NaN where there is none).
        agreement: share of items answered alike; its null is agreement of independent errors.
        sentence: the outcome in words.
    """

    outcome: Outcome
    unit: str
    margin: float
    a: Estimate
    b: Estimate
    difference: Estimate
    p_equal: float
    p_different: float
    supported_margin: float
    chance: float
    agreement: Estimate
    strata: tuple[Stratum, ...]
    sentence: str

    def measurements(self, name_a: str, name_b: str) -> list[Measurement]:
        place = {"metric": PERFORMANCE.name, "family": PERFORMANCE.family}
        return [
            Measurement(**place, estimate=self.a, model=name_a),
            Measurement(**place, estimate=self.b, model=name_b),
            Measurement(**place, estimate=self.difference, model=name_a, model_b=name_b),
            Measurement(
                metric=AGREEMENT.name, family=AGREEMENT.family, estimate=self.agreement, model=name_a, model_b=name_b
            ),
            *(
                Measurement(**place, estimate=s.difference, model=name_a, model_b=name_b, context=s.name)
                for s in self.strata
            ),
        ]


def gate_rows(task: Task) -> np.ndarray:
    """Rows on which performance is compared [n] bool: asked honestly, not of the shift split, held out if declared."""
    rows = task.honest_mask & ~task.shift_mask
    if task.split is not None and (task.split == "test").any():
        rows &= task.split == "test"
    return rows


def equal_performance(
    a: Answers, b: Answers, task: Task, *, margin: float, alpha: float = 0.05, name_a: str = "A", name_b: str = "B"
) -> Gate:
    """Decide whether A and B perform alike on ``task``.

    Equality is shown by two one-sided tests on paired per-item scores, never by the absence of a significant
    difference. For 0/1 scores the interval is Tango's (1998) score interval with an effective sample size for groups;
    otherwise a cluster-robust paired t interval.
    """
    rows = gate_rows(task) & np.isfinite(a.score) & np.isfinite(b.score)
    if a.reason or b.reason or not rows.any():
        return _unknown(a.unit, margin, a.reason or b.reason or "no honest-condition item has a score in both models")
    score_a, score_b, groups = a.score[rows], b.score[rows], task.groups[rows]
    if len(np.unique(groups)) < 2:
        return _unknown(
            a.unit, margin, "all scored items belong to one group, so nothing independent is left to compare"
        )
    test = stats.paired_tost(score_a, score_b, groups, margin, alpha)
    mean_a, mean_b = _mean(score_a, groups), _mean(score_b, groups)
    outcome = _outcome(test, mean_a, mean_b, a.chance)
    binary = bool(np.isfinite(test.discordance))
    spread = test.discordance if binary else float(np.var(score_a - score_b))
    supported = stats.supported_margin(spread, test.n / test.design_effect, alpha, binary=binary)
    p_different = _p_different(test)
    strata = tuple(
        _stratum(level, score_a[here], score_b[here], groups[here], margin, alpha, a.chance)
        for level, here in _levels(task, rows)
    )
    gate = Gate(
        outcome=outcome,
        unit=a.unit,
        margin=margin,
        a=mean_a,
        b=mean_b,
        difference=_difference(test, p_different),
        p_equal=test.p,
        p_different=p_different,
        supported_margin=supported,
        chance=a.chance,
        agreement=_agreement(a, b, task, rows),
        strata=strata,
        sentence="",
    )
    return dataclasses.replace(gate, sentence=_sentence(gate, name_a, name_b))


def _outcome(test: stats.TostResult, a: Estimate, b: Estimate, chance: float) -> Outcome:
    # One model at chance and one far below it differ; of two that do not, equality would say nothing.
    if np.isfinite(chance) and a.low <= chance and b.low <= chance and not test.differs:
        return "chance"
    if test.equal:
        return "equal"
    return "different" if test.differs else "undecided"


def _mean(score: np.ndarray, groups: np.ndarray) -> Estimate:
    """Mean score; for 0/1 scores Wilson's interval at the effective sample size that the groups leave."""
    n, (_, group) = len(score), np.unique(groups, return_inverse=True)
    n_groups, mean = int(group.max()) + 1, float(score.mean())
    sums = np.bincount(group, score - mean)
    variance = n_groups / (n_groups - 1) * float(sums @ sums) / n**2
    if np.isin(score, (0.0, 1.0)).all():
        effective = min(n, mean * (1 - mean) / variance) if variance > 0 else n_groups
        low, high = stats.wilson(mean * effective, effective)
        method = "Wilson" if n_groups == n else "Wilson at the effective sample size of groups"
    else:
        half = float(sps.t.ppf(0.975, n_groups - 1)) * math.sqrt(variance)
        low, high, method = mean - half, mean + half, "t, cluster-robust by group"
    return Estimate(value=mean, low=low, high=high, method=method, n=n_groups, unit="groups")


def _difference(test: stats.TostResult, p: float) -> Estimate:
    return Estimate(
        value=test.difference,
        low=test.low95,
        high=test.high95,
        method=test.method,
        null=0.0,
        p=p,
        n=test.n_groups,
        unit="groups",
    )


def _p_different(test: stats.TostResult) -> float:
    df = test.n_groups - 1
    if np.isfinite(test.discordance):
        if test.n_groups == test.n:
            return stats.exact_mcnemar(int(test.only_a), int(test.only_b))
        discordant = (test.only_a + test.only_b) * test.design_effect
        score = abs(test.only_a - test.only_b) / math.sqrt(discordant) if discordant else 0.0
        return float(2 * sps.t.sf(score, df))
    se = (test.high95 - test.low95) / 2 / float(sps.t.ppf(0.975, df))
    if se == 0:
        return 1.0 if test.difference == 0 else 0.0
    return float(2 * sps.t.sf(abs(test.difference) / se, df))


def _levels(task: Task, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if task.context is None:
        return []
    context = task.context[rows]
    return [(str(level), context == level) for level in np.unique(context)]


def _stratum(
    level: str, a: np.ndarray, b: np.ndarray, groups: np.ndarray, margin: float, alpha: float, chance: float
) -> Stratum:
    if len(np.unique(groups)) < 2:
        nothing = Estimate.undefined("fewer than two groups in this stratum", n=len(np.unique(groups)), unit="groups")
        return Stratum(level, "unknown", float(a.mean()), float(b.mean()), nothing)
    test = stats.paired_tost(a, b, groups, margin, alpha)
    outcome = _outcome(test, _mean(a, groups), _mean(b, groups), chance)
    return Stratum(level, outcome, float(a.mean()), float(b.mean()), _difference(test, _p_different(test)))


def _agreement(a: Answers, b: Answers, task: Task, rows: np.ndarray) -> Estimate:
    if a.answer_text is None or b.answer_text is None:
        return Estimate.undefined("performance is not read from answers here, so there are none to agree on")
    said_a, said_b = a.answer_text[rows], b.answer_text[rows]
    same = _mean((said_a == said_b).astype(float), task.groups[rows])
    null, reason = math.nan, "no null: with more than two options, two wrong answers need not be the same"
    if a.correct is not None and b.correct is not None and _n_options(a, task) <= 2:
        right_a, right_b = a.correct[rows].mean(), b.correct[rows].mean()
        null = float(right_a * right_b + (1 - right_a) * (1 - right_b))
        reason = "the null is agreement in being right or wrong, if errors were independent"
    return dataclasses.replace(same, null=null, reason=reason)


def _n_options(answers: Answers, task: Task) -> float:
    if task.choices is not None:
        return max(len(options) for options in task.choices)
    return math.inf if answers.prob is None else answers.prob.shape[1]


def _unknown(unit: str, margin: float, reason: str) -> Gate:
    nothing = Estimate.undefined(reason)
    return Gate(
        outcome="unknown",
        unit=unit,
        margin=margin,
        a=nothing,
        b=nothing,
        difference=nothing,
        p_equal=math.nan,
        p_different=math.nan,
        supported_margin=math.nan,
        chance=math.nan,
        agreement=nothing,
        strata=(),
        sentence=f"Whether the models perform alike is unknown: {reason}.",
    )


def _sentence(gate: Gate, name_a: str, name_b: str) -> str:
    scores = (
        f"{name_a} {gate.a.value:.3f} [{gate.a.low:.3f}, {gate.a.high:.3f}], "
        f"{name_b} {gate.b.value:.3f} [{gate.b.low:.3f}, {gate.b.high:.3f}] ({gate.unit})"
    )
    d = gate.difference
    difference = f"paired difference {d.value:+z.3f} [{d.low:+z.3f}, {d.high:+z.3f}]"
    match gate.outcome:
        case "equal":
            head = f"Equal in {gate.unit} within {gate.margin:g}"
            tail = f"{difference}, two one-sided tests p = {gate.p_equal:.2g}."
            if gate.p_different < 0.05:
                tail += f" A difference smaller than the margin is there (p = {gate.p_different:.2g})."
        case "different":
            head, tail = f"Different in {gate.unit}", f"{difference}, p = {gate.p_different:.2g}."
        case "chance":
            at_chance = min(gate.a.high, gate.b.high) >= gate.chance
            head = "Both at chance" if at_chance else "Neither is above chance"
            tail = f"neither beats the chance level {gate.chance:.3f}, so equal scores say nothing about equal ability."
        case _:
            head = f"Neither equal within {gate.margin:g} nor different"
            tail = f"{difference}; these items could have supported a margin of {gate.supported_margin:.3f}."
    # Among many contexts some differ by luck alone: Holm's correction over them.
    adjusted = stats.holm(np.array([s.difference.p for s in gate.strata], dtype=float))
    unequal = [s.name for s, p in zip(gate.strata, adjusted, strict=True) if s.outcome == "different" and p < 0.05]
    if unequal:
        tail += f" By context they differ in: {', '.join(unequal)}."
    return f"{head}: {scores}; {tail}"
