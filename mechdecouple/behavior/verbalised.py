"""Verbalised confidence: how sure a model says it is, in figures, and how often it says nothing that can be read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.behavior._asking import ask, proposals, rightness
from mechdecouple.behavior._sampling import sample_texts, silence
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.results import Metric
from mechdecouple.stats import wilson
from mechdecouple.tasks import Task

CONFIDENCE_TEMPLATE = (
    "{prompt} {answer}\nHow likely is the answer above to be correct? Give a number from 0 to 100.\nConfidence:"
)

VERBALISED_CONFIDENCE = Metric(
    name="verbalised_confidence", family="behavior", title="verbalised confidence", range="[0, 1]",
    measures="how likely the model says its answer is to be right, asked for a number from 0 to 100",
    null="accuracy, for a calibrated model",
    assumes="items whose number could be read are like those whose could not: look at the parse-failure rate",
    source="arXiv:2205.14334; arXiv:2305.14975",
)  # fmt: skip
CONFIDENCE_FAILURES = Metric(
    name="confidence_failures", family="behavior", title="confidence that could not be read", range="[0, 1]",
    direction="lower", measures="share of items whose stated confidence holds no number from 0 to 100, or several",
    null="0: every item gets a number",
)  # fmt: skip

_NUMBER = r"(?<![\w.])[-−]?\d+(?:[.,]\d+)?"
_RATIO = re.compile(rf"({_NUMBER})\s*(?:/|out of|of)\s*(\d+)(?![\w.]*\d)", re.IGNORECASE)
_ANY = re.compile(_NUMBER)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Verbalised:
    """Confidence as a model words it.

    Attributes:
        ids: [n] str; proposed: [n] str, the answers asked about; said: [n] str, what the model wrote.
        confidence: [n] in [0, 1]; NaN where no number could be read.
        correct: [n] whether the proposed answer is the task's own (1.0, 0.0); NaN where that is unknown.
        failure_rate, failure_low, failure_high: share of items without a readable number, with its Wilson interval.
        reason: empty, or why the model says nothing.
    """

    ids: np.ndarray
    proposed: np.ndarray
    said: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    failure_rate: float
    failure_low: float
    failure_high: float
    reason: str = ""

    def __len__(self) -> int:
        return len(self.confidence)

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an item."""
        names = ("ids", "proposed", "said", "confidence", "correct")
        return pd.DataFrame({"id" if name == "ids" else name: getattr(self, name) for name in names})

    def _repr_html_(self) -> str:
        return self.frame().head(5).to_html(index=False, border=0)


def parse_confidence(text: str) -> float:
    """The probability that a text states on a scale from 0 to 100; NaN where it holds no number, or more than one.

    ``85``, ``85%`` and ``85.5 %`` are out of 100; ``8/10`` and ``8 out of 10`` are ratios; a decimal fraction up to 1
    without a percent sign, such as ``0.85``, is a probability. Only the first line that is not blank counts.

    >>> parse_confidence("85%"), parse_confidence("about 8 out of 10"), parse_confidence("0.85")
    (0.85, 0.8, 0.85)
    >>> parse_confidence("very"), parse_confidence("80-90"), parse_confidence("150")
    (nan, nan, nan)
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    ratio = _RATIO.search(line)
    if ratio and len(_ANY.findall(line[: ratio.start()] + line[ratio.end() :])) == 0:
        share, whole = _number(ratio[1]), float(ratio[2])
        return share / whole if whole > 0 and 0 <= share <= whole else float("nan")
    found = _ANY.findall(re.sub(r"(?<=\d)\s*[-–−]\s*(?=\d)", " ", line))
    if len(found) != 1:
        return float("nan")
    value, fraction = _number(found[0]), re.search(r"[.,]", found[0])
    if fraction and 0 <= value <= 1 and "%" not in line and "percent" not in line.casefold():
        return value
    return value / 100 if 0 <= value <= 100 else float("nan")


def verbalised(
    model: HookedModel,
    task: Task,
    proposed: Sequence[str] | np.ndarray | None = None,
    *,
    template: str = CONFIDENCE_TEMPLATE,
    max_new_tokens: int = 12,
    chat: bool = False,
    batch_tokens: int = 8192,
    **reading: Any,
) -> Verbalised:
    """Ask a decoder model how sure it is of each proposed answer, and read the number off its greedy continuation.

    Args:
        proposed: [n] answers to ask about; the model's own answers to the task if not given.
        template: with ``{prompt}`` and ``{answer}``; asks for a number from 0 to 100.
        reading: as for `read`, for the model's own answers.

    Raises:
        TaskError: no prompts, or no answers in words while ``proposed`` is left out; no room to generate.
        InputError: not one proposed answer an item; a template without its fields.
    """
    said, reason = proposals(model, task, proposed, {"chat": chat, "batch_tokens": batch_tokens, **reading})
    reason = reason or silence(model)
    if reason:
        return of_texts([""] * len(task), task, said, reason=reason)
    drawn = sample_texts(
        model, ask(task, said, template), n_draws=1, max_new_tokens=max_new_tokens, temperature=0.0, seed=0, chat=chat,
        batch_tokens=batch_tokens,
    )  # fmt: skip
    return of_texts([next(iter(texts)) for texts in drawn], task, said)


def of_texts(texts: Sequence[str], task: Task, proposed: np.ndarray, *, reason: str = "") -> Verbalised:
    """From what a model wrote, an API's for instance: one text an item of the task.

    Raises:
        InputError: texts, items and proposed answers differ in number.
    """
    if not len(texts) == len(proposed) == len(task):
        raise InputError(f"{len(texts)} texts and {len(proposed)} answers for {len(task)} items; give one an item")
    confidence = np.array([parse_confidence(text) for text in texts])
    failed = int(np.isnan(confidence).sum())
    low, high = wilson(failed, len(task))
    nan = float("nan")
    return Verbalised(
        ids=task.ids, proposed=np.asarray(proposed), said=np.asarray(list(texts), dtype=np.str_),
        confidence=confidence, correct=np.full(len(task), nan) if reason else rightness(task, np.asarray(proposed)),
        failure_rate=nan if reason else failed / len(task), failure_low=nan if reason else low,
        failure_high=nan if reason else high, reason=reason,
    )  # fmt: skip


def _number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "."))
