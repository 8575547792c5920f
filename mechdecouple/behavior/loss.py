"""Loss of a language model on plain text."""

from __future__ import annotations

import numpy as np
import torch

from mechdecouple.behavior.answers import NO_BYTES, Answers, LossUnit
from mechdecouple.behavior.forwards import EditsFor, check_finite, token_batches
from mechdecouple.errors import InputError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import Encoded
from mechdecouple.tasks import Task


class LossReader:
    """Mean negative log-likelihood of each prompt's own tokens, given those before them.

    The first token is scored only where the tokenizer puts one (BOS) before it; special tokens are never scored. Bytes
    are counted over the scored tokens alone.
    """

    def __init__(self, model: HookedModel, task: Task, encoded: Encoded, batch_tokens: int, *, unit: LossUnit) -> None:
        self._model, self._task, self._encoded = model, task, encoded
        self._batch_tokens = batch_tokens
        self._unit: LossUnit = unit
        if unit == "byte" and encoded.texts is None:
            raise InputError(NO_BYTES)
        self._scored = [~s for s in encoded.special]
        for row, scored in enumerate(self._scored):
            scored[0] = False
            if not scored.any():
                raise TaskError(
                    f"{task.place(row)}: one token, with nothing before it to predict it from; give longer text"
                )
        self._n_tokens = np.array([s.sum() for s in self._scored])
        self._n_bytes = None
        if encoded.texts is not None:
            self._n_bytes = np.array([self._bytes(i) for i in range(len(task))])

    def __call__(self, edits: EditsFor | None = None) -> Answers:
        task, encoded = self._task, self._encoded
        nats, items = np.zeros(len(task)), np.arange(len(task))
        for chosen, batch, logits in token_batches(
            self._model, encoded.tokens, items, encoded.last(), edits, self._batch_tokens
        ):
            assert batch.tokens is not None
            targets = batch.tokens[:, 1:].to(logits.device)
            taken = logits[:, :-1].gather(2, targets[..., None])[..., 0].float()
            losses = torch.logsumexp(logits[:, :-1].float(), dim=-1) - taken
            scored = np.zeros(losses.shape, dtype=bool)
            for row, item in enumerate(chosen):
                mask = self._scored[item][1:]
                scored[row, : len(mask)] = mask
            nats[chosen] = np.where(scored, losses.double().cpu().numpy(), 0.0).sum(axis=1)
            check_finite(nats[chosen], chosen, self._model, task)
        answers = Answers.of(
            task, score=nats, unit="nats", higher_is_better=False, nats=nats, n_tokens=self._n_tokens,
            n_bytes=self._n_bytes, chance_reason="a loss has no chance level",
            expressed_reason="the task reads losses, not answers",
        )  # fmt: skip
        return answers.in_unit(self._unit)

    def _bytes(self, item: int) -> int:
        """UTF-8 bytes of the text that the scored tokens stand for."""
        assert self._encoded.texts is not None
        text, first = self._encoded.texts[item], int(self._scored[item].argmax())
        if self._encoded.special[item][first - 1]:
            return len(text.encode("utf-8", "surrogatepass"))
        if self._encoded.spans is not None:
            spans = self._encoded.spans[item]
            start = min(
                spans[first - 1][1], spans[first][0]
            )  # spans leave out blanks, and share a character cut into bytes
            return len(text[int(start) :].encode("utf-8", "surrogatepass"))
        before = self._model.tokenizer.decode(self._encoded.tokens[item][:first], skip_special_tokens=True)
        return len(text.encode("utf-8", "surrogatepass")) - len(before.encode())
