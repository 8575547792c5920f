"""Things of six kinds, told by four signs that mislead now and then; two kinds are urgent.

A prompt reads ``farm old.farm.2 big.farm.1 cheap.farm.4 cold.farm.1 | kind?``, in the words of
:mod:`mechdecouple.zoo.factor_world`. Each kind has a pattern of signs of its own, and any two patterns differ in at
least two signs; each sign is shown wrongly with the probability ``FLIP`` of the question. What is best to believe of a
thing is therefore known exactly, and every loss and cost is expected over that, without the noise of drawn labels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mechdecouple.tasks import Task
from mechdecouple.zoo.factor_world import BAR, CONTEXTS, DESCRIPTIONS, FACTORS, describe

KINDS = ("fire", "flood", "dust", "moss", "rust", "soot")
URGENT = 2
"""The first so many kinds are urgent; the others are light."""
PATTERNS = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
"""[6, 4] the true signs of each kind."""
FLIP = {"kind": 0.1, "urgent": 0.03}
"""Signs of the binary question are clearer: with more errors the best rule at a weight of a hundred is to say yes to
nearly everything, and no two models could differ in cost."""
ANSWERS = {"kind": KINDS, "urgent": ("no", "yes")}
QUESTIONS = {asked: f"{asked}?" for asked in ANSWERS}
WORDS = (*KINDS, *ANSWERS["urgent"], *CONTEXTS, BAR, *QUESTIONS.values(), *DESCRIPTIONS)
AT_ANSWER = 7


@dataclasses.dataclass(frozen=True)
class Things:
    """Things by index: ``kind`` and ``context`` [n], ``signs`` as shown [n, 4] of 0 and 1, ``described`` [n, 4]."""

    kind: Int[np.ndarray, " n"]
    context: Int[np.ndarray, " n"]
    signs: Int[np.ndarray, "n 4"]
    described: Int[np.ndarray, "n 4"]

    def labels(self, asked: str) -> Int[np.ndarray, " n"]:
        """Index of the right answer in ``ANSWERS[asked]``."""
        return self.kind if asked == "kind" else (self.kind < URGENT).astype(np.int64)

    def tokens(self, asked: str, vocabulary: dict[str, int]) -> Int[np.ndarray, "n 8"]:
        """Token ids, ``<bos>`` first."""

        def ids(words: tuple[str, ...]) -> np.ndarray:
            return np.array([vocabulary[word] for word in words])

        one = np.ones((len(self.kind), 1), dtype=np.int64)
        columns = (
            one * vocabulary["<bos>"], ids(CONTEXTS)[self.context][:, None], ids(DESCRIPTIONS)[self.described],
            one * vocabulary[BAR], one * vocabulary[QUESTIONS[asked]],
        )  # fmt: skip
        return np.concatenate(columns, axis=1)


def draw(n: int, rng: np.random.Generator, asked: str, kinds: int = len(KINDS)) -> Things:
    """Things of the first so many kinds, uniform over kinds and contexts, with the signs of a question."""
    kind, context = rng.integers(kinds, size=n), rng.integers(len(CONTEXTS), size=n)
    signs = PATTERNS[kind] ^ (rng.random((n, PATTERNS.shape[1])) < FLIP[asked])
    return Things(kind, context, signs, describe(context, signs, rng))


def posterior(signs: Int[np.ndarray, "n 4"], asked: str) -> Float[np.ndarray, "n k"]:
    """Probability of each answer given the signs shown, all kinds being equally frequent."""
    kinds = kind_posterior(signs, FLIP[asked])
    return kinds if asked == "kind" else np.stack([kinds[:, URGENT:].sum(1), kinds[:, :URGENT].sum(1)], axis=1)


def kind_posterior(signs: Int[np.ndarray, "n 4"], flip: float) -> Float[np.ndarray, "n 6"]:
    """Probability of each kind, where each sign is shown wrongly with probability ``flip``."""
    wrong = (signs[:, None] != PATTERNS).sum(axis=2)
    likely = flip**wrong * (1 - flip) ** (PATTERNS.shape[1] - wrong)
    return likely / likely.sum(axis=1, keepdims=True)


def things_task(things: Things, asked: str) -> Task:
    """The question as a task, an item a thing; concepts are the signs, truth is whether it is urgent."""
    answers = ANSWERS[asked]
    rows = zip(things.context, things.described, strict=True)
    frame = pd.DataFrame(
        {
            "id": [f"t{i:04d}" for i in range(len(things.kind))],
            "prompt": [
                " ".join([CONTEXTS[c], *np.take(DESCRIPTIONS, words), BAR, QUESTIONS[asked]]) for c, words in rows
            ],
            "choices": [answers] * len(things.kind),
            "answer": np.take(answers, things.labels(asked)),
            "context": np.take(CONTEXTS, things.context),
            **{f"concept_{name}": things.signs[:, i] for i, name in enumerate(FACTORS)},
        }
    )
    if asked == "kind":
        return Task.from_frame(frame, name="things")
    return Task.from_frame(frame.assign(truth=things.labels(asked)), name="urgent things", affirm=answers[1])


def reweighted(logp: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " k"]) -> Float[np.ndarray, "n k"]:
    """Logarithm of w_k p_k / Σ_j w_j p_j: probabilities as a model trained with these weights ought to give them."""
    raised = logp + np.log(weights)
    return raised - np.logaddexp.reduce(raised, axis=1, keepdims=True)


def weighted_loss(
    logp: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " k"]
) -> float:
    """Mean weighted cross-entropy in nats, expected over answers drawn from ``truth``; lower is better."""
    stake = truth * weights
    return float(-(stake * logp).sum() / stake.sum())


def weighted_cost(
    logp: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " k"]
) -> float:
    """Share of the stakes, in [0, 1], that is lost by giving the likeliest answer; expected over ``truth``."""
    stake = truth * weights
    kept = np.take_along_axis(stake, logp.argmax(axis=1)[:, None], axis=1)
    return float(1 - kept.sum() / stake.sum())
