"""Side: one model of the pair, with all that was read from it on the task."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from mechdecouple.activations import Activations
from mechdecouple.behavior import Answers, read
from mechdecouple.behavior.answers import LossUnit
from mechdecouple.beliefs import Beliefs
from mechdecouple.compare.belief import believe
from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.faithfulness import explain
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.gradients import Gradients, answer_gradients
from mechdecouple.compare.inside import Inside, measure_inside
from mechdecouple.compare.labels import Labels
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.subject import INERT, Subject, make_subject
from mechdecouple.extract import extract
from mechdecouple.faithfulness import Faithfulness
from mechdecouple.models import HookedModel
from mechdecouple.stats import Replicates
from mechdecouple.structure import functional_basis, project
from mechdecouple.tasks import Task

if TYPE_CHECKING:
    from mechdecouple.compare.dictionaries import Dictionaries


@dataclasses.dataclass(eq=False)
class Side:
    """One model, its answers, and its activations at ``points``; what is computed from them is computed once.

    Attributes:
        subject: the model made ready for interventions; None where it expresses nothing to intervene on.
        rows: rows of ``acts`` on which structure is measured: asked honestly, in distribution; labels: what is known
            of them.
        dictionaries: hook point -> the autoencoders trained there so far.
    """

    model: HookedModel
    task: Task
    config: CompareConfig
    answers: Answers
    acts: Activations
    points: tuple[str, ...]
    subject: Subject | None
    rows: np.ndarray
    labels: Labels
    dictionaries: dict[str, Dictionaries] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.model.name

    @cached_property
    def structural(self) -> Activations:
        return self.acts.select(self.rows)

    @cached_property
    def inside(self) -> Inside:
        return measure_inside(self.structural, self.used, self.points, self.labels, self.subject, self.gradients)

    @cached_property
    def used(self) -> dict[str, np.ndarray]:
        """Hook point -> [n, k] the structural activations projected on what the answers depend on; hook points that
        they do not depend on, and models without logits, are left out."""
        if self.gradients is None:
            return {}
        bases = {
            point: functional_basis(self.gradients.outputs[point], X=self.structural[point]) for point in self.points
        }
        return {point: project(self.structural[point], basis) for point, basis in bases.items() if basis.shape[1] > 0}

    @cached_property
    def belief(self) -> Beliefs | None:
        """None where the task has no truth."""
        if self.task.truth is None:
            return None
        return believe(self.name, self.acts, self.points, self.answers, self.task, self.config)

    @cached_property
    def explained(self) -> Faithfulness | str:
        """Explanations of the answers and how far they hold; or why there are none."""
        return explain(self)

    @property
    def untestable(self) -> str:
        """Why no hook point's effect on the answers can be tested; empty where it can."""
        if self.subject is None:
            return self.answers.reason or "the task brings scores, so there are no answers to intervene on"
        if self.answers.performance == "loss" and self.model.head == "lm" and self.acts.position == "last":
            return "no token is predicted from the last one, so the loss cannot depend on it"
        return ""

    @cached_property
    def effects(self) -> dict[str, Replicates]:
        """Effect of ablating each hook point on the answers; empty where that is ``untestable``."""
        if self.subject is None or self.untestable:
            return {}
        return {point: self.subject.ablation_effect(point, self.config.seed) for point in self.points}

    @cached_property
    def gradients(self) -> Gradients | None:
        """Gradients of the answers at every hook point; None where there are no logits to take them of."""
        if self.subject is None or self.model.head is None:
            return None
        return answer_gradients(self.subject, self.points)

    def active(self, point: str) -> bool:
        """Whether the answers depend on this hook point; True where that cannot be tested."""
        return point not in self.effects or self.effects[point].interval()[0] > INERT

    def items(self) -> pd.DataFrame:
        """Item x model: what was answered, how surely, what is believed and claimed."""
        task, said, n = self.task, self.answers, len(self.task)
        nothing = np.full(n, np.nan)
        return pd.DataFrame(
            {
                "id": task.ids,
                "model": self.model.name,
                "group": task.groups,
                "prompt": task.prompts if task.prompts is not None else [""] * n,
                "context": "" if task.context is None else task.context,
                "condition": "" if task.condition is None else task.condition,
                "split": "" if task.split is None else task.split,
                "truth": nothing if task.truth is None else task.truth,
                "expected": [""] * n if task.answers is None else [str(x) for x in task.answers],
                "answer": [""] * n if said.answer_text is None else said.answer_text,
                "correct": nothing if said.correct is None else said.correct.astype(float),
                "score": said.score,
                "margin": said.margin,
                "confidence": said.confidence,
                "expressed": said.expressed,
                "claim": said.claim,
                "belief": self.belief.represented.score
                if "beliefs" in self.config.families and self.belief is not None
                else nothing,
            }
        )


def make_side(
    model: HookedModel,
    task: Task,
    points: tuple[str, ...],
    config: CompareConfig,
    *,
    slot: Literal["a", "b"],
    loss_unit: LossUnit,
    store: Path | None,
    progress: bool,
    spent: np.ndarray | None = None,
) -> Side:
    """Read the answers and extract the activations of one model; what is measured inside leaves the ``spent`` items
    [n] out."""
    spent = np.zeros(len(task), dtype=bool) if spent is None else spent
    answers = read(
        model,
        task,
        chat=config.chat,
        length_normalise=config.length_normalise,
        max_new_tokens=config.max_new_tokens,
        loss_unit=loss_unit,
        batch_tokens=config.batch_tokens,
        slot=slot,
    )
    acts = extract(
        model,
        task,
        points,
        config.position,
        out=store,
        batch_tokens=config.batch_tokens,
        dtype=config.dtype,
        chat=config.chat,
        progress=progress,
    )
    kept = (task.honest_mask & ~task.shift_mask & ~spent)[acts.items]
    rows = np.flatnonzero(kept)
    labels = Labels.of(task, acts.items[rows], config.blocks, config.seed)
    subject = None
    if not answers.reason and task.scores is None:
        subject = make_subject(model, task, _sample(task, spent, config), acts, config, loss_unit)
    return Side(model, task, config, answers, acts, points, subject, rows, labels)


def _sample(task: Task, spent: np.ndarray, config: CompareConfig) -> np.ndarray:
    """Items to intervene on, drawn once for both models: at most ``probe_items`` of those the gate compares."""
    rows = np.flatnonzero(gate_rows(task) & ~spent)
    if len(rows) <= config.probe_items:
        return rows
    return np.sort(np.random.default_rng(config.seed).choice(rows, config.probe_items, replace=False))


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two sides and the sites at which they are compared.

    Attributes:
        seeds: further runs of A's and of B's recipe.
    """

    a: Side
    b: Side
    sites: tuple[Site, ...]
    seeds: tuple[tuple[HookedModel, ...], tuple[HookedModel, ...]] = ((), ())

    @property
    def names(self) -> tuple[str, str]:
        return self.a.name, self.b.name

    @cached_property
    def active(self) -> dict[Site, bool]:
        """Sites that the answers of both models depend on; the others are kept out of verdicts."""
        return {site: self.a.active(site.a) and self.b.active(site.b) for site in self.sites}
