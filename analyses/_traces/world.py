"""Where somebody stayed and when, and questions about it that are answered out of the context, after a trace.

A prompt reads ``Rome/2-5 Oslo/6-8 Bern/8-9 Riga/1-2 | 3-5 ? _ _ :``: four stays in no order, the time asked for, two
blanks, and the sign that the answer follows. In the blanks stands the trace, ``within 2-5``: the kind of the question
(how the time asked lies to that of the stay it meets) and the time of that stay, the fact that is used. The trace does
not name the place, so that the answer cannot be copied out of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechdecouple.tasks import Task
from mechdecouple.zoo.words import SPECIAL

PLACES = ("Bern", "Cork", "Graz", "Linz", "Nice", "Oslo", "Riga", "Rome")
SPANS = np.array(list(itertools.combinations(range(1, 11), 2)))
"""[times, 2] first and last year of every time."""
TIMES = tuple(f"{first}-{last}" for first, last in SPANS)
KINDS = ("same", "within", "around", "across")
"""The time asked is that of the stay, within it, around it, or laps over one of its ends."""
BAR, ASK, BLANK, SO = "|", "?", "_", ":"
STAYS = tuple(f"{place}/{time}" for place in PLACES for time in TIMES)
WORDS = (*STAYS, *TIMES, *KINDS, *PLACES, BAR, ASK, BLANK, SO)
LINES, TRACE = 4, 2
AT_ASK, AT_SO, LENGTH = LINES + 3, LINES + 4 + TRACE, LINES + 5 + TRACE
_SEED, _HELD_OUT = 4000, 0.3


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions by index.

    Attributes:
        place, time: [n, 4] of each stay; asked: [n] the time asked for; line: [n] the one stay that it meets.
    """

    place: Int[np.ndarray, "n 4"]
    time: Int[np.ndarray, "n 4"]
    asked: Int[np.ndarray, " n"]
    line: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def used(self) -> Int[np.ndarray, " n"]:
        """Time of the stay that answers."""
        return of_line(self.time, self.line)

    @property
    def answer(self) -> Int[np.ndarray, " n"]:
        """Place of the stay that answers."""
        return of_line(self.place, self.line)

    @property
    def kind(self) -> Int[np.ndarray, " n"]:
        return relations()[self.asked, self.used]


def of_line(values: Int[np.ndarray, "n 4"], line: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The value of one line of each item."""
    return np.take_along_axis(values, line[:, None], axis=1)[:, 0]


@lru_cache(maxsize=1)
def relations() -> Int[np.ndarray, "t t"]:
    """Kind of a question by the time asked and that of a stay; -1 where they have no year's length in common."""
    asked, stay = SPANS[:, None], SPANS[None]
    meets = (asked[..., 0] < stay[..., 1]) & (asked[..., 1] > stay[..., 0])
    within = (asked[..., 0] >= stay[..., 0]) & (asked[..., 1] <= stay[..., 1])
    around = (asked[..., 0] <= stay[..., 0]) & (asked[..., 1] >= stay[..., 1])
    return np.select([~meets, within & around, within, around], [-1, 0, 1, 2], 3)


@lru_cache(maxsize=1)
def held_out() -> Bool[np.ndarray, "t t"]:
    """Pairs of a time asked and the time of the stay that it meets which no training asks about."""
    return (np.random.default_rng(_SEED).random(relations().shape) < _HELD_OUT) & (relations() >= 0)


@lru_cache(maxsize=1)
def contexts() -> tuple[Int[np.ndarray, "c 4"], Int[np.ndarray, "q 3"]]:
    """Times of any four stays that do not meet, and every question that meets one of them: context, time, stay."""
    apart = relations() < 0
    times = np.array([q for q in itertools.combinations(range(len(TIMES)), LINES) if apart[np.ix_(q, q)].sum() == 12])
    met = ~apart[:, times]
    asked, context = np.nonzero(met.sum(axis=2) == 1)
    return times, np.stack([context, asked, met[asked, context].argmax(axis=1)], axis=1)


@lru_cache(maxsize=1)
def _asked() -> tuple[tuple[Int[np.ndarray, "m 3"], ...], tuple[Int[np.ndarray, "m 3"], ...]]:
    """Questions that training asks by their kind, and the others by their pair of times."""
    times, questions = contexts()
    used = times[questions[:, 0], questions[:, 2]]
    unseen = held_out()[questions[:, 1], used]
    kind, pair = relations()[questions[:, 1], used], questions[:, 1] * len(TIMES) + used
    return (
        tuple(questions[~unseen & (kind == k)] for k in range(len(KINDS))),
        tuple(questions[pair == one] for one in np.unique(pair[unseen])),
    )


def draw(n: int, rng: np.random.Generator) -> Questions:
    """Questions of pairs that training asks about, of each kind equally often."""
    pools = _asked()[0]
    return _placed(pools, rng.integers(len(pools), size=n), rng)


def draw_unseen(n: int, rng: np.random.Generator) -> Questions:
    """Questions of pairs that no training asks about, of each pair equally often: it is the unit of resampling."""
    pools = _asked()[1]
    return _placed(pools, rng.permutation(np.arange(n) % len(pools)), rng)


def _placed(
    pools: tuple[Int[np.ndarray, "m 3"], ...], pool: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Questions:
    """A question of each of the pools named, its stays in any order at any places."""
    n, sizes = len(pool), np.array([len(own) for own in pools])
    row = (sizes.cumsum() - sizes)[pool] + (rng.random(n) * sizes[pool]).astype(np.int64)
    context, asked, line = np.concatenate(pools)[row].T
    order = rng.permuted(np.tile(np.arange(LINES), (n, 1)), axis=1)
    place = rng.permuted(np.tile(np.arange(len(PLACES)), (n, 1)), axis=1)[:, :LINES]
    time = np.take_along_axis(contexts()[0][context], order, axis=1)
    return Questions(place, time, asked, (order == line[:, None]).argmax(axis=1))


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Token ids of the words."""
    return {word: i for i, word in enumerate((*SPECIAL, *WORDS))}


def ids(words: tuple[str, ...]) -> Int[np.ndarray, " k"]:
    return np.array([vocabulary()[word] for word in words])


def right_traces(of: Questions) -> Int[np.ndarray, "n 2"]:
    """Token ids of the kind of each question and the time of the stay that answers it."""
    return np.stack([ids(KINDS)[of.kind], ids(TIMES)[of.used]], axis=1)


def wrong_traces(of: Questions, rng: np.random.Generator) -> Int[np.ndarray, "n 2"]:
    """Another kind than the question's, and the time of another stay of its context, both at random."""
    kind = (of.kind + rng.integers(1, len(KINDS), len(of))) % len(KINDS)
    line = (of.line + rng.integers(1, LINES, len(of))) % LINES
    return np.stack([ids(KINDS)[kind], ids(TIMES)[of_line(of.time, line)]], axis=1)


def any_traces(of: Questions, rng: np.random.Generator, share: float) -> Int[np.ndarray, "n 2"]:
    """Any kind and the time of any of the stays, in a ``share`` of the items; blanks in the others."""
    line = rng.integers(LINES, size=len(of))
    any_of = np.stack([ids(KINDS)[rng.integers(len(KINDS), size=len(of))], ids(TIMES)[of_line(of.time, line)]], axis=1)
    return np.where(rng.random((len(of), 1)) < share, any_of, vocabulary()[BLANK])


def tokens(of: Questions, traces: Int[np.ndarray, "n 2"] | None = None) -> Int[Tensor, "n 11"]:
    """Token ids of the prompts, with traces in the blanks where they are given."""
    n, names = len(of), vocabulary()
    bos, bar, ask, blank, so = (np.full((n, 1), names[word]) for word in (SPECIAL[0], BAR, ASK, BLANK, SO))
    stays = ids(STAYS)[of.place * len(TIMES) + of.time]
    traces = np.repeat(blank, TRACE, axis=1) if traces is None else traces
    return torch.from_numpy(np.concatenate([bos, stays, bar, ids(TIMES)[of.asked][:, None], ask, traces, so], axis=1))


def nearness(of: Questions) -> Int[np.ndarray, "n 4"]:
    """Rank of each stay by how near it is in time to the time asked: 0 is the one that it meets."""
    stay, asked = SPANS[of.time], SPANS[of.asked][:, None]
    gap = np.maximum(stay[..., 0] - asked[..., 1], asked[..., 0] - stay[..., 1]).astype(float)
    gap[np.arange(len(of)), of.line] = -np.inf
    return (gap + 0.01 * stay[..., 0]).argsort(axis=1).argsort(axis=1)


def groups_of(of: Questions) -> np.ndarray:
    """The unit of resampling [n]: the time asked and that of the stay that answers, by index."""
    return of.asked * len(TIMES) + of.used


def task_of(of: Questions) -> Task:
    """The questions as a Task with blanks where a trace may stand; the group is the pair of times."""
    rows = tokens(of)[:, 1:].tolist()
    words = {number: word for word, number in vocabulary().items()}
    answers = np.take(PLACES, of.answer)
    return Task.from_frame(
        pd.DataFrame(
            {
                "id": [f"q{i:04d}" for i in range(len(of))],
                "prompt": [" ".join(words[token] for token in row) for row in rows],
                "choices": [PLACES] * len(of),
                "answer": answers,
                "group": groups_of(of).astype(str),
                "concept_kind": np.take(KINDS, of.kind),
                "concept_line": of.line.astype(float),
            }
        ),
        name="stays",
    )
