"""ModelSpeaker: a language model that answers among options and writes one line."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mechdecouple.behavior import read
from mechdecouple.behavior._sampling import sample_texts, silence
from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import HookedModel
from mechdecouple.tasks import Task


class ModelSpeaker:
    """A model for `self_consistency`: answers are the likeliest option, texts the likeliest words up to a line's end.

    Raises:
        InputError: fewer than two options. ModelError: a model that writes no text.
    """

    def __init__(
        self,
        model: HookedModel,
        options: Sequence[str],
        *,
        chat: bool = False,
        max_new_tokens: int = 64,
        batch_tokens: int = 8192,
    ) -> None:
        if len(options) < 2:
            raise InputError(f"the options {list(options)} are no choice: give at least two")
        if silence(model):
            raise ModelError(f"model {model.name!r} cannot explain itself: {silence(model)}")
        self._model, self._options, self._longest = model, list(options), max_new_tokens
        self._reading = {"chat": chat, "batch_tokens": batch_tokens}

    def answer(self, prompts: Sequence[str]) -> list[str]:
        choices = [tuple(self._options)] * len(prompts)
        # Which option is right plays no part in what is chosen.
        table = pd.DataFrame({"prompt": list(prompts), "choices": choices, "answer": self._options[0]})
        found = read(self._model, Task.from_frame(table, name="answers"), **self._reading)
        assert found.answer_text is not None
        return found.answer_text.tolist()

    def write(self, prompts: Sequence[str]) -> list[str]:
        task = Task.from_frame(pd.DataFrame({"prompt": list(prompts)}), name="explanations")
        drawn = sample_texts(
            self._model, task, n_draws=1, max_new_tokens=self._longest, temperature=0.0, seed=0, **self._reading
        )
        return [next(iter(texts)) for texts in drawn]
