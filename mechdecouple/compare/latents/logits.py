"""LogitDifference: the right option against the others, when the activations at one hook point are moved."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.behavior.forwards import LOGITS
from mechdecouple.behavior.options import encode_options
from mechdecouple.compare.subject import Subject
from mechdecouple.extract.pick import picked_tokens
from mechdecouple.models import Batch, Encoded, collate

_BATCH_TOKENS = 8192
_BATCH_ARRAYS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """Where the rows of a subject's activations lie in its items, sorted by item.

    Attributes:
        row: [q] row of ``subject.acts``; a row that is a mean over tokens has a place at each of them.
        item: [q] item of the subject; token: [q] index in the item (0 for tensor inputs).
    """

    row: Int[np.ndarray, " q"]
    item: Int[np.ndarray, " q"]
    token: Int[np.ndarray, " q"]

    @classmethod
    def of(cls, subject: Subject) -> Places:
        n, acts = len(subject.task), subject.acts
        if subject.encoded is None:
            return cls(np.arange(n), np.arange(n), np.zeros(n, np.int64))
        if subject.where is not None:
            return cls(np.arange(n), np.arange(n), subject.where)
        if acts.tokens is not None:
            item = np.unique(acts.items, return_inverse=True)[1]
            return cls(np.arange(len(acts)), item, acts.tokens.astype(np.int64))
        kept = picked_tokens(subject.encoded, subject.task, acts.position, special=False)
        item = np.repeat(np.arange(n), [len(tokens) for tokens in kept])
        return cls(item, item, np.concatenate(kept))


@dataclasses.dataclass(frozen=True, eq=False)
class _Sequences:
    """What an item's options need: sequences to run, and [p, 4] sequence, position, token, option of scored tokens."""

    tokens: list[np.ndarray]
    scored: np.ndarray


class LogitDifference:
    """Log-likelihood of the right option minus the mean of the others', of a subject's items.

    For options of one token, and for classes, that is the difference of logits: what all options share cancels.

    Args:
        subject: its answers must be among options or classes, see :func:`no_difference`.
    """

    def __init__(self, subject: Subject, hook_point: str) -> None:
        self.subject, self.hook_point, self.places = subject, hook_point, Places.of(subject)
        task = subject.task
        answers = np.asarray(task.answers)
        self._sequences: list[_Sequences] | None = None
        if task.performance == "choice":
            assert task.choices is not None
            self._sequences = _sequences(subject)
            self._right = np.array([c.index(a) for c, a in zip(task.choices, answers, strict=True)])
        else:
            self._right = answers.astype(np.int64)

    def __len__(self) -> int:
        return len(self.subject.task)

    @cached_property
    def clean(self) -> Float[np.ndarray, " n"]:
        """The difference of every item as the model gives it."""
        nothing = np.zeros(0, np.int64)
        return self.moved(np.arange(len(self)), nothing, nothing, np.zeros((0, 1)))

    def moved(
        self,
        items: Int[np.ndarray, " b"],
        owner: Int[np.ndarray, " e"],
        place: Int[np.ndarray, " e"],
        change: Float[np.ndarray, "e d"],
    ) -> Float[np.ndarray, " b"]:
        """The difference of ``items``, which may repeat, when ``change`` is added at places of them.

        Args:
            owner: which of the b each change belongs to; place: index into ``places``, of that item.
        """
        out = np.zeros(len(items))
        order = np.argsort(owner, kind="stable")
        owner, place, change = owner[order], place[order], change[order]
        for part in self._batches(items):
            number = np.full(len(items), -1)
            number[part] = np.arange(len(part))
            mine = np.flatnonzero(number[owner] >= 0)
            mine = mine[np.argsort(number[owner[mine]], kind="stable")]
            with torch.inference_mode():
                found, _ = self._run(items[part], number[owner[mine]], place[mine], change[mine])
            out[part] = found.double().cpu().numpy()
        return out

    def gradient(self, items: Int[np.ndarray, " b"]) -> Float[np.ndarray, "r d"]:
        """Slope of the difference as each row of activations moves, zero for rows of items not among ``items``."""
        width = self.subject.acts.width(self.hook_point)
        out = np.zeros((len(self.subject.acts), width))
        for part in self._batches(items):
            mine = np.flatnonzero(np.isin(self.places.item, items[part]))
            owner = np.zeros(len(self), np.int64)
            owner[items[part]] = np.arange(len(part))
            found, change = self._run(
                items[part], owner[self.places.item[mine]], mine, np.zeros((len(mine), width)), slope=True
            )
            (slope,) = torch.autograd.grad(found.sum(), change, allow_unused=True)
            if slope is not None:
                np.add.at(out, self.places.row[mine], slope.double().cpu().numpy())
        return out

    def _batches(self, items: np.ndarray) -> list[np.ndarray]:
        """Positions in ``items`` of each batch: equal lengths together, at most so many padded tokens."""
        if self._sequences is not None:
            cost = np.array([max(map(len, s.tokens)) * len(s.tokens) for s in self._sequences])[items]
        elif self.subject.encoded is not None:
            cost = self.subject.encoded.lengths[items]
        else:
            return [np.arange(i, min(i + _BATCH_ARRAYS, len(items))) for i in range(0, len(items), _BATCH_ARRAYS)]
        most = min(_BATCH_TOKENS, LOGITS // (self.subject.model.vocab_size or 1))
        order = np.argsort(-cost, kind="stable")
        out, start = [], 0
        while start < len(order):
            stop = start + max(1, most // int(cost[order[start]]))
            out.append(order[start:stop])
            start = stop
        return out

    def _run(
        self, items: np.ndarray, owner: np.ndarray, place: np.ndarray, change: np.ndarray, slope: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The differences [b], and the changes as the tensor that a slope is taken of."""
        model, encoded = self.subject.model, self.subject.encoded
        dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
        moves = torch.as_tensor(change, dtype=dtype, device=model.device).requires_grad_(slope)
        token = self.places.token[place]
        chosen = None
        if self._sequences is not None:
            chosen = [self._sequences[i] for i in items]
            tokens = [sequence for one in chosen for sequence in one.tokens]
            blank = [np.zeros(len(t), dtype=bool) for t in tokens]
            batch = collate(Encoded([""] * len(tokens), tokens, blank), np.arange(len(tokens)), model=model)
            owner, which = _spread(owner, np.array([len(one.tokens) for one in chosen]))
            token = token[which]
        else:
            inputs = encoded if encoded is not None else self.subject.task.inputs
            assert inputs is not None
            batch = collate(inputs, items, model=model)
            which = np.arange(len(owner))
        where = [torch.as_tensor(x, device=model.device) for x in (owner, token)]
        taken = torch.as_tensor(which, device=model.device)

        def edit(x: Tensor, _: Batch) -> Tensor:
            flat = x.flatten(2) if batch.mask is not None else x.reshape(len(x), 1, -1)
            return flat.index_put(tuple(where), moves[taken].to(x.dtype), accumulate=True).reshape(x.shape)

        logits = model.forward(batch, edits={self.hook_point: edit} if len(owner) else None).logits
        assert logits is not None
        right = torch.as_tensor(self._right[items], device=logits.device)
        if chosen is not None:
            return _right_against_others(*_option_scores(logits, chosen), right), moves
        if logits.ndim == 3:
            assert batch.mask is not None
            logits = logits[torch.arange(len(logits)), batch.mask.sum(dim=1).to(logits.device) - 1]
        return _right_against_others(logits, torch.ones_like(logits, dtype=torch.bool), right), moves


def no_difference(subject: Subject | None, untestable: str) -> str:
    """Why there is no logit difference to speak of; empty where there is one."""
    if untestable or subject is None:
        return untestable or "there are no answers to intervene on"
    if subject.task.performance not in ("choice", "class") or subject.task.answers is None:
        return f"answers of performance {subject.task.performance!r} are not among options, so no logits differ"
    return ""


def _sequences(subject: Subject) -> list[_Sequences]:
    """One sequence an item where every option is one token, else one for each option."""
    assert subject.encoded is not None
    options = encode_options(subject.model, subject.task, subject.encoded, chat=subject.chat)
    out = []
    for prefix, at, ids in zip(options.prefix, options.at, options.tokens, strict=True):
        if all(len(tokens) == 1 for tokens in ids):
            out.append(_Sequences([prefix], np.array([(0, at, t[0], option) for option, t in enumerate(ids)])))
            continue
        runs = [np.concatenate([prefix, np.array(tokens[:-1], dtype=np.int64)]) for tokens in ids]
        scored = [(o, at + step, token, o) for o, tokens in enumerate(ids) for step, token in enumerate(tokens)]
        out.append(_Sequences(runs, np.array(scored)))
    return out


def _spread(owner: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each change once for every sequence of its item: (sequence, which change), the sequences numbered in order."""
    first = np.cumsum(copies) - copies
    times = copies[owner]
    which = np.repeat(np.arange(len(owner)), times)
    step = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
    return first[owner[which]] + step, which


def _option_scores(logits: Tensor, chosen: list[_Sequences]) -> tuple[Tensor, Tensor]:
    """Log-likelihood of each option [b, m], and which of them the item offers."""
    first = np.cumsum([0, *(len(one.tokens) for one in chosen)])
    width = 1 + max(int(one.scored[:, 3].max()) for one in chosen)
    scored = np.concatenate(
        [one.scored + np.array([start, 0, 0, 0]) for one, start in zip(chosen, first[:-1], strict=True)]
    )
    item = torch.as_tensor(np.repeat(np.arange(len(chosen)), [len(one.scored) for one in chosen])).to(logits.device)
    sequence, position, token, option = torch.as_tensor(scored, device=logits.device).unbind(dim=1)
    picked = torch.log_softmax(logits[sequence, position].float(), dim=-1).gather(1, token[:, None])[:, 0]
    target = item * width + option
    flat = torch.zeros(len(chosen) * width, dtype=picked.dtype, device=picked.device).index_add(0, target, picked)
    offered = torch.zeros(len(flat), dtype=torch.bool, device=flat.device).index_fill(0, target, True)
    return flat.reshape(-1, width), offered.reshape(-1, width)


def _right_against_others(scores: Tensor, offered: Tensor, right: Tensor) -> Tensor:
    of_right = scores.gather(1, right[:, None])[:, 0]
    total = torch.where(offered, scores, 0.0).sum(dim=1)
    return of_right - (total - of_right) / (offered.sum(dim=1) - 1)
