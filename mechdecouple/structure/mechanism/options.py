"""OptionLogits: what a model answers, as logits centred over the options of each item."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mechdecouple.behavior import Answers
from mechdecouple.errors import InputError
from mechdecouple.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class OptionLogits:
    """Logits of the options, less their mean over the options of the item.

    A softmax does not see a constant that is added to all logits of an item, so raw logits carry one that means
    nothing and differs from model to model; centred ones are what the answers say and no more.

    Attributes:
        values: [n, m] float64, mean 0 over each item's options; NaN where an item has fewer than m.
        right: [n] column of the right option.
    """

    values: Float[np.ndarray, "n m"]
    right: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, answers: Answers, task: Task, classes: Int[np.ndarray, " m"] | None = None) -> OptionLogits:
        """From answers that are chosen among options, or among classes.

        Args:
            classes: sorted classes that count, each item's right one among them; default: those right for some item.

        Raises:
            InputError: the answers have no options, or an item has fewer than two.
        """
        reason = no_options(answers, task, classes)
        if reason:
            raise InputError(reason)
        logp, right = answers.logp, right_options(task)
        assert logp is not None
        if task.performance == "class":
            columns = np.unique(right) if classes is None else classes
            logp, right = logp[:, columns], np.searchsorted(columns, right)
        values = np.where(np.isfinite(logp), logp, np.nan)
        return cls(values - np.nanmean(values, axis=1, keepdims=True), right)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def offered(self) -> Bool[np.ndarray, "n m"]:
        """Which options each item has."""
        return ~np.isnan(self.values)

    @property
    def answer(self) -> Float[np.ndarray, " n"]:
        """Centred logit of the right option."""
        return self.values[np.arange(len(self)), self.right]

    @property
    def difference(self) -> Float[np.ndarray, " n"]:
        """Logit of the right option less the mean of the others'."""
        m = self.offered.sum(axis=1)
        return self.answer * m / (m - 1)

    @property
    def correct(self) -> Float[np.ndarray, " n"]:
        """1.0 where the right option has the highest logit, else 0.0."""
        return (np.nanargmax(self.values, axis=1) == self.right).astype(np.float64)

    @property
    def wrong(self) -> Float[np.ndarray, "n m"]:
        """Logits of the wrong options, centred over them: which of them are nearly right. NaN at the right one."""
        values = self.values.copy()
        values[np.arange(len(self)), self.right] = np.nan
        return values - np.nanmean(values, axis=1, keepdims=True)

    def select(self, rows: np.ndarray) -> OptionLogits:
        return OptionLogits(self.values[rows], self.right[rows])


def right_options(task: Task) -> Int[np.ndarray, " n"]:
    """Index of each item's right option, or its class."""
    assert task.answers is not None
    if task.performance == "class":
        return np.asarray(task.answers, np.int64)
    assert task.choices is not None
    return np.array([c.index(a) for c, a in zip(task.choices, task.answers.tolist(), strict=True)], np.int64)


def no_options(answers: Answers, task: Task, classes: Int[np.ndarray, " m"] | None = None) -> str:
    """Why the answers of a task cannot be written as logits of options (or ``classes``); empty where they can."""
    if answers.reason:
        return answers.reason
    if answers.logp is None or task.performance not in ("choice", "class"):
        return f"answers read as {answers.unit} of a task of performance {task.performance!r} have no few options"
    if task.performance == "class" and len(np.unique(right_options(task)) if classes is None else classes) < 2:
        return "all items have one class: there is no other answer to tell the right one from"
    return ""
