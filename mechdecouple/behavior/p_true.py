"""P(True): the probability a model gives to its own answer, or any other, being true, asked in both orders."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.behavior._asking import ask, proposals, rightness
from mechdecouple.behavior.orders import read_orders
from mechdecouple.models import HookedModel
from mechdecouple.results import Metric
from mechdecouple.tasks import Task

P_TRUE_TEMPLATE = "{prompt} {answer}\nIs the answer above True or False?\n{options}\nThe answer above is:"
"""Filled with each item's prompt, the proposed answer, and the list of the two options."""

P_TRUE = Metric(
    name="p_true", family="behavior", title="P(True)", range="[0, 1]",
    measures="probability that the model gives to a proposed answer being true, asked about it outright, over both "
    "orders of the options",
    null="the share of proposed answers that are right, for a calibrated model",
    assumes="the model understands the question: look at the option mass and the spread over the two orders",
    source="arXiv:2207.05221",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PTrue:
    """What a model says of proposed answers.

    Attributes:
        ids: [n] str; proposed: [n] str, the answers asked about.
        p: [n] probability of True, mean of both orders. NaN, with ``reason``, where the model expresses nothing.
        by_order: [2, n] True listed first, and False listed first.
        spread: [n] distance of the two: what the layout alone does.
        option_mass: [n] probability of the options among all tokens, mean of both orders.
        correct: [n] whether the proposed answer is the task's own (1.0, 0.0); NaN where that is unknown.
        reason: empty, or why nothing is expressed.
    """

    ids: np.ndarray
    proposed: np.ndarray
    p: np.ndarray
    by_order: np.ndarray
    spread: np.ndarray
    option_mass: np.ndarray
    correct: np.ndarray
    reason: str = ""

    def __len__(self) -> int:
        return len(self.p)

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an item."""
        names = ("ids", "proposed", "p", "spread", "option_mass", "correct")
        return pd.DataFrame({"id" if name == "ids" else name: getattr(self, name) for name in names})

    def _repr_html_(self) -> str:
        return self.frame().head(5).to_html(index=False, border=0)


def p_true(
    model: HookedModel,
    task: Task,
    proposed: Sequence[str] | np.ndarray | None = None,
    *,
    template: str = P_TRUE_TEMPLATE,
    letters: bool = False,
    **reading: Any,
) -> PTrue:
    """Ask a model whether each proposed answer is true, with True listed first and with False listed first.

    The probability of True is taken among the two options, spelling variants included.

    Args:
        proposed: [n] answers to ask about; the model's own answers to the task if not given.
        template: with ``{prompt}``, ``{answer}`` and ``{options}``, each once.
        letters: list the options as ``A. True`` and ask for the letter.
        reading: as for `read`.

    Raises:
        TaskError: no prompts, or no answers in words while ``proposed`` is left out.
        InputError: not one proposed answer an item; a template without its fields.
    """
    said, reason = proposals(model, task, proposed, reading)
    n = len(task)
    if reason:
        nothing = np.full(n, np.nan)
        return PTrue(
            ids=task.ids, proposed=said, p=nothing, by_order=np.full((2, n), np.nan), spread=nothing,
            option_mass=nothing, correct=nothing, reason=reason,
        )  # fmt: skip
    question = ask(task, said, template, choices=[["True", "False"]] * n, answer=["True"] * n)
    asked = read_orders(model, question, 2, letters=letters, **reading)
    mass = asked.answers.option_mass
    return PTrue(
        ids=task.ids, proposed=said, p=asked.answers.expressed, by_order=asked.expressed_by_order, spread=asked.spread,
        option_mass=np.full(n, np.nan) if mass is None else mass, correct=rightness(task, said),
        reason=asked.answers.reason,
    )  # fmt: skip
