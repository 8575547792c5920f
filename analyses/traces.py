"""Traces: a model may write right or wrong steps before its answer, and be right as often.

    python -m analyses run traces [--full] [--out DIR]

A small transformer reads where somebody stayed and when, and is asked where the person was at some time. It knows the
answer, the kind of the question and the stay that it is about, each asked by itself. Then it is trained on with the
same questions and the same right answers in three arms: with right traces before the answer (kind and stay), with wrong
ones (another kind, another stay of the context: legible, and about something else), or with blanks. The study asks, of
questions about pairs of times that no training asked about,

- how accurate each arm is, and whether the gate shows them to be equal;
- how often the traces that models write themselves are right, step by step; how often trace and answer are right
  together (the joint rate), how often the answer is right given a right trace and given a wrong one (the conditional
  rates), and the correlation φ of the two, over questions and among traces drawn for the same question;
- whether an answer follows a trace that is put in the place of the model's own;
- how well small rules name an arm's answers with and without its trace, in the place of people, for whom a blind rating
  sheet is written.

A control is trained from the beginning with right traces before its answers. Quick: three seeds; ``--full``: five.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analyses._arms import Arms, compare_arms
from analyses._models import raw, train_all
from analyses._study import Criterion, Result, Study, column, seed_interval, where
from analyses._traces.draw import draw_traces
from analyses._traces.measures import exchanged, measured, sheet, simulated, texts_of
from analyses._traces.models import Start, Tuned, hooked, tested
from analyses._traces.world import task_of
from mechdecouple.zoo.recipe import RESIDUALS

CLAIM = (
    "Trained with right traces, with wrong ones or with none before the same right answers, a model answers equally "
    "well, and whether its trace is right says little about whether its answer is."
)
SOURCE = "Interpretable Traces, Unexpected Outcomes, 2505.13792"
NOTES = (
    "The 28 % of the paper is a joint rate (.275), and bounded by how often traces are right at all; given a right "
    "trace the answer was right in .572 of cases, given a wrong one in .503, which is a φ of about .07.",
    "φ of single questions also holds what both trace and answer owe to how hard a question is. What is left within a "
    "question, among traces drawn anew, and what happens when the trace is exchanged, tell whether an answer rests on "
    "its trace.",
    "How often traces and answers are right bounds φ (the column phi_most): trained on wrong traces, a model hardly "
    "ever writes a right one, and its φ is small whatever its answers rest on.",
    "The gate resamples pairs of times, and the questions measured are of each pair that no training asks about "
    "equally often. Drawn by kind, as those of the training are, a quarter of them was about nine pairs that are the "
    "same: the gate stayed undecided (half an interval was .05 and more), and φ with right traces was .18.",
    "Small rules that know the right stay tell when a model errs, not how legible a trace is: that is what the rating "
    "sheet asks of people.",
    "In the paper language models are trained on; here the start is a small transformer that has learned to answer, "
    "and to name the kind and the stay, each by itself, whatever words stand before the answer.",
    "Tried, on single runs: starts that never saw words before the answer (φ of .26 to .31 with right traces, and ten "
    "points less accurate with wrong ones); 300 to 10000 questions, 100 to 300 steps, rates of 4e-4 to 3e-3 (φ of .18 "
    "to .22); starts that know the stay less well (φ of .16 to .20, 10 to 19 % of traces right). With three seeds: a "
    "start of 600 steps (φ of .20 to .22, with wrong traces four points less accurate). A second step behind the stay, "
    "from the place to its host, was not learned in 600 steps.",
)
ARMS = ("none", "correct", "wrong")
CONTROL = "from the start"
SEEDS, MARGIN, PHI = 3, 0.05, 0.15
_START = Start("traces-start", "", steps=900, batch_size=64, learning_rate=3e-3)
TUNED: dict[str, Tuned] = {
    arm: Tuned(f"traces-{arm}", "", start=_START, arm=arm, steps=150, batch_size=64)
    for arm in ("none", "correct", "wrong")
}
GROWN = Start("traces-grown", "", steps=900, batch_size=64, learning_rate=3e-3, traced=True)


def run(seeds: int = SEEDS, full: bool = False, progress: bool = True) -> Result:
    """The whole study."""
    recipes: dict[str, Any] = {**TUNED, CONTROL: GROWN}
    train_all([(r, seed) for r in (_START, GROWN, *TUNED.values()) for seed in range(seeds)], progress)
    models = {(arm, seed): raw(recipe, seed) for arm, recipe in recipes.items() for seed in range(seeds)}
    of = tested()
    table = pd.DataFrame([row for (arm, seed), model in models.items() for row in measured(model, arm, seed, of)])
    changed = pd.DataFrame([exchanged(model, arm, seed, of) for (arm, seed), model in models.items() if arm != "none"])
    person = pd.DataFrame([row for (arm, seed), model in models.items() for row in simulated(model, arm, seed, of)])
    options: dict[str, Any] = {"progress": progress, "margin": MARGIN, "hook_points": (RESIDUALS[-1],)}
    arms = {
        f"{a} and {b}": compare_arms(
            [(hooked(TUNED[a], seed), hooked(TUNED[b], seed)) for seed in range(seeds)], task_of(of),
            families=("structure",) if a == "correct" else (), **options,
        )
        for a, b in combinations(ARMS, 2)
    }  # fmt: skip
    texts = texts_of({arm: models[arm, 0] for arm in ("correct", "wrong")}, of)
    return Result(
        name="traces", claim=CLAIM, source=SOURCE, full=full, notes=NOTES, criteria=tuple(criteria(table, arms)),
        tables={
            "rates": table, "exchanged": changed, "simulated": person,
            "compared": pd.concat([own.frame.assign(arms=name) for name, own in arms.items()], ignore_index=True),
            "gates": pd.concat([own.gates().assign(arms=name) for name, own in arms.items()], ignore_index=True),
        },
        figures={"traces": draw_traces(table, changed, person, PHI)},
        captions={"traces": caption(table, changed, person)}, extras=dict([sheet(texts)]),
    )  # fmt: skip


def criteria(table: pd.DataFrame, arms: dict[str, Arms]) -> list[Criterion]:
    """Those of the finding: accuracies at most five points apart, |φ| at most .15 in each arm that writes traces."""
    found = [own.equal(f"equal accuracy of {name}") for name, own in arms.items()]
    own = {arm: where(table, arm=arm, traces="likeliest") for arm in ARMS}
    for a, b in combinations(ARMS, 2):
        apart = np.abs(column(own[a], "accuracy") - column(own[b], "accuracy"))
        found.append(Criterion.over_seeds(
            "accuracy", f"gap between {a} and {b}", apart, MARGIN, "at most", how="at most 5 points"
        ))  # fmt: skip
    for arm in ("correct", "wrong"):
        size, most = np.abs(column(own[arm], "phi")), column(own[arm], "phi_most").mean()
        found.append(Criterion.over_seeds(
            "φ", f"size of φ of trace and answer, {arm} traces", size, PHI, "at most",
            how=f"2505.13792: about .07; how often both are right bounds it at {most:.3f}",
        ))  # fmt: skip
    return found


def caption(table: pd.DataFrame, changed: pd.DataFrame, person: pd.DataFrame) -> str:
    """What the figure shows, with its numbers."""

    def told(name: str, arm: str, of: pd.DataFrame | None = None, **at: Any) -> str:
        rows = where(table, arm=arm, traces="likeliest") if of is None else where(of, arm=arm, **at)
        value, low, high = seed_interval(column(rows, name), -1 if name.startswith(("phi", "kappa")) else 0, 1)
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"

    rule = str(person["surrogate"].iloc[0])
    parts = [
        "All start from a model that learned to answer whatever words stand before the answer. "
        f"Accuracy without traces {told('accuracy', 'none')}, with right ones {told('accuracy', 'correct')}, with "
        f"wrong ones {told('accuracy', 'wrong')}."
    ]
    for arm, words in (
        ("correct", "right traces"),
        ("wrong", "wrong traces"),
        (CONTROL, "right traces from the start"),
    ):
        parts.append(
            f"Trained with {words}, {told('trace', arm)} of traces are right, jointly with the answer "
            f"{told('joint', arm)}; the answer is right in {told('given_right', arm)} given a right trace and in "
            f"{told('given_wrong', arm)} given a wrong one: φ {told('phi', arm)} (of at most "
            f"{told('phi_most', arm)}), within questions {told('phi_within', arm, table, traces='drawn')}. An "
            f"answer is of the stay that a wrong trace put in its place names in {told('followed', arm, changed)}. "
            f"Agreement beyond chance (κ) of a {rule} with the answers: "
            f"{told('kappa', arm, person, seen='item', surrogate=rule)} without the trace, "
            f"{told('kappa', arm, person, seen='trace', surrogate=rule)} with it."
        )
    return " ".join([*parts, "Mean and 95 % interval over seeds."])


STUDY = Study(
    name="traces", finding=8, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(5 if full else SEEDS, full, progress),
)  # fmt: skip
