"""Maskable: a model on the items of a task, ready to be read with parts of their inputs masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechdecouple.behavior.forwards import LOGITS, array_batches, check_finite, token_batches
from mechdecouple.errors import InputError
from mechdecouple.faithfulness._features import features, option_ids
from mechdecouple.faithfulness.stand_ins import stand_ins
from mechdecouple.models import Batch, Edit, Encoded, HookedModel, batches, collate, encode
from mechdecouple.tasks import Task

EMBEDDING = "hook_embed"
"""Where token models hold what they first make of each token."""


@dataclasses.dataclass(frozen=True, eq=False)
class Continuous:
    """A batch of masked items as numbers that answers can be differentiated by.

    Attributes:
        rows: [b] which of the masked items.
        x: [b, s, d] token embeddings; tensor inputs with d = 1. base: the same with every feature masked.
        columns: [b, s] the feature that stands at each place, -1 where there is none.
        value: the chosen option's centred logit [b] as a function of x.
    """

    rows: Int[np.ndarray, " b"]
    x: Float[Tensor, "b s d"]
    base: Float[Tensor, "b s d"]
    columns: Int[np.ndarray, "b s"]
    value: Callable[[Tensor], Tensor]


class Maskable:
    """A model, items whose answers are chosen among options or classes, and the features that can be masked.

    Features are tokens, or the numbers of tensor inputs (flattened). Options count by their first token, classes are
    those that are right for some item. What was read once is kept, so that a mask never costs twice.

    Args:
        mask: what stands in for masked features: a token id, ``token`` (the tokenizer's mask token), ``resample``
            (what another item has there), ``mean`` (of tensor inputs), ``remove`` (tokens are taken out); ``auto`` is
            the mask token where there is one, else resampling, and the mean of tensor inputs.
        among: per item a bool each token or number: those that may be masked; default: all that are not special.
        seed: of the other items.

    Attributes:
        maskable: [n, t] bool; t is the longest item. A masked language model's own mask, special tokens, and tokens
            behind the one that answers are not features.
        right: [n] column of the right option. offered: [n, m] which options each item has.
        stand_ins: what is put in the place of features.
        passes: how many items went through the model so far.

    Raises:
        InputError: answers are not chosen among options or classes; options of an item begin alike; nothing can be
            masked; a way of masking that does not fit.
    """

    def __init__(
        self,
        model: HookedModel,
        task: Task,
        *,
        mask: str | int = "auto",
        among: Sequence[np.ndarray] | None = None,
        chat: bool = False,
        batch_tokens: int = 8192,
        seed: int = 0,
    ) -> None:
        self.model, self.task, self.batch_tokens, self.passes = model, task, batch_tokens, 0
        self.encoded = encode(model, task, chat=chat) if model.input_kind == "tokens" else None
        if self.encoded is None and task.inputs is None:
            raise InputError(f"task {task.name!r} has no inputs that model {model.name!r} reads; give it inputs")
        options = option_ids(model, task, self.encoded, chat=chat)
        self._ids, self._at, self.offered, self.right = options.ids, options.at, options.offered, options.right
        self.stand_ins = stand_ins(model, self.encoded, task.inputs, task.groups, mask, seed)
        self.maskable = features(model, task, self.encoded, self._at, self.stand_ins, among)
        self._known: dict[tuple[int, bytes], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.task)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def nothing(self) -> Bool[np.ndarray, "n t"]:
        """The mask that masks nothing."""
        return np.zeros_like(self.maskable)

    @cached_property
    def clean(self) -> Float[np.ndarray, "n m"]:
        """Centred logits of the options of whole items; NaN where an item has fewer than m."""
        return self.read(np.arange(len(self)), self.nothing)

    @cached_property
    def chosen(self) -> Int[np.ndarray, " n"]:
        """Column of the option that the model chooses on whole items: the answer that is explained."""
        return np.nanargmax(self.clean, axis=1)

    def read(self, items: Int[np.ndarray, " k"], masked: Bool[np.ndarray, "k t"]) -> Float[np.ndarray, "k m"]:
        """Centred logits of the options of items [k] with features [k, t] masked; an item may stand there often."""
        keys = [(int(i), m.tobytes()) for i, m in zip(items, np.packbits(masked, axis=1), strict=True)]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        if new:
            rows = np.fromiter(new.values(), np.int64)
            self._known.update(zip(new, self._read(items[rows], masked[rows]), strict=True))
        return np.stack([self._known[key] for key in keys])

    def of_chosen(self, items: Int[np.ndarray, " k"], masked: Bool[np.ndarray, "k t"]) -> Float[np.ndarray, " k"]:
        """Centred logit of the option that is chosen on the whole item, with features masked."""
        return self.read(items, masked)[np.arange(len(items)), self.chosen[items]]

    def continuous(self, items: Int[np.ndarray, " k"], masked: Bool[np.ndarray, "k t"]) -> Iterator[Continuous]:
        """Masked items as embeddings, batch by batch, from which answers can be differentiated.

        Under ``remove`` an embedding of 0 stands for a masked feature in ``base``.
        """
        for rows, batch, at in self._batches(items, masked):
            picked, hidden = items[rows], masked[rows]
            if batch.tokens is None:
                yield self._of_array(rows, batch, picked)
                continue
            x = self._embedded(batch)
            columns = self.columns(picked, hidden, x.shape[1])
            where = torch.from_numpy(columns >= 0).to(x.device)
            if self.stand_ins.kind == "remove":
                base = x.masked_fill(where[:, :, None], 0.0)
            else:
                ids = torch.from_numpy(self.stand_ins.values[picked, : x.shape[1]].copy()).to(batch.tokens)
                base = self._embedded(Batch(torch.where(where, ids, batch.tokens), batch.mask))
            yield Continuous(rows, x, base, columns, self._function(batch, picked, at))

    def captured(
        self, points: Sequence[str], items: Int[np.ndarray, " k"], masked: Bool[np.ndarray, "k t"]
    ) -> Iterator[tuple[np.ndarray, Batch, np.ndarray, dict[str, Tensor]]]:
        """Batch by batch: rows [b], the batch, where each answer is read [b], and what passes hook points."""
        for rows, batch, at in self._batches(items, masked):
            self.passes += len(rows)
            with torch.inference_mode():
                yield rows, batch, at, self.model.forward(batch, capture=points, logits=False).activations

    def columns(
        self, items: Int[np.ndarray, " k"], masked: Bool[np.ndarray, "k t"], width: int
    ) -> Int[np.ndarray, "k s"]:
        """The feature at each place [k, width] of what the model is given, -1 where there is none."""
        out = np.full((len(items), width), -1)
        for row, (item, hidden) in enumerate(zip(items, masked, strict=True)):
            own = np.where(self.maskable[item], np.arange(self.maskable.shape[1]), -1)
            if self.stand_ins.kind == "remove":
                own = own[~hidden]
            out[row, : min(width, len(own))] = own[:width]
        return out

    # -- reading ------------------------------------------------------------------------------------------------------

    @cached_property
    def _flat(self) -> np.ndarray:
        assert self.task.inputs is not None
        return self.task.inputs.reshape(len(self), -1)

    def _tokens(self, item: int, masked: np.ndarray) -> np.ndarray:
        assert self.encoded is not None
        tokens = self.encoded.tokens[item]
        hidden = masked[: len(tokens)]
        if self.stand_ins.kind == "remove":
            return tokens[~hidden]
        return np.where(hidden, self.stand_ins.values[item, : len(tokens)], tokens)

    def _inputs(self, items: np.ndarray, masked: np.ndarray) -> Encoded | np.ndarray:
        if self.encoded is None:
            assert self.task.inputs is not None
            flat = np.where(masked, self.stand_ins.values[items], self._flat[items])
            return flat.reshape(len(items), *self.task.inputs.shape[1:])
        rows = [self._tokens(int(i), m) for i, m in zip(items, masked, strict=True)]
        return Encoded([str(i) for i in items], rows, [np.zeros(len(r), bool) for r in rows])

    def _places(self, items: np.ndarray, masked: np.ndarray) -> Int[np.ndarray, " k"]:
        """Where each answer is read."""
        if self.stand_ins.kind != "remove":
            return self._at[items]
        before = np.arange(masked.shape[1]) < self._at[items][:, None]
        return self._at[items] - (masked & before).sum(axis=1)

    def _batches(self, items: np.ndarray, masked: np.ndarray) -> Iterator[tuple[np.ndarray, Batch, np.ndarray]]:
        inputs, at = self._inputs(items, masked), self._places(items, masked)
        most = max(1, LOGITS // self.model.vocab_size) if self.model.vocab_size else self.batch_tokens
        for rows in batches(inputs, batch_tokens=min(self.batch_tokens, most)):
            yield rows, collate(inputs, rows, model=self.model), at[rows]

    def _read(self, items: np.ndarray, masked: np.ndarray) -> np.ndarray:
        out = np.full((len(items), self._ids.shape[1]), np.nan)
        inputs, at = self._inputs(items, masked), self._places(items, masked)
        if isinstance(inputs, Encoded):
            found = token_batches(self.model, inputs.tokens, items, at, None, self.batch_tokens)
        else:
            found = array_batches(self.model, inputs, None)
        for rows, _, logits in found:
            values = self._pick(logits, items[rows], at[rows]).double().cpu().numpy()
            check_finite(values, items[rows], self.model, self.task)
            out[rows] = np.where(self.offered[items[rows]], values, np.nan)
        self.passes += len(items)
        return out

    def _pick(self, logits: Tensor, items: np.ndarray, at: np.ndarray) -> Float[Tensor, "b m"]:
        """Logits of the options, less their mean over those of the item; 0 where an item has fewer than m."""
        if logits.ndim == 3:
            rows = torch.arange(len(items), device=logits.device)
            logits = logits[rows, torch.as_tensor(at, device=logits.device)]
        if self._ids.max() >= logits.shape[1]:
            raise InputError(
                f"model {self.name!r} gives {logits.shape[1]} logits, and the task has an answer {self._ids.max()}"
            )
        picked = logits.float().gather(1, torch.as_tensor(self._ids[items], device=logits.device))
        offered = torch.as_tensor(self.offered[items], device=logits.device)
        mean = torch.where(offered, picked, 0.0).sum(dim=1, keepdim=True) / offered.sum(dim=1, keepdim=True)
        return torch.where(offered, picked - mean, 0.0)

    def _function(
        self, batch: Batch, items: np.ndarray, at: np.ndarray, make: Callable[[Tensor], Batch] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """The chosen option's centred logit as a function of the embeddings, or of the batch that ``make`` makes."""
        chosen = torch.as_tensor(self.chosen[items])

        def value(x: Tensor) -> Tensor:
            self.passes += len(items)
            edits: Mapping[str, Edit] = {EMBEDDING: lambda *_: x} if make is None else {}
            logits = self.model.forward(batch if make is None else make(x), edits=edits).logits
            assert logits is not None
            return self._pick(logits, items, at)[torch.arange(len(items)), chosen]

        return value

    def _of_array(self, rows: np.ndarray, batch: Batch, items: np.ndarray) -> Continuous:
        assert batch.array is not None
        shape, x = batch.array.shape, batch.array.reshape(len(rows), -1, 1)
        everything = np.where(self.maskable[items], self.stand_ins.values[items], self._flat[items])
        columns = self.columns(items, np.zeros_like(self.maskable[items]), x.shape[1])
        value = self._function(batch, items, np.zeros(len(rows), np.int64), lambda z: Batch(array=z.reshape(shape)))
        return Continuous(rows, x, torch.from_numpy(everything).to(x)[:, :, None], columns, value)

    def _embedded(self, batch: Batch) -> Tensor:
        self.passes += len(batch)
        with torch.no_grad():
            found = self.model.forward(batch, capture=[EMBEDDING], logits=False).activations
        return found[EMBEDDING].detach().clone()


def probabilities(logits: Float[np.ndarray, "*s m"]) -> Float[np.ndarray, "*s m"]:
    """Of each option; NaN where an item has fewer than m."""
    grown = np.exp(logits - np.nanmax(logits, axis=-1, keepdims=True))
    return grown / np.nansum(grown, axis=-1, keepdims=True)
