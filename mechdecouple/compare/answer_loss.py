"""Answer loss: what a model's weights do to the loss, and to the logit, of the right answer of each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mechdecouple.behavior.forwards import LOGITS
from mechdecouple.behavior.options import encode_options
from mechdecouple.compare.subject import Subject
from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, Encoded, HookedModel, collate

LIMIT = 256
"""Most items on which weights are disturbed."""
_BATCH_TOKENS = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class _Sequences:
    """What an item's options need: the sequences to run, and of each scored token where it is predicted.

    Attributes:
        tokens: the sequences; places: [p, 4] sequence, position, token and option of every scored token.
    """

    tokens: list[np.ndarray]
    places: np.ndarray


class AnswerLoss:
    """-log P(right answer) of each item, among its options or the classes, as a function of the weights.

    Attributes:
        items: [n] which of the subject's items.
        right: [n] index of each one's right option or class.
    """

    def __init__(self, subject: Subject, items: np.ndarray) -> None:
        self.items, self._subject = items, subject
        self._model: HookedModel = subject.model
        self._encoded, self._inputs = subject.encoded, subject.task.inputs
        self._sequences = None
        task = subject.task
        if task.performance == "choice":
            self._sequences = _sequences(subject, items)
        answers = np.asarray(task.answers)[items]
        if task.performance == "class":
            self.right = answers.astype(np.int64)
        else:
            assert task.choices is not None
            self.right = np.array([task.choices[i].index(a) for i, a in zip(items, answers, strict=True)])
        self._at_once = self._batch_size()

    def __call__(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Loss of each item [n]; gradients flow to the parameters, and theirs."""
        rows = np.arange(len(self.items))
        parts = [rows[i : i + self._at_once] for i in range(0, len(rows), self._at_once)]
        return torch.cat([self._loss(parameters, part) for part in parts])

    def part(self, limit: int) -> AnswerLoss:
        """The same for up to ``limit`` of the items, spread over them."""
        return AnswerLoss(self._subject, self.items[_spread(len(self.items), limit)])

    def logit(self, parameters: Mapping[str, Tensor], rows: np.ndarray) -> Tensor:
        """Logit of the right answer of the items ``rows`` [b], centred over the options: a logit's constant is idle."""
        scores = self._scores(parameters, rows)
        offered = torch.isfinite(scores)
        mean = torch.where(offered, scores, 0.0).sum(dim=1) / offered.sum(dim=1)
        return self._of_right(scores, rows) - mean

    def _loss(self, parameters: Mapping[str, Tensor], rows: np.ndarray) -> Tensor:
        scores = self._scores(parameters, rows)
        return torch.logsumexp(scores, dim=1) - self._of_right(scores, rows)

    def _of_right(self, scores: Tensor, rows: np.ndarray) -> Tensor:
        return scores.gather(1, torch.as_tensor(self.right[rows], device=scores.device)[:, None])[:, 0]

    def _scores(self, parameters: Mapping[str, Tensor], rows: np.ndarray) -> Tensor:
        """Log-likelihood of each option [b, m], -inf where an item has fewer; logits of the classes."""
        # Only this attention can be differentiated more than once on every device.
        with sdpa_kernel(SDPBackend.MATH):
            if self._sequences is not None:
                return self._options(parameters, [self._sequences[row] for row in rows])
            inputs = self._encoded if self._encoded is not None else self._inputs
            assert inputs is not None
            batch = collate(inputs, self.items[rows], model=self._model)
            logits = self._model.logits_with(parameters, batch).float()
        if logits.ndim == 3:
            assert batch.mask is not None
            logits = logits[torch.arange(len(logits)), batch.mask.sum(dim=1).to(logits.device) - 1]
        return logits

    def _options(self, parameters: Mapping[str, Tensor], chosen: list[_Sequences]) -> Tensor:
        tokens = [sequence for one in chosen for sequence in one.tokens]
        first = np.cumsum([0, *(len(one.tokens) for one in chosen)])
        width = 1 + max(int(one.places[:, 3].max()) for one in chosen)
        places = np.concatenate(
            [one.places + np.array([start, 0, 0, 0]) for one, start in zip(chosen, first[:-1], strict=True)]
        )
        item = np.repeat(np.arange(len(chosen)), [len(one.places) for one in chosen])
        logits = self._model.logits_with(parameters, _batch(tokens, self._model))
        sequence, position, token, option = torch.as_tensor(places, device=logits.device).unbind(dim=1)
        picked = torch.log_softmax(logits[sequence, position].float(), dim=-1)
        target = torch.as_tensor(item, device=logits.device) * width + option
        flat = torch.zeros(len(chosen) * width, dtype=picked.dtype, device=picked.device)
        flat = flat.index_add(0, target, picked.gather(1, token[:, None])[:, 0])
        absent = torch.ones(len(flat), dtype=torch.bool, device=flat.device).index_fill(0, target, False)
        return flat.masked_fill(absent, -torch.inf).reshape(len(chosen), width)

    def _batch_size(self) -> int:
        if self._sequences is not None:
            tokens = max(sum(len(s) for s in one.tokens) for one in self._sequences)
        elif self._encoded is not None:
            tokens = max(len(self._encoded.tokens[i]) for i in self.items)
        else:
            return LIMIT
        most = min(_BATCH_TOKENS, LOGITS // (self._model.vocab_size or 1))
        return max(1, most // tokens)


def weight_loss(subject: Subject) -> tuple[AnswerLoss, dict[str, Tensor]]:
    """The loss of up to ``LIMIT`` of a subject's items, and the weights that their answers depend on.

    Options are scored by their plain log-likelihood, not by length.

    Raises:
        ModelError: the task's answers are not chosen among options or classes, or the weights cannot be replaced.
    """
    task, model = subject.task, subject.model
    if task.performance not in ("choice", "class"):
        raise ModelError(
            f"answers of performance {task.performance!r} are not among options, so none has a probability"
        )
    if model.dtype not in (torch.float32, torch.float64):
        raise ModelError(f"the weights are {model.dtype}: small changes of them need float32")
    loss = AnswerLoss(subject, _spread(len(task), LIMIT))
    leaves = {name: p.detach().requires_grad_(True) for name, p in model.named_parameters().items()}
    some = loss.part(8)(leaves).sum()
    gradients = torch.autograd.grad(some, list(leaves.values()), allow_unused=True)
    used = {name: p.detach() for (name, p), g in zip(leaves.items(), gradients, strict=True) if g is not None}
    return loss, used


def _spread(n: int, limit: int) -> np.ndarray:
    """Up to ``limit`` of n rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(limit, n)).round().astype(int))


def _sequences(subject: Subject, items: np.ndarray) -> list[_Sequences]:
    """One sequence an item where every option is one token, else one for each option."""
    assert subject.encoded is not None
    options = encode_options(subject.model, subject.task, subject.encoded, chat=subject.chat)
    out = []
    for item in items:
        prefix, at, ids = options.prefix[item], int(options.at[item]), options.tokens[item]
        if all(len(tokens) == 1 for tokens in ids):
            out.append(_Sequences([prefix], np.array([(0, at, t[0], option) for option, t in enumerate(ids)])))
            continue
        runs = [np.concatenate([prefix, np.array(tokens[:-1], dtype=np.int64)]) for tokens in ids]
        places = [(o, at + step, token, o) for o, tokens in enumerate(ids) for step, token in enumerate(tokens)]
        out.append(_Sequences(runs, np.array(places)))
    return out


def _batch(tokens: list[np.ndarray], model: HookedModel) -> Batch:
    blank = [np.zeros(len(t), dtype=bool) for t in tokens]
    encoded = Encoded(ids=[str(i) for i in range(len(tokens))], tokens=tokens, special=blank)
    return collate(encoded, np.arange(len(tokens)), model=model)
