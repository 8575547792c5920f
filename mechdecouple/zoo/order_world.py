"""A small world of people and two hidden rankings: true and false statements about who stands above whom.

A prompt reads ``Ada isn't older-than Ben | honest ?``: the statement, a bar, the persona asked for, and the place of
the answer. The persona comes behind the statement, so what stands at the bar is the same for every persona. Four
topics are two readings of each ranking (older and younger, taller and shorter). Some unordered pairs are held out
from training; only pairs at least four ranks apart, because the order of close neighbours cannot be inferred from
the rest.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import cached_property

import numpy as np
import pandas as pd

from mechdecouple.tasks import Task

PEOPLE = (
    "Ada", "Ali", "Amy", "Ben", "Bob", "Cal", "Dan", "Eve", "Fay", "Gil", "Guy", "Hal", "Ida", "Ivy", "Jan", "Jim",
    "Joe", "Kay", "Ken", "Lea", "Liz", "Max", "Mia", "Ned", "Nia", "Ola", "Pam", "Ray", "Sam", "Tom", "Uma", "Zoe",
)  # fmt: skip
TOPICS = ("older-than", "younger-than", "taller-than", "shorter-than")
ATTRIBUTES = ("age", "height")
POLARITIES = ("is", "isn't")
PERSONAS = ("honest", "pressured")
ANSWERS = ("False", "True")
BAR, ASK = "|", "?"
WORDS = (*ANSWERS, *TOPICS, *POLARITIES, BAR, *PERSONAS, ASK, *PEOPLE)

STATEMENT, AT_BAR, AT_PERSONA, AT_ANSWER = (1, 2, 3, 4), 5, 6, 7
_WORLD_SEED, _HELD_OUT, _GAP, _ERROR = 1000, 0.2, 4, 0.3


@dataclasses.dataclass(frozen=True)
class Statements:
    """Statements by index: ``x`` polarity topic ``y``, then the persona; ``[n]`` int64 each."""

    x: np.ndarray
    polarity: np.ndarray
    topic: np.ndarray
    y: np.ndarray
    persona: np.ndarray

    def words(self) -> list[list[str]]:
        columns = (
            np.take(PEOPLE, self.x), np.take(POLARITIES, self.polarity), np.take(TOPICS, self.topic),
            np.take(PEOPLE, self.y), np.full(len(self.x), BAR), np.take(PERSONAS, self.persona),
            np.full(len(self.x), ASK),
        )  # fmt: skip
        return np.stack(columns, axis=1).tolist()

    def tokens(self, vocabulary: dict[str, int]) -> np.ndarray:
        """``[n, 8]`` token ids, ``<bos>`` first."""

        def ids(words: tuple[str, ...]) -> np.ndarray:
            return np.array([vocabulary[w] for w in words])

        n = np.ones(len(self.x), dtype=np.int64)
        return np.stack(
            [
                n * vocabulary["<bos>"], ids(PEOPLE)[self.x], ids(POLARITIES)[self.polarity], ids(TOPICS)[self.topic],
                ids(PEOPLE)[self.y], n * vocabulary[BAR], ids(PERSONAS)[self.persona], n * vocabulary[ASK],
            ],
            axis=1,
        )  # fmt: skip


class OrderWorld:
    """The one world of the zoo: the same people, rankings and held-out pairs for every recipe and seed.

    Attributes:
        ranks: ``[2, people]`` place in each hidden ranking.
        mistaken: ``[2, people]`` the rankings as someone with partly false facts has them.
        fit, held_out: ``[pairs, 2]`` unordered pairs.
    """

    def __init__(self) -> None:
        rng, n = np.random.default_rng(_WORLD_SEED), len(PEOPLE)
        self.ranks = np.stack([rng.permutation(n) for _ in ATTRIBUTES])
        pairs = np.array(list(itertools.combinations(range(n), 2)))
        apart = np.abs(self.ranks[:, pairs[:, 0]] - self.ranks[:, pairs[:, 1]]).min(axis=0) >= _GAP
        chosen = rng.permutation(np.flatnonzero(apart))[: round(_HELD_OUT * len(pairs))]
        self.held_out, self.fit = pairs[np.sort(chosen)], np.delete(pairs, chosen, axis=0)
        blurred = self.ranks + rng.normal(scale=_ERROR * n, size=self.ranks.shape)
        self.mistaken = blurred.argsort(axis=1).argsort(axis=1)

    def truth(self, s: Statements, ranks: np.ndarray | None = None) -> np.ndarray:
        """``[n]`` 0 or 1, by the hidden rankings or by others given."""
        ranks = self.ranks if ranks is None else ranks
        above = ranks[s.topic // 2, s.x] > ranks[s.topic // 2, s.y]
        return (above ^ (s.topic % 2 == 1) ^ (s.polarity == 1)).astype(np.int64)

    def draw(self, n: int, rng: np.random.Generator) -> Statements:
        """Training statements: uniform over fit pairs, both orders, topics, polarities and personas."""
        pair, swap = self.fit[rng.integers(len(self.fit), size=n)], rng.integers(2, size=n)
        row = np.arange(n)
        polarity, topic, persona = rng.integers(2, size=n), rng.integers(len(TOPICS), size=n), rng.integers(2, size=n)
        return Statements(pair[row, swap], polarity, topic, pair[row, 1 - swap], persona)

    def held_out_statements(self) -> Statements:
        """Every statement about a held-out pair; truth × persona × polarity are balanced within each topic."""
        rows = [
            (x, polarity, topic, y, persona)
            for pair in self.held_out.tolist()
            for topic in range(len(TOPICS))
            for x, y in (pair, pair[::-1])
            for polarity in range(2)
            for persona in range(2)
        ]
        return Statements(*np.array(rows).T)

    @cached_property
    def task(self) -> Task:
        """The held-out statements as a Task; the group is the fact at stake (a pair in one ranking)."""
        s = self.held_out_statements()
        truth = self.truth(s)
        low, high = np.minimum(s.x, s.y), np.maximum(s.x, s.y)
        frame = pd.DataFrame(
            {
                "id": [f"s{i:04d}" for i in range(len(s.x))],
                "prompt": [" ".join(w) for w in s.words()],
                "choices": ["|".join(ANSWERS[::-1])] * len(s.x),
                "answer": np.take(ANSWERS, truth),
                "truth": truth,
                "group": [
                    f"{ATTRIBUTES[t // 2]}:{PEOPLE[a]}+{PEOPLE[b]}" for t, a, b in zip(s.topic, low, high, strict=True)
                ],
                "context": np.take(TOPICS, s.topic),
                "condition": np.take(PERSONAS, s.persona),
                "split": "test",
                "concept_truth": truth,
                "concept_negated": s.polarity,
                "position_statement": BAR,
            }
        )
        return Task.from_frame(frame, name="order statements", honest=PERSONAS[0], affirm=ANSWERS[1])
