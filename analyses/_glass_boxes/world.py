"""Plants that thrive or wither: ten things that can be seen of each, two interactions, and a sign that misleads.

A prompt reads ``rich hill wet ... old thrives?``: one word for each of ten features in any order, and a
question answered with yes or no. Whether a plant thrives is drawn: its log-odds rise with soil, age and pot, fall in
frost where it stands in the open, and depend most on whether water goes with light (wet in the sun, dry in the shade).
Leaf colour goes along with that match in four plants of five, and does nothing; in the shift set in one of five.
Three combinations of features in ten are kept from training.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mechdecouple.tasks import Task

FEATURES = {
    "light": ("shady", "sunny"), "water": ("dry", "wet"), "soil": ("poor", "rich"), "age": ("young", "old"),
    "pot": ("small", "big"), "frost": ("mild", "frosty"), "shelter": ("open", "sheltered"), "leaf": ("pale", "green"),
    "site": ("valley", "hill"), "tag": ("plain", "tagged"),
}  # fmt: skip
NAMES = tuple(FEATURES)
LIGHT, WATER, SOIL, AGE, POT, FROST, SHELTER, LEAF, SITE, TAG = range(len(NAMES))
ANSWERS = ("no", "yes")
QUESTION = "thrives?"
VALUES = tuple(value for pair in FEATURES.values() for value in pair)
WORDS = (*ANSWERS, QUESTION, *VALUES)
LENGTH, AT_ANSWER = len(NAMES) + 2, len(NAMES) + 1
AGREES = {"train": 0.8, "shift": 0.2}
"""How often leaf colour goes along with the match of light and water."""
_WORLD_SEED, _HELD_OUT = 3000, 0.3


@dataclasses.dataclass(frozen=True)
class Plants:
    """``features`` [n, 10] of 0 and 1, and whether each plant thrived, ``label`` [n]."""

    features: Int[np.ndarray, "n 10"]
    label: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.label)

    def words(self, rng: np.random.Generator) -> Int[np.ndarray, "n 10"]:
        """Index in `VALUES` of each feature's word, in random order."""
        return rng.permuted(2 * np.arange(len(NAMES)) + self.features, axis=1)


def known(features: Int[np.ndarray, "n 10"], name: str) -> Int[np.ndarray, " n"]:
    """A feature by name, or ``match``: whether water goes with light."""
    if name == "match":
        return (features[:, LIGHT] == features[:, WATER]).astype(np.int64)
    return features[:, NAMES.index(name)]


def log_odds(features: Int[np.ndarray, "n 10"]) -> Float[np.ndarray, " n"]:
    """Of thriving [n]."""
    sign = 2.0 * features - 1
    match = sign[:, LIGHT] * sign[:, WATER]
    frozen = features[:, FROST] * (1 - features[:, SHELTER])
    return 2.2 * match + 1.8 * sign[:, SOIL] + 1.2 * sign[:, AGE] + 0.8 * sign[:, POT] - 3.6 * frozen + 0.9


def chance(features: Int[np.ndarray, "n 10"]) -> Float[np.ndarray, " n"]:
    """Probability of thriving [n]."""
    return 1 / (1 + np.exp(-log_odds(features)))


def code(features: Int[np.ndarray, "n 10"]) -> Int[np.ndarray, " n"]:
    """Number of a combination of features [n], 0 … 1023."""
    return features @ (1 << np.arange(len(NAMES)))


@lru_cache(maxsize=1)
def held_out() -> np.ndarray:
    """Combinations that no model is trained on: [1024] bool."""
    return np.random.default_rng(_WORLD_SEED).random(1 << len(NAMES)) < _HELD_OUT


def draw(n: int, rng: np.random.Generator, agrees: float, new: bool) -> Plants:
    """Plants of combinations that are held out, where they are to be ``new``, or else of those of the training.

    All features are even odds and independent, but for the leaf, which goes along with the match of light and water as
    often as ``agrees`` says.
    """
    found: list[np.ndarray] = []
    while sum(map(len, found)) < n:
        x = rng.integers(2, size=(n, len(NAMES)))
        match = x[:, LIGHT] == x[:, WATER]
        x[:, LEAF] = np.where(rng.random(n) < agrees, match, ~match)
        found.append(x[held_out()[code(x)] == new])
    features = np.concatenate(found)[:n]
    return Plants(features, (rng.random(n) < chance(features)).astype(np.int64))


def tokens(plants: Plants, vocabulary: dict[str, int], rng: np.random.Generator) -> Int[np.ndarray, "n 12"]:
    """Token ids of prompts, ``<bos>`` first, the words of each in random order."""
    one = np.ones((len(plants), 1), dtype=np.int64)
    ids = np.array([vocabulary[word] for word in VALUES])
    columns = one * vocabulary["<bos>"], ids[plants.words(rng)], one * vocabulary[QUESTION]
    return np.concatenate(columns, axis=1)


def plant_task(parts: dict[str, Plants], concepts: tuple[str, ...] = NAMES, seed: int = 0) -> Task:
    """Plants as a task; ``parts`` by the split they are of, groups are combinations of features.

    Args:
        concepts: what is declared: features, but for the site, which is the context, and ``match``.
    """
    rng, frames = np.random.default_rng(seed), []
    for split, plants in parts.items():
        words = np.take(VALUES, plants.words(rng))
        frames.append(pd.DataFrame(
            {
                "id": [f"{split}{i:05d}" for i in range(len(plants))],
                "prompt": [" ".join([*row, QUESTION]) for row in words],
                "choices": [ANSWERS] * len(plants),
                "answer": np.take(ANSWERS, plants.label),
                "group": [f"c{number:04d}" for number in code(plants.features)],
                "context": np.take(FEATURES["site"], plants.features[:, SITE]),
                "split": split,
                **{f"concept_{name}": known(plants.features, name) for name in concepts if name != "site"},
            }
        ))  # fmt: skip
    return Task.from_frame(pd.concat(frames, ignore_index=True), name="plants")
