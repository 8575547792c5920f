"""Answers: what one model expressed on each item of a task."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Literal

import numpy as np
import pandas as pd

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.tasks import Task

OPTION_MASS = Metric(
    name="option_mass", family="behavior", title="option mass", range="[0, 1]",
    measures="probability of the options' first tokens, spelling variants included, out of the whole vocabulary",
    null="none: a fact about what the model would say",
)  # fmt: skip

LossUnit = Literal["token", "byte"]
NO_BYTES = "nats per byte need text, but the items are token ids; compare them per token"
UNITS = {"choice": "accuracy", "class": "accuracy", "generation": "exact match", "score": "score"}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """One model's answers, one row an item in the task's order.

    Attributes:
        ids: [n] str.
        performance: the task's kind.
        unit: of ``score``: ``accuracy``, ``exact match``, ``nats per token``, ``nats per byte`` or ``score``.
        score: [n] float: 1/0 for right or wrong, the loss, or the user's score; higher_is_better: False for losses.
        chance: expected score of guessing; NaN where there is none, with ``chance_reason``.
        reason: empty, or why nothing is expressed (then ``score`` is NaN throughout).
        logp: [n, m] log-probability of each option among the item's options (-inf where the item has fewer than m);
            None where answers are not chosen from options. prob: its exponential.
        option_mass: [n] probability that the model gives to any option's first token, spelling variants included, out
            of all tokens: how far the options are what the model would say at all.
        choice: [n] index of the likeliest option; answer_text: [n] str, the answer given; correct: [n] bool.
        confidence: [n] probability of the answer given (among the options; of the whole generated text).
        margin: [n] log-probability of the right option over the best wrong one.
        expressed: [n] probability given to the task's ``affirm`` among the options, spelling variants included;
            claim: [n] 1.0 where it is the likeliest, else 0.0. NaN where not applicable, with ``expressed_reason``.
        nats, n_tokens, n_bytes: [n] for losses: total over the scored tokens, their number, and their UTF-8 bytes.
    """

    ids: np.ndarray
    performance: str
    unit: str
    score: np.ndarray
    higher_is_better: bool = True
    chance: float = math.nan
    chance_reason: str = ""
    reason: str = ""
    logp: np.ndarray | None = None
    option_mass: np.ndarray | None = None
    choice: np.ndarray | None = None
    answer_text: np.ndarray | None = None
    correct: np.ndarray | None = None
    confidence: np.ndarray
    margin: np.ndarray
    expressed: np.ndarray
    claim: np.ndarray
    expressed_reason: str = ""
    nats: np.ndarray | None = None
    n_tokens: np.ndarray | None = None
    n_bytes: np.ndarray | None = None

    @classmethod
    def of(cls, task: Task, *, score: np.ndarray, unit: str = "", **facts) -> Answers:
        """Answers with NaN in every channel that ``facts`` leave out."""
        nothing = np.full(len(task), np.nan)
        channels = {name: facts.pop(name, nothing) for name in ("confidence", "margin", "expressed", "claim")}
        if np.isnan(channels["expressed"]).all():
            why = facts.get("reason") or "the task has no affirming choice to give a probability to"
            facts.setdefault("expressed_reason", why)
        return cls(
            ids=task.ids,
            performance=task.performance,
            unit=unit or UNITS[task.performance],
            score=score,
            **channels,
            **facts,
        )

    @classmethod
    def nothing(cls, task: Task, reason: str, unit: str = "") -> Answers:
        """NaN throughout, and why."""
        lower = task.performance == "loss"
        return cls.of(
            task,
            score=np.full(len(task), np.nan),
            unit=unit,
            higher_is_better=not lower,
            reason=reason,
            chance_reason=reason,
        )

    def __len__(self) -> int:
        return len(self.score)

    @property
    def prob(self) -> np.ndarray | None:
        return None if self.logp is None else np.exp(self.logp)

    def sampled_claims(self, n_draws: int = 20, seed: int = 0) -> np.ndarray:
        """Claims drawn from the expressed probability: [n, n_draws] of 0.0 and 1.0 (NaN where ``expressed`` is).

        The likeliest claims of a model that always leans the same way are constant; draws show how far it leans.
        """
        draws = np.random.default_rng(seed).random((len(self), n_draws))
        claims = (draws < self.expressed[:, None]).astype(np.float64)
        claims[np.isnan(self.expressed)] = np.nan
        return claims

    def in_unit(self, unit: LossUnit) -> Answers:
        """The same losses per token or per UTF-8 byte of the text they were taken on.

        Models with different tokenizers compare only per byte: a token is not the same amount of text.

        Raises:
            InputError: these are no losses, or the items have no text (token tasks) to count bytes of.
        """
        if self.nats is None:
            raise InputError(f"answers in {self.unit} cannot be expressed per {unit}; only losses can")
        size = self.n_tokens if unit == "token" else self.n_bytes
        if size is None:
            raise InputError(NO_BYTES)
        return dataclasses.replace(self, score=self.nats / size, unit=f"nats per {unit}")

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an item."""
        columns = {
            "id": self.ids, "answer": self.answer_text, "score": self.score, "correct": self.correct,
            "confidence": self.confidence, "margin": self.margin, "option_mass": self.option_mass,
            "expressed": self.expressed, "claim": self.claim,
        }  # fmt: skip
        return pd.DataFrame({name: values for name, values in columns.items() if values is not None})

    def _repr_html_(self) -> str:
        head = self.reason or f"mean {self.unit} {np.nanmean(self.score):.4g} over {len(self)} items"
        return f"<div><b>Answers</b>: {html.escape(head)}{self.frame().head(5).to_html(index=False, border=0)}</div>"
