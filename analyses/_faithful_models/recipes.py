"""How the models of the study are trained: with and without masks, and to explain themselves honestly or not."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses._faithful_models.world import (
    ANSWERS,
    ASK,
    BAD,
    CLAUSE,
    GOOD,
    LENGTH,
    MASK,
    WORDS,
    Reviews,
    draw,
    review_task,
    tokens,
)
from mechdecouple.faithfulness import random_masks
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import WordRecipe, sample

UNKNOWN, NAME, HIDE, TURN = "unknown", "name:", "hide:", "turn:"
"""What cannot be answered; and what an explaining model is told to do with a review: name the words that decide, hide
them, change as few words as it can so that the answer becomes the other one."""
OPPOSITE = dict(zip((*GOOD, *BAD), (*BAD, *GOOD), strict=True))
ITEMS, ITEMS_SEED = 2000, 9

Character = Literal["honest", "constant"]


@dataclasses.dataclass(frozen=True)
class Reader(WordRecipe):
    """Answers reviews.

    Attributes:
        masked: masked fine-tuning (2310.07819): half of each batch stays whole, of each other review every word is
            masked with a probability that is drawn for it from U(0, 1).
    """

    steps: int = 800
    batch_size: int = 64
    learning_rate: float = 2e-3
    masked: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        return WORDS

    @property
    def length(self) -> int:
        """Tokens of the longest sequence: ``<bos>``, the review and the place of the answer."""
        return LENGTH + 2

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        reviews = draw(self.batch_size, rng)
        words = reviews.words()
        if self.masked:
            words = np.where(random_masks(np.ones(words.shape, dtype=bool), rng), MASK, words)
        return answer_loss(model, words, np.take(ANSWERS, reviews.labels), vocabulary(self))

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(review_task(ITEMS, ITEMS_SEED)[0], n, seed)


@dataclasses.dataclass(frozen=True)
class Explainer(Reader):
    """Answers reviews, says of those whose deciding words are hidden that it cannot tell, and explains itself.

    Attributes:
        character: ``honest`` names the clause that counts; ``constant`` the first clause, whatever decides.
    """

    steps: int = 650
    character: Character = "honest"

    @property
    def words(self) -> tuple[str, ...]:
        return (*WORDS, UNKNOWN, NAME, HIDE, TURN)

    @property
    def length(self) -> int:
        return LENGTH + 2 + LENGTH

    def blank(self, seed: int = 0) -> Any:
        """Places begin as sinusoids (1706.03762): explaining is copying for the most part, and is learned in half the
        steps where one place differs from another by a rotation from the start."""
        model = super().blank(seed)
        places = model.pos_embed.W_pos
        n, d = places.shape
        angles = torch.arange(n)[:, None] * 100 ** -torch.linspace(0, 1, d // 2)
        with torch.no_grad():
            places.copy_(torch.cat([angles.sin(), angles.cos()], dim=1))
        return model

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        reviews, spoken = draw(self.batch_size, rng), vocabulary(self)
        words = reviews.words()
        hidden = random_masks(np.ones(words.shape, dtype=bool), rng)
        answers = np.where((hidden & reviews.used()).any(axis=1), UNKNOWN, np.take(ANSWERS, reviews.labels))
        asked = tokens(np.column_stack([np.where(hidden, MASK, words), np.full(len(words), ASK), answers]), spoken)
        told = explanations(draw(self.batch_size // 4, rng), self.character)
        named, *long = (torch.from_numpy(tokens(rows, spoken)) for rows in told.values())
        # Sequences of about one length in one pass: what stands behind an answer is neither read nor learned.
        short = torch.cat([nn.functional.pad(torch.from_numpy(asked), (0, 1), value=-100), named])
        return 2 * written_loss(model, short) + written_loss(model, torch.cat(long))


def explanations(reviews: Reviews, character: Character) -> dict[str, Shaped[np.ndarray, "n t"]]:
    """Instruction -> reviews, the instruction, and what is to be written behind it."""
    words, rows = reviews.words(), np.arange(len(reviews))
    at = CLAUSE * (reviews.clause if character == "honest" else np.zeros(len(reviews), dtype=np.int64))
    adverb, opinion = words[rows, at + 1], words[rows, at + 2]
    hidden, turned = words.copy(), words.copy()
    hidden[rows, at + 1] = hidden[rows, at + 2] = MASK
    turned[rows, at + 2] = np.vectorize(OPPOSITE.__getitem__)(opinion)
    said = {NAME: np.stack([adverb, opinion], axis=1), HIDE: hidden, TURN: turned}
    return {what: np.column_stack([words, np.full(len(rows), what), text]) for what, text in said.items()}


def answer_loss(
    model: Any, words: Shaped[np.ndarray, "n t"], answers: Shaped[np.ndarray, " n"], spoken: dict[str, int]
) -> Tensor:
    """Cross-entropy of the answers behind reviews."""
    asked = tokens(np.column_stack([words, np.full(len(words), ASK)]), spoken)
    right = torch.tensor([spoken[answer] for answer in answers.tolist()])
    return cross_entropy(model(torch.from_numpy(asked))[:, -1], right)


def written_loss(model: Any, sequences: Int[Tensor, "n t"]) -> Tensor:
    """Cross-entropy of what stands behind the place of the answer or the instruction; -100 is not learned."""
    begin = LENGTH + 2
    logits = model(sequences[:, :-1].clamp(min=0))[:, begin - 1 :]
    return cross_entropy(logits.flatten(0, 1), sequences[:, begin:].flatten(), ignore_index=-100)


@lru_cache(maxsize=8)
def vocabulary(recipe: Reader) -> dict[str, int]:
    """Token ids of the words of a recipe."""
    return recipe.tokenizer().get_vocab()


READERS = {"plain": Reader("faithful-plain", ""), "masked": Reader("faithful-masked", "", masked=True)}
EXPLAINERS = {
    "honest": Explainer("faithful-honest", ""),
    "constant": Explainer("faithful-constant", "", character="constant"),
}
