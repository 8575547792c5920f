"""The same items again: in several wordings, or in several sampled runs, as scores to hand to the array functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.behavior._sampling import sample_texts, silence
from mechdecouple.behavior.claims import parse_choice
from mechdecouple.behavior.forwards import EditsFor
from mechdecouple.behavior.generate import normalise
from mechdecouple.behavior.read import read
from mechdecouple.behavior.repeats import Repeats, repeats
from mechdecouple.behavior.sensitivity import confidence_robustness, mean_sensitivity, prompt_sensitivity
from mechdecouple.errors import InputError, MismatchError, ModelError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.results import Estimate
from mechdecouple.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Wordings:
    """Scores of the same items in P wordings.

    Attributes:
        ids: [n] str; groups: [n] str.
        scores: [n, P] 1 right, 0 wrong; confidence: [n, P] probability of the answer given.
        sensitivity: [n] S of each item; mean_sensitivity: its mean, with an interval over groups.
        robustness: Spearman correlation of S with the mean confidence, with an interval over groups.
    """

    ids: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    confidence: np.ndarray
    sensitivity: np.ndarray
    mean_sensitivity: Estimate
    robustness: Estimate

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an item: its mean score, mean confidence, and prompt sensitivity."""
        columns = {"score": self.scores.mean(axis=1), "confidence": self.confidence.mean(axis=1)}
        return pd.DataFrame({"id": self.ids, "group": self.groups, **columns, "sensitivity": self.sensitivity})

    def _repr_html_(self) -> str:
        facts = f"sensitivity {self.mean_sensitivity._repr_html_()}, against confidence {self.robustness._repr_html_()}"
        return f"<div>{self.scores.shape[1]} wordings: {facts}</div>"


def read_wordings(model: HookedModel, tasks: Sequence[Task], **reading: Any) -> Wordings:
    """Read the same items in several wordings: one task a wording, the same ids in the same order.

    Make them from one table with ``Task.from_frame(table, template=...)``, a template a wording.

    Raises:
        InputError: fewer than two tasks, or a task scored in something other than right and wrong.
        MismatchError: ids or groups differ; names the first.
        ModelError: the model expresses nothing on such tasks.
    """
    if len(tasks) < 2:
        raise InputError(f"{len(tasks)} wordings; sensitivity needs at least two")
    first = tasks[0]
    for task in tasks[1:]:
        for name, mine, theirs in (("id", first.ids, task.ids), ("group", first.groups, task.groups)):
            if len(mine) != len(theirs) or (mine != theirs).any():
                at = int(np.argmax(mine != theirs)) if len(mine) == len(theirs) else min(len(mine), len(theirs))
                raise MismatchError(
                    f"wordings {first.name!r} and {task.name!r} differ in {name} from row {at + 1} on; give the same "
                    "items in the same order"
                )
    answers = [read(model, task, **reading) for task in tasks]
    for made in answers:
        if made.reason:
            raise ModelError(f"model {model.name!r} gives no answers to reword: {made.reason}")
        if made.correct is None:
            raise InputError(f"a task scored in {made.unit} has no right and wrong; use choices, classes or answers")
    scores = np.stack([made.score for made in answers], axis=1)
    confidence = np.stack([made.confidence for made in answers], axis=1)
    return Wordings(
        ids=first.ids, groups=first.groups, scores=scores, confidence=confidence,
        sensitivity=prompt_sensitivity(scores), mean_sensitivity=mean_sensitivity(scores, first.groups),
        robustness=confidence_robustness(scores, confidence.mean(axis=1), first.groups),
    )  # fmt: skip


def sample_repeats(
    model: HookedModel,
    task: Task,
    n_runs: int = 10,
    *,
    max_new_tokens: int = 16,
    temperature: float = 1.0,
    seed: int = 0,
    chat: bool = False,
    batch_tokens: int = 8192,
    edits: EditsFor | None = None,
) -> Repeats:
    """Sample each item's answer ``n_runs`` times and score it: how good at best, and how far it falls.

    Choices: right where the text begins with the right option (`parse_choice`; a text that begins with none is wrong).
    Generation: exact match after `normalise`. With scores of 0 and 1 an item's p90 and p10 are nearly 0 or 1 too; the
    means over items carry the information.

    Raises:
        InputError: fewer than two runs.
        TaskError: the task has no answers in words, or a prompt leaves no room to generate (names the row).
        ModelError: the model writes no text.
    """
    if n_runs < 2:
        raise InputError(f"n_runs is {n_runs}; repeated runs are at least two")
    if task.prompts is None or task.performance not in ("choice", "generation"):
        raise TaskError(f"{task.name}: repeated runs need prompts and answers in words; use choices or generation")
    reason = silence(model)
    if reason:
        raise ModelError(f"model {model.name!r} cannot be run repeatedly: {reason}")
    drawn = sample_texts(
        model, task, n_draws=n_runs, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, chat=chat,
        batch_tokens=batch_tokens, edits=edits,
    )  # fmt: skip
    assert task.answers is not None
    scores = np.zeros((len(task), n_runs))
    for row, (texts, answer) in enumerate(zip(drawn, task.answers.tolist(), strict=True)):
        options = task.choices[row] if task.choices is not None else None
        if options is None:
            right = {text: normalise(text) == normalise(answer) for text in texts}
        else:
            right = {text: parse_choice(text, options) == options.index(answer) for text in texts}
        scores[row] = [right[text] for text in texts.elements()]
    return repeats(scores, task.groups)
