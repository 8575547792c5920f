"""Models that answer questions about stays, trained on with traces or without, and how they write traces themselves."""

from __future__ import annotations

import copy
import dataclasses
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses._models import raw
from analyses._traces.world import (
    AT_ASK,
    AT_SO,
    BLANK,
    LENGTH,
    PLACES,
    TRACE,
    WORDS,
    Questions,
    any_traces,
    draw,
    draw_unseen,
    ids,
    right_traces,
    task_of,
    tokens,
    vocabulary,
    wrong_traces,
)
from mechdecouple.models.batch import Batch
from mechdecouple.models.hooked_transformer import HookedTransformerModel
from mechdecouple.models.recorder import Recorder
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import WordRecipe, sample

Arm = Literal["none", "correct", "wrong"]
ITEMS = 3000
"""Questions that all models are measured on; no training asks about their pairs of times."""
_ASKED, _STRAY = 0.5, 0.5


@dataclasses.dataclass(frozen=True)
class Start(WordRecipe):
    """Answers questions, and knows their kind and the stay that they are about, each asked by itself.

    In half of its prompts any words that could be a trace stand before the answer, as much stands between a question
    and its answer in what language models are trained on; so it answers whatever stands there.

    Attributes:
        traced: right traces stand in all of its prompts instead: the answer may rest upon them from the beginning.
    """

    traced: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        return WORDS

    @property
    def length(self) -> int:
        return LENGTH

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        of = draw(self.batch_size, rng)
        right = right_traces(of)
        logits = model(tokens(of, right if self.traced else any_traces(of, rng, _STRAY)))
        return answer_loss(logits, of) + _ASKED * trace_loss(logits, right)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(task_of(tested()), n, seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned(Start):
    """The start, trained on with a fixed set of questions and their right answers, behind traces or blanks.

    Attributes:
        start: what it is trained on from, of the same seed.
        arm: blanks, right traces or wrong ones; items: size of the set, the same questions for each arm.
    """

    start: Start
    arm: Arm
    items: int = 2000

    def blank(self, seed: int = 0) -> Any:
        return copy.deepcopy(raw(self.start, seed)).requires_grad_(True)

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        of, traces = _set(self.arm, self.items)
        rows = rng.integers(len(of), size=self.batch_size)
        chosen = Questions(*(getattr(of, field.name)[rows] for field in dataclasses.fields(of)))
        if traces is None:
            return answer_loss(model(tokens(chosen)), chosen)
        logits = model(tokens(chosen, traces[rows]))
        return answer_loss(logits, chosen) + trace_loss(logits, traces[rows])


@lru_cache(maxsize=3)
def _set(arm: Arm, items: int) -> tuple[Questions, Int[np.ndarray, "n 2"] | None]:
    rng = np.random.default_rng(8)
    of = draw(items, rng)
    if arm == "none":
        return of, None
    return of, right_traces(of) if arm == "correct" else wrong_traces(of, rng)


@lru_cache(maxsize=1)
def tested() -> Questions:
    """The questions that models are measured on."""
    return draw_unseen(ITEMS, np.random.default_rng(9))


def answer_loss(logits: Tensor, of: Questions) -> Tensor:
    """Cross-entropy of the right places."""
    return cross_entropy(logits[:, AT_SO], torch.from_numpy(ids(PLACES)[of.answer]))


def trace_loss(logits: Tensor, traces: Int[np.ndarray, "n 2"]) -> Tensor:
    """Cross-entropy of the words of the traces, summed over the two."""
    written = torch.from_numpy(traces)
    return sum(cross_entropy(logits[:, AT_ASK + j], written[:, j]) for j in range(TRACE))  # pyright: ignore


@torch.no_grad()
def written(model: Any, prompts: Int[Tensor, "n 11"], draws: torch.Generator | None = None) -> Int[Tensor, "n 11"]:
    """Prompts with the trace that a model writes in their blanks, word by word: the likeliest, or drawn."""
    prompts = prompts.clone()
    for place in range(AT_ASK, AT_ASK + TRACE):
        logits = model(prompts[:, : place + 1])[:, -1]
        word = logits.argmax(-1) if draws is None else torch.multinomial(logits.softmax(-1), 1, generator=draws)[:, 0]
        prompts[:, place + 1] = word
    return prompts


@torch.no_grad()
def places(model: Any, prompts: Int[Tensor, "n 11"]) -> Int[np.ndarray, " n"]:
    """The place that a model answers to each prompt, the likeliest of all."""
    return model(prompts)[:, AT_SO, ids(PLACES)].argmax(-1).numpy()


class Writer(HookedTransformerModel):
    """A model that fills blanks with its own likeliest trace, and answers behind it: so the comparison reads it."""

    def _run(self, batch: Batch, recorder: Recorder, logits: bool) -> Tensor | None:
        assert batch.tokens is not None
        if batch.tokens.shape[1] >= AT_SO and (batch.tokens[:, AT_ASK + 1] == vocabulary()[BLANK]).all():
            batch = dataclasses.replace(batch, tokens=written(self._module, batch.tokens))
        return super()._run(batch, recorder, logits)


def hooked(recipe: Tuned, seed: int) -> HookedTransformerModel:
    """The trained model as the package reads it, the trace its own where the arm writes one."""
    kind = HookedTransformerModel if recipe.arm == "none" else Writer
    model: Any = raw(recipe, seed)
    return kind(model, name=f"{recipe.arm}@{seed}", ref=f"study:{recipe.name}@{seed}")
