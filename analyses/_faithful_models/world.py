"""Reviews in four clauses, of which the one behind ``but`` counts: the words that decide are known.

A prompt reads ``and really shabby but hardly rude also very lovely while quite decent =>``: four clauses in any order
(link, adverb, opinion), and the place of the answer. Half of the adverbs assert the opinion and half deny it, so that
adverb and opinion decide together; no word stands in a review twice. The other clauses are distractors: guests who like
one thing tend to like the rest.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped

from mechdecouple.tasks import Task

LINKS = ("and", "also", "while", "but")
COUNTS = LINKS.index("but")
ASSERTING = ("very", "really", "truly", "quite", "rather", "most")
DENYING = ("hardly", "never", "scarcely", "barely", "seldom", "rarely")
GOOD = ("superb", "lovely", "polite", "decent", "charming", "perfect")
BAD = ("awful", "shabby", "rude", "unfair", "dreadful", "bland")
"""An opinion and its opposite have the same place."""
ANSWERS = ("bad", "good")
MASK, ASK = "[mask]", "=>"
WORDS = (*ANSWERS, MASK, ASK, *LINKS, *ASSERTING, *DENYING, *BAD, *GOOD)

CLAUSE = 3
LENGTH = CLAUSE * len(LINKS)
"""Words of a review."""
LIKES, DENIED = 0.8, 0.3
"""How often a clause agrees with the guest's mood; how often it speaks by denying the opposite."""


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Reviews by index.

    Attributes:
        order: [n, 4] link of each clause. good: [n, 4] whether the clause speaks well. denied: [n, 4] whether it
            denies. adverb, opinion: [n, 4] which of the six words.
    """

    order: Int[np.ndarray, "n 4"]
    good: Bool[np.ndarray, "n 4"]
    denied: Bool[np.ndarray, "n 4"]
    adverb: Int[np.ndarray, "n 4"]
    opinion: Int[np.ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.order)

    @property
    def clause(self) -> Int[np.ndarray, " n"]:
        """The clause that counts."""
        return (self.order == COUNTS).argmax(axis=1)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Index of the right answer in ``ANSWERS``."""
        return self.good[np.arange(len(self)), self.clause].astype(np.int64)

    def words(self) -> Shaped[np.ndarray, "n 12"]:
        adverbs = np.where(self.denied, np.take(DENYING, self.adverb), np.take(ASSERTING, self.adverb))
        opinions = np.where(self.good ^ self.denied, np.take(GOOD, self.opinion), np.take(BAD, self.opinion))
        return np.stack([np.take(LINKS, self.order), adverbs, opinions], axis=2).reshape(len(self), -1)

    def used(self) -> Bool[np.ndarray, "n 12"]:
        """The words that decide: those of the clause that counts."""
        return np.repeat(np.arange(len(LINKS)) == self.clause[:, None], CLAUSE, axis=1)


def draw(n: int, rng: np.random.Generator) -> Reviews:
    """n reviews, each of a guest of its own."""
    k, words = len(LINKS), len(GOOD)
    mood = rng.random((n, 1)) < 0.5
    good = np.where(rng.random((n, k)) < LIKES, mood, ~mood)
    order, adverb, opinion = (rng.random((n, size)).argsort(axis=1)[:, :k] for size in (k, words, words))
    return Reviews(order, good, rng.random((n, k)) < DENIED, adverb, opinion)


def tokens(words: Shaped[np.ndarray, "n t"], vocabulary: dict[str, int]) -> Int[np.ndarray, "n s"]:
    """Ids of words, ``<bos>`` first."""
    ids = np.vectorize(vocabulary.__getitem__, otypes=[np.int64])(words)
    return np.concatenate([np.full((len(ids), 1), vocabulary["<bos>"]), ids], axis=1)


def review_task(n: int, seed: int) -> tuple[Task, Reviews]:
    """``n`` reviews as a Task, with what the clause that counts says as concepts; and the reviews."""
    reviews = draw(n, np.random.default_rng(seed))
    row = np.arange(n), reviews.clause
    frame = pd.DataFrame(
        {
            "id": [f"r{i:04d}" for i in range(n)],
            "prompt": [" ".join([*words, ASK]) for words in reviews.words()],
            "choices": ["|".join(ANSWERS[::-1])] * n,
            "answer": np.take(ANSWERS, reviews.labels),
            "context": [f"clause {i + 1}" for i in reviews.clause],
            "concept_good": reviews.labels,
            "concept_denied": reviews.denied[row].astype(int),
        }
    )
    return Task.from_frame(frame, name="reviews"), reviews
