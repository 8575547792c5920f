"""Exact match of a greedy generation."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import torch

from mechdecouple.behavior.answers import Answers
from mechdecouple.behavior.forwards import EditsFor, check_finite, token_batches
from mechdecouple.errors import TaskError
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import Encoded
from mechdecouple.tasks import Task


def normalise(text: str) -> str:
    """Text as it is compared: its first line that is not blank, Unicode NFKC, case folded, white space collapsed, no
    punctuation at either end."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", line)).strip().casefold()
    return line.strip(" .,;:!?\"'`*")


class GenerationReader:
    """Greedy continuation of each prompt until the end-of-text token, the end of its first line, or ``max_new_tokens``.

    Text is compared after `normalise`; token tasks generate as many tokens as the answer has and compare ids.
    """

    def __init__(
        self, model: HookedModel, task: Task, encoded: Encoded, batch_tokens: int, *, max_new_tokens: int
    ) -> None:
        self._model, self._task, self._batch_tokens = model, task, batch_tokens
        assert task.answers is not None
        self._last = encoded.last()
        self._prompts = encoded.tokens
        tokenizer = model.tokenizer
        if task.tokens is None:
            self._prompts = [_without_end(t, tokenizer) for t in encoded.tokens]
            self._limit = np.full(len(task), max_new_tokens)
            self._check_answers(max_new_tokens)
        else:
            self._limit = np.array([len(answer.split()) for answer in task.answers])
        for row, (prompt, limit) in enumerate(zip(self._prompts, self._limit, strict=True)):
            if model.max_length is not None and len(prompt) + limit - 1 > model.max_length:
                raise TaskError(
                    f"{task.place(row)}: {len(prompt)} tokens and {limit} to generate; model {model.name!r} takes "
                    f"{model.max_length}; shorten the prompt or lower max_new_tokens"
                )

    def __call__(self, edits: EditsFor | None = None) -> Answers:
        task, n = self._task, len(self._task)
        made: list[list[int]] = [[] for _ in range(n)]
        logp, active = np.zeros(n), np.arange(n)
        while len(active):
            rows = [np.concatenate([self._prompts[i], np.array(made[i], np.int64)]) for i in active]
            going = np.zeros(len(active), dtype=bool)
            for chosen, batch, logits in token_batches(
                self._model, rows, active, self._last[active], edits, self._batch_tokens
            ):
                assert batch.mask is not None
                end = batch.mask.sum(dim=1).to(logits.device) - 1
                best = torch.log_softmax(logits[torch.arange(len(end), device=logits.device), end].float(), -1).max(-1)
                values, tokens = best.values.double().cpu().numpy(), best.indices.cpu().numpy()
                check_finite(values, active[chosen], self._model, task)
                for k, value, token in zip(chosen, values, tokens, strict=True):
                    item = int(active[k])
                    going[k] = self._append(made[item], int(token), int(self._limit[item]))
                    logp[item] += value
            active = active[going]
        return self._answers(made, np.exp(logp))

    def _append(self, made: list[int], token: int, limit: int) -> bool:
        """Add a token to an item's text; whether the item goes on."""
        if self._task.tokens is not None:
            made.append(token)
            return len(made) < limit
        tokenizer = self._model.tokenizer
        if token == tokenizer.eos_token_id:
            return False
        made.append(token)
        return len(made) < limit and "\n" not in _text(tokenizer, made).lstrip()

    def _answers(self, made: list[list[int]], confidence: np.ndarray) -> Answers:
        task = self._task
        assert task.answers is not None
        if task.tokens is not None:
            texts = np.array([" ".join(map(str, ids)) for ids in made])
            correct = texts == task.answers
        else:
            raw = [_text(self._model.tokenizer, ids).strip() for ids in made]
            texts = np.array([text.splitlines()[0] if text else "" for text in raw])
            pairs = zip(texts, task.answers, strict=True)
            correct = np.array([normalise(text) == normalise(answer) for text, answer in pairs])
        return Answers.of(
            task, score=correct.astype(np.float64), correct=correct, answer_text=texts, confidence=confidence,
            chance_reason="a free generation has no chance level",
        )  # fmt: skip

    def _check_answers(self, max_new_tokens: int) -> None:
        """An answer longer than what is generated could never match."""
        assert self._task.answers is not None
        texts = [" " + answer for answer in self._task.answers.tolist()]
        tokens = self._model.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for row, ids in enumerate(tokens):
            if len(ids) > max_new_tokens:
                raise TaskError(
                    f"{self._task.place(row)}, column answer: {len(ids)} tokens for model {self._model.name!r}, but at "
                    f"most {max_new_tokens} are generated; raise max_new_tokens"
                )


def _text(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _without_end(tokens: np.ndarray, tokenizer) -> np.ndarray:
    """The prompt without the end-of-text token that some tokenizers put behind it."""
    eos = tokenizer.eos_token_id
    return tokens[:-1] if eos is not None and len(tokens) > 1 and tokens[-1] == eos else tokens
