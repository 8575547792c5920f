"""Things described by four binary factors, in four contexts that each have words of their own.

A prompt reads ``farm old.farm.2 big.farm.1 cheap.farm.4 cold.farm.1 | hot?``: the context, one word a factor in any
order, a bar and a question answered with yes or no. Each context never asks about one factor in training; those
questions are the shift split.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import pandas as pd

from mechdecouple.tasks import Task

CONTEXTS = ("farm", "harbour", "market", "school")
FACTORS = {"size": ("small", "big"), "heat": ("cold", "hot"), "age": ("new", "old"), "price": ("cheap", "dear")}
SYNONYMS = 4
ANSWERS = ("no", "yes")
BAR = "|"
QUESTIONS = tuple(f"{on}?" for _, on in FACTORS.values())
DESCRIPTIONS = tuple(
    f"{value}.{context}.{i + 1}"
    for context in CONTEXTS
    for values in FACTORS.values()
    for value in values
    for i in range(SYNONYMS)
)
WORDS = (*ANSWERS, *CONTEXTS, BAR, *QUESTIONS, *DESCRIPTIONS)

DESCRIBED, AT_BAR, AT_QUESTION = (1, 2, 3, 4, 5), 6, 7
_ITEMS_SEED, _DRAWS = 2000, 6


def describe(context: np.ndarray, factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``[n, 4]`` index in `DESCRIPTIONS`: a synonym of each factor's value, in random order.

    Args:
        context: ``[n]``; factors: ``[n, 4]`` of 0 and 1.
    """
    n, k = factors.shape
    words = ((context[:, None] * k + np.arange(k)) * 2 + factors) * SYNONYMS + rng.integers(SYNONYMS, size=(n, k))
    return rng.permuted(words, axis=1)


def never_asked(context: np.ndarray) -> np.ndarray:
    """``[n]`` the factor that a context never asks about in training."""
    return context % len(FACTORS)


def tokens(context: np.ndarray, words: np.ndarray, asked: np.ndarray, vocabulary: dict[str, int]) -> np.ndarray:
    """``[n, 8]`` token ids, ``<bos>`` first."""

    def ids(names: tuple[str, ...]) -> np.ndarray:
        return np.array([vocabulary[w] for w in names])

    one = np.ones((len(context), 1), dtype=np.int64)
    columns = (
        one * vocabulary["<bos>"], ids(CONTEXTS)[context][:, None], ids(DESCRIPTIONS)[words], one * vocabulary[BAR],
        ids(QUESTIONS)[asked][:, None],
    )  # fmt: skip
    return np.concatenate(columns, axis=1)


@lru_cache(maxsize=1)
def factor_task() -> Task:
    """Every combination of factors in every context, in six wordings (the groups), asked about every factor."""
    combinations = np.array(list(itertools.product(range(len(CONTEXTS)), *[range(2)] * len(FACTORS))))
    combinations = np.repeat(combinations, _DRAWS, axis=0)
    context, factors = combinations[:, 0], combinations[:, 1:]
    words = describe(context, factors, np.random.default_rng(_ITEMS_SEED))
    rows = []
    for i, (c, f, w) in enumerate(zip(context.tolist(), factors.tolist(), words.tolist(), strict=True)):
        described = " ".join([CONTEXTS[c], *(DESCRIPTIONS[j] for j in w)])
        for asked, question in enumerate(QUESTIONS):
            rows.append(
                {
                    "id": f"w{i:03d}-{question.rstrip('?')}",
                    "prompt": f"{described} {BAR} {question}",
                    "choices": "|".join(ANSWERS[::-1]),
                    "answer": ANSWERS[f[asked]],
                    "group": f"w{i:03d}",
                    "context": CONTEXTS[c],
                    "split": "shift" if asked == c % len(FACTORS) else "test",
                    **{f"concept_{name}": value for name, value in zip(FACTORS, f, strict=True)},
                    "asks": tuple(FACTORS)[asked],
                    "position_statement": BAR,
                }
            )
    return Task.from_frame(pd.DataFrame(rows), name="described things")
