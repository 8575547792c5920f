"""The equal-accuracy gate of many runs: before their insides are compared, whether all of them perform alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from mechdecouple import stats
from mechdecouple.behavior import Answers
from mechdecouple.compare.gate import PERFORMANCE, Gate, Outcome, equal_performance
from mechdecouple.results import Measurement
from mechdecouple.tasks import Task


@dataclasses.dataclass(frozen=True)
class ManyGate:
    """Whether all runs perform alike on the same items, pair by pair.

    Attributes:
        outcome: ``equal`` (equality is shown for every pair: as all must pass, each is tested at the full level),
            ``different`` (some pair differs after Holm's correction over pairs), ``chance`` (no pair is told apart and
            none above chance), ``unknown`` (a run expresses no answers), else ``undecided``.
        unit, margin: what performance is measured in, and the largest difference that counts as equal, in that unit.
        n_pairs, n_equal: pairs of runs, and those shown to be equal.
        worst: the pair for which equality is least supported; sentence: the outcome in words.
        runs, pairs: performance of every run, and the paired difference of every two.
    """

    outcome: Outcome
    unit: str
    margin: float
    n_pairs: int
    n_equal: int
    worst: tuple[str, str]
    sentence: str
    runs: tuple[Measurement, ...] = ()
    pairs: tuple[Measurement, ...] = ()


def all_equal(answers: Mapping[str, Answers], task: Task, *, margin: float, alpha: float) -> ManyGate:
    """Hold the performance of every run against that of every other (see :func:`equal_performance`)."""
    gates = {
        (a, b): equal_performance(
            answers[a], answers[b], task, margin=margin, alpha=alpha, name_a=a, name_b=b
        )
        for a, b in combinations(answers, 2)
    }  # fmt: skip
    worst = max(gates, key=lambda pair: _doubt(gates[pair]))
    outcome = _outcome(list(gates.values()), alpha)
    n_equal = sum(gate.outcome == "equal" for gate in gates.values())
    first = {a: gate.a for (a, _), gate in reversed(gates.items())}
    first |= {b: gate.b for (_, b), gate in gates.items() if b not in first}
    gate = gates[worst]
    return ManyGate(
        outcome=outcome,
        unit=gate.unit,
        margin=margin,
        n_pairs=len(gates),
        n_equal=n_equal,
        worst=worst,
        sentence=_sentence(outcome, gate, len(answers), len(gates), n_equal),
        runs=tuple(
            Measurement(metric=PERFORMANCE.name, family=PERFORMANCE.family, estimate=first[name], model=name)
            for name in answers
        ),
        pairs=tuple(
            Measurement(
                metric=PERFORMANCE.name, family=PERFORMANCE.family, estimate=gate.difference, model=a, model_b=b
            )
            for (a, b), gate in gates.items()
        ),
    )


def _doubt(gate: Gate) -> tuple[int, float, float]:
    """How little the equality of a pair is supported."""
    rank = {"unknown": 2, "equal": 0}.get(gate.outcome, 1)
    size = abs(gate.difference.value)
    return rank, gate.p_equal if math.isfinite(gate.p_equal) else 1.0, size if math.isfinite(size) else math.inf


def _outcome(gates: list[Gate], alpha: float) -> Outcome:
    outcomes = {gate.outcome for gate in gates}
    if "unknown" in outcomes:
        return "unknown"
    if outcomes == {"equal"}:
        return "equal"
    adjusted = stats.holm(np.array([gate.p_different for gate in gates], dtype=float))
    if any(g.outcome == "different" and p < alpha for g, p in zip(gates, adjusted, strict=True)):
        return "different"
    return "chance" if outcomes == {"chance"} else "undecided"


def _sentence(outcome: Outcome, worst: Gate, n_runs: int, n_pairs: int, n_equal: int) -> str:
    unit, margin = worst.unit, f"{worst.margin:g}"
    head = {
        "equal": f"All {n_runs} runs are equal in {unit} within {margin}, each of {n_pairs} pairs tested",
        "different": f"Not all {n_runs} runs are equal in {unit}: {n_equal} of {n_pairs} pairs are, within {margin}, "
        "and some differ after Holm's correction over pairs",
        "chance": f"None of {n_runs} runs is above chance in {unit}",
        "unknown": f"Whether the {n_runs} runs perform alike is unknown",
        "undecided": f"Equality in {unit} within {margin} is shown for {n_equal} of {n_pairs} pairs of the {n_runs} "
        "runs and left open for the others",
    }[outcome]
    return f"{head}. The least supported pair: {worst.sentence[:1].lower()}{worst.sentence[1:]}"
