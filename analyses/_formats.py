"""Questions of two hops (Ada's friend's boss?), a corpus that answers them in three formats, and a reward for answers.

One in ten facts is told nowhere; questions that need one cannot be known. Of the others some are in the corpus, some
are rewarded, and some are met in the test alone. Where the corpus answers before it has written the step between, it
errs in three of ten cases: formats differ in how often they are right.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses._policy import Policy
from mechdecouple.tasks import Task
from mechdecouple.zoo.order_world import PEOPLE
from mechdecouple.zoo.recipe import WordRecipe, sample

RELATIONS = ("aunt", "boss", "coach", "doctor", "friend", "guard", "neighbour", "rival", "tailor", "tutor")
ASK, END = "?", "."
TAGS = {"plain": "is", "steps": "via", "reasons": "says"}
"""How each format begins: ``is P .``, ``via B P .``, ``says P B .`` for the answer P and the person B between."""
MIXTURE = (0.5, 0.2, 0.3)
"""Share of each format in the corpus."""
ERRORS = (0.3, 0.0, 0.3)
"""Share of answers in each format that the corpus has wrong."""
PROMPT, LENGTH, LAYERS = 5, 4, 2
Part = Literal["corpus", "reward", "test"]
_SEED, _UNTOLD, _PARTS = 3000, 0.1, {"corpus": 0.7, "reward": 0.15, "test": 0.15}


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions by index, [n] int64 each: a person, the first relation, and the second; ``told`` [n] bool."""

    person: np.ndarray
    first: np.ndarray
    second: np.ndarray
    told: np.ndarray

    def __len__(self) -> int:
        return len(self.person)

    def take(self, rows: np.ndarray) -> Questions:
        return Questions(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    @property
    def between(self) -> Int[np.ndarray, " n"]:
        return facts()[0][self.first, self.person]

    @property
    def answer(self) -> Int[np.ndarray, " n"]:
        return facts()[0][self.second, self.between]

    def prompts(self) -> Int[Tensor, "n 5"]:
        """Token ids: ``<bos> Ada friend boss ?``."""
        ids, n = vocabulary(), len(self)
        people, relations = people_tokens(), tokens_of(RELATIONS)
        ends = [torch.full((n,), ids[word]) for word in ("<bos>", ASK)]
        return torch.stack([ends[0], people[self.person], relations[self.first], relations[self.second], ends[1]], 1)


@lru_cache(maxsize=1)
def facts() -> tuple[Int[np.ndarray, "r p"], Bool[np.ndarray, "r p"]]:
    """Who is whose, and whether the corpus tells it."""
    rng = np.random.default_rng(_SEED)
    whose = np.stack([rng.permutation(len(PEOPLE)) for _ in RELATIONS])
    return whose, rng.random(whose.shape) >= _UNTOLD


@lru_cache(maxsize=1)
def questions() -> dict[Part, Questions]:
    """Every question, in one part each; those that need a fact untold are in the test."""
    everything = itertools.product(range(len(PEOPLE)), *[range(len(RELATIONS))] * 2)
    person, first, second = np.array(list(everything)).T
    whose, told = facts()
    known = told[first, person] & told[second, whose[first, person]]
    every = Questions(person, first, second, known)
    rng, names = np.random.default_rng(_SEED + 1), list(_PARTS)
    part = np.where(known, rng.choice(names, len(every), p=list(_PARTS.values())), "test")
    return {name: every.take(np.flatnonzero(part == name)) for name in names}


def asked(n: int, part: Part) -> Questions:
    """``n`` questions of a part, the same at each call; of the test's a fifth needs a fact untold."""
    every, rng = questions()[part], np.random.default_rng(_SEED + 2)
    if part != "test":
        return every.take(rng.permutation(len(every))[:n])
    known, unknown = (rng.permutation(np.flatnonzero(every.told == told)) for told in (True, False))
    return every.take(np.concatenate([known[: n - n // 5], unknown[: n // 5]]))


def drawn(n: int, part: Part, rng: np.random.Generator) -> Questions:
    """``n`` questions of a part for training."""
    every = questions()[part]
    return every.take(rng.integers(len(every), size=n))


def given(of: Questions, chosen: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The answers that the corpus gives in the format chosen for each question: wrong ones are anybody else."""
    wrong = rng.random(len(of)) < np.array(ERRORS)[chosen]
    return np.where(wrong, (of.answer + rng.integers(1, len(PEOPLE), len(of))) % len(PEOPLE), of.answer)


def in_format(of: Questions, chosen: Int[np.ndarray, " n"], answers: Int[np.ndarray, " n"]) -> Int[Tensor, "n 4"]:
    """Completions with these answers, in the format chosen for each question; what follows the end is the end again."""
    tags, people, end = tokens_of(TAGS.values()), people_tokens(), torch.full((len(of),), vocabulary()[END])
    answer, between = people[answers], people[of.between]
    every = torch.stack(
        [
            torch.stack([tags[0].expand(len(of)), answer, end, end], 1),
            torch.stack([tags[1].expand(len(of)), between, answer, end], 1),
            torch.stack([tags[2].expand(len(of)), answer, between, end], 1),
        ]
    )
    return every[torch.from_numpy(chosen), torch.arange(len(of))]


def parse(completions: Int[Tensor, "*b 4"]) -> tuple[Int[Tensor, "*b"], Int[Tensor, "*b"]]:
    """The format of each completion (0, 1, 2; -1 for none of them) and the token of its answer."""
    tags, end = tokens_of(TAGS.values()), vocabulary()[END]
    form = torch.full(completions.shape[:-1], -1)
    answer = completions[..., 1]
    named = torch.isin(completions, people_tokens())
    for i, stop in enumerate((2, 3, 3)):
        fits = (completions[..., 0] == tags[i]) & named[..., 1:stop].all(-1) & (completions[..., stop] == end)
        form = torch.where(fits, i, form)
    return form, torch.where(form == 1, completions[..., 2], answer)


def until_end(completions: Int[Tensor, "*b t"]) -> Float[Tensor, "*b t"]:
    """1 up to the first end, which counts, 0 behind it."""
    ends = (completions == vocabulary()[END]).int()
    return (ends.cumsum(-1) - ends == 0).float()


@dataclasses.dataclass(frozen=True)
class Corpus(WordRecipe):
    """Continues questions as the corpus does: in one format or another, whatever the question, see :func:`given`.

    Attributes:
        width: of the residual stream.
    """

    width: int = 64

    @property
    def words(self) -> tuple[str, ...]:
        return (*PEOPLE, *RELATIONS, ASK, END, *TAGS.values())

    @property
    def length(self) -> int:
        return PROMPT + LENGTH

    @property
    def config(self) -> dict[str, Any]:
        sizes = {"n_layers": LAYERS, "d_model": self.width, "d_head": self.width // 4, "d_mlp": 4 * self.width}
        return {**super().config, **sizes}

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        chosen = drawn(self.batch_size, "corpus", rng)
        form = rng.choice(len(TAGS), len(chosen), p=MIXTURE)
        written = in_format(chosen, form, given(chosen, form, rng))
        logits = model(torch.cat([chosen.prompts(), written[:, :-1]], dim=1))[:, -LENGTH:]
        mask = until_end(written)
        loss = cross_entropy(logits.flatten(0, 1), written.flatten(), reduction="none").view_as(mask)
        return (loss * mask).sum() / mask.sum()

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(answered_in("plain", asked(300, "test")), n, seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewarded(Policy):
    """The model of the corpus, trained on with a reward of 1 for the right answer in any of the formats."""

    length: int = LENGTH

    def prompts(self, rng: np.random.Generator) -> tuple[Tensor, Any]:
        chosen = drawn(self.batch_size, "reward", rng)
        return chosen.prompts(), people_tokens()[chosen.answer]

    def reward(self, completions: Int[Tensor, "p g 4"], known: Int[Tensor, " p"]) -> Float[Tensor, "p g"]:
        form, answer = parse(completions)
        return ((form >= 0) & (answer == known[:, None])).float()

    def written(self, completions: Int[Tensor, "p g 4"]) -> Float[Tensor, "p g 4"]:
        return until_end(completions)


def answered_in(form: str, of: Questions) -> Task:
    """Questions whose answer has been begun in one of the formats that open with the answer; choices are people."""
    names = np.array(PEOPLE)
    rows = zip(names[of.person], np.take(RELATIONS, of.first), np.take(RELATIONS, of.second), strict=True)
    frame = pd.DataFrame(
        {
            "id": [f"q{i:04d}" for i in range(len(of))],
            "prompt": [f"{person} {first} {second} {ASK} {TAGS[form]}" for person, first, second in rows],
            "choices": [PEOPLE] * len(of),
            "answer": names[of.answer],
            "group": [f"{names[b]}-{RELATIONS[r]}" for b, r in zip(of.between, of.second, strict=True)],
        }
    )
    return Task.from_frame(frame, name=f"two hops, {form}")


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Token ids of the words."""
    return Corpus("", "").tokenizer().get_vocab()


def tokens_of(words: Any) -> Int[Tensor, " k"]:
    return torch.tensor([vocabulary()[word] for word in words])


def people_tokens() -> Int[Tensor, " p"]:
    return tokens_of(PEOPLE)
