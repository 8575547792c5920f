"""Class of an item: argmax of a classifier's logits, or of a language model's next token."""

from __future__ import annotations

import numpy as np
import torch

from mechdecouple.behavior.answers import Answers
from mechdecouple.behavior.forwards import EditsFor, array_batches, check_finite, token_batches
from mechdecouple.errors import ModelError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import Encoded
from mechdecouple.tasks import Task

KEPT = 1000
"""Up to this many classes the probabilities of all are kept; a whole vocabulary would not fit memory for many items."""


class ClassReader:
    """Accuracy against integer answers. Chance is the larger of the majority's share and 1 / number of classes."""

    def __init__(self, model: HookedModel, task: Task, encoded: Encoded | None, batch_tokens: int) -> None:
        self._model, self._task, self._encoded, self._batch_tokens = model, task, encoded, batch_tokens

    def __call__(self, edits: EditsFor | None = None) -> Answers:
        model, task, n = self._model, self._task, len(self._task)
        answers = task.answers
        assert answers is not None
        choice, confidence, margin = np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
        logp, n_classes = None, 0
        for chosen, logits in self._logits(edits):
            if logits.ndim != 2:
                raise ModelError(
                    f"model {model.name!r} gives logits of shape {tuple(logits.shape)}; classes need [items, classes]"
                )
            n_classes = logits.shape[1]
            self._check_answers(answers, n_classes)
            rows = torch.log_softmax(logits.float(), dim=-1)
            best = rows.max(dim=-1)
            check_finite(best.values.cpu().numpy(), chosen, model, task)
            choice[chosen], confidence[chosen] = best.indices.cpu().numpy(), best.values.exp().cpu().numpy()
            right = torch.from_numpy(answers[chosen]).to(rows.device)[:, None]
            others = rows.scatter(1, right, -torch.inf).max(dim=-1).values
            margin[chosen] = (rows.gather(1, right)[:, 0] - others).cpu().numpy()
            if n_classes <= KEPT:
                logp = np.zeros((n, n_classes)) if logp is None else logp
                logp[chosen] = rows.cpu().numpy()
        correct = choice == answers
        majority = np.unique(answers, return_counts=True)[1].max() / n
        return Answers.of(
            task, score=correct.astype(np.float64), correct=correct, choice=choice, answer_text=choice.astype(np.str_),
            logp=logp, confidence=confidence, margin=margin, chance=max(float(majority), 1 / n_classes),
        )  # fmt: skip

    def _logits(self, edits: EditsFor | None):
        if self._encoded is None:
            assert self._task.inputs is not None
            for chosen, _, logits in array_batches(self._model, self._task.inputs, edits):
                yield chosen, logits
            return
        rows, items = self._encoded.tokens, np.arange(len(self._task))
        for chosen, batch, logits in token_batches(
            self._model, rows, items, self._encoded.last(), edits, self._batch_tokens
        ):
            if logits.ndim == 3:
                assert batch.mask is not None
                end = batch.mask.sum(dim=1) - 1
                logits = logits[torch.arange(len(end), device=logits.device), end.to(logits.device)]
            yield chosen, logits

    def _check_answers(self, answers: np.ndarray, n_classes: int) -> None:
        if answers.max() >= n_classes:
            row = int((answers >= n_classes).argmax())
            raise TaskError(
                f"{self._task.place(row)}, column answer: class {answers[row]}, but model {self._model.name!r} has "
                f"classes 0 to {n_classes - 1}; number the classes as the model does"
            )
