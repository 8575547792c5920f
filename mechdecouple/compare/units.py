"""Units: whether single coordinates of a hook point serve one concept's answers, and how many each concept takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mechdecouple import stats
from mechdecouple.compare.gradients import Gradients
from mechdecouple.compare.structural import Measured
from mechdecouple.compare.subject import Subject
from mechdecouple.structure import DCI_COMPLETENESS, DCI_DISENTANGLEMENT, Dci

METRICS = (DCI_DISENTANGLEMENT, DCI_COMPLETENESS)


def measure_units(subject: Subject | None, gradients: Gradients | None, point: str) -> Iterator[Measured]:
    """Disentanglement and completeness at one hook point, with the level of randomly rotated units as their null."""
    reason = _unusable(subject, gradients)
    if reason:
        yield from (Measured(metric, reason=reason) for metric in METRICS)
        return
    assert subject is not None and subject.task.asks is not None and gradients is not None and gradients.answer
    items = gradients.items
    _, asks = np.unique(subject.task.asks[items], return_inverse=True)
    dci = Dci(subject.acts[point][items].astype(np.float64), gradients.answer[point], asks)
    found = stats.jackknife(dci, subject.blocks[items], len(np.unique(subject.groups[items])))
    null = dci.rotated().mean(axis=0)
    for i, metric in enumerate(METRICS):
        yield Measured(metric, "", found[i], dci.reason, float(null[i]))


def _unusable(subject: Subject | None, gradients: Gradients | None) -> str:
    if subject is None or gradients is None or gradients.answer is None:
        return "there is no right answer whose logit says what each unit does"
    if subject.task.asks is None:
        return "the task has no column asks, which names the concept that each answer is about"
    if len(np.unique(subject.task.asks[gradients.items])) < 2:
        return "all items ask about one concept"
    if len(subject.acts) != len(subject.task):
        return "activations are read at all tokens, and answers belong to items"
    return ""
