"""Labels: what the task declares of the rows that structure is measured on, and what more labels would add."""

from __future__ import annotations

import dataclasses

import numpy as np

from mechdecouple import stats
from mechdecouple.tasks import Task

MAX_CLASSES = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """What is known of n rows.

    Attributes:
        concepts: name -> [n] 0/1, NaN unknown; truth is a concept like any other.
        context: [n] or None; groups, blocks: [n] unit of resampling, and jackknife block of each.
        answers: [n] right answer of each row, where a few answers serve all rows; else None.
        seed: of subsamples, the same for both models.
    """

    concepts: dict[str, np.ndarray]
    context: np.ndarray | None
    groups: np.ndarray
    blocks: np.ndarray
    answers: np.ndarray | None = None
    seed: int = 0

    @classmethod
    def of(cls, task: Task, items: np.ndarray, n_blocks: int, seed: int) -> Labels:
        """The labels of the rows that belong to the task's ``items`` [n]."""
        binary = {name: y[items] for name, y in _named(task).items() if (np.isin(y, (0.0, 1.0)) | np.isnan(y)).all()}
        usable = {name: y for name, y in binary.items() if len(np.unique(y[~np.isnan(y)])) == 2}
        groups = task.groups[items]
        context = None if task.context is None else task.context[items]
        blocks = stats.jackknife_blocks(groups, n_blocks, seed)
        return cls(usable, context, groups, blocks, _answers(task, items), seed)

    @property
    def n_groups(self) -> int:
        return len(np.unique(self.groups))


def unmeasured(task: Task, labels: Labels) -> list[str]:
    """A sentence for each concept of the task that ``labels`` leave out."""
    found = []
    for name, y in _named(task).items():
        if name not in labels.concepts:
            n_values = len(np.unique(y[~np.isnan(y)]))
            values = f"has {n_values} value{'s' * (n_values != 1)}" if n_values != 2 else "has two values"
            found.append(
                f"Concept {name!r} is not measured: it {values}, and the measures of structure take concepts that are "
                "0 in some of the items compared and 1 in others."
            )
    return found


def wanted(task: Task, labels: Labels) -> list[str]:
    """What more labels would add, in sentences; what is measured without them is geometry, similarity, robustness,
    and features."""
    if not labels.concepts:
        return [
            "No concept labels: fracture and entanglement are not measured. Columns concept_* (0/1 per item) would add "
            "probe accuracy with its controls, coding overlap, erasure collateral and the additive share; with a "
            "column context also CCGP, parallelism and the erasure residual; with a column asks also disentanglement "
            "and completeness of units, and the weight sweep."
        ]
    found = []
    if labels.context is None or len(np.unique(labels.context)) < 2:
        found.append(
            "No contexts: a column context (topic, language, template) would add CCGP, parallelism and the erasure "
            "residual, which say whether a concept is held alike everywhere."
        )
    if len(labels.concepts) < 2:
        found.append(
            "One concept: a second concept_* column would add coding overlap, erasure collateral and the additive "
            "share."
        )
    elif task.asks is None:
        found.append(
            "No column asks (the concept that each answer is about): it would add disentanglement and completeness of "
            "units, and the weight sweep."
        )
    return found


def _named(task: Task) -> dict[str, np.ndarray]:
    named = dict(task.concepts)
    return named if task.truth is None else {"truth": task.truth, **{k: v for k, v in named.items() if k != "truth"}}


def _answers(task: Task, items: np.ndarray) -> np.ndarray | None:
    """[n] codes of the right answers, where each is that of several groups."""
    if task.answers is None or task.performance not in ("choice", "class"):
        return None
    answers, codes = np.unique(task.answers[items], return_inverse=True)
    if not 2 <= len(answers) <= MAX_CLASSES:
        return None
    groups = [len(np.unique(task.groups[items][codes == c])) for c in range(len(answers))]
    return codes if min(groups) > 1 else None
