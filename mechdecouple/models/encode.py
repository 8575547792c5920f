"""From a task's items to batches of tokens: tokenisation, token positions, the batch plan, collation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mechdecouple.errors import ModelError, TaskError
from mechdecouple.models.base import HookedModel
from mechdecouple.models.batch import Batch

if TYPE_CHECKING:
    from mechdecouple.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """The items of a task as token ids, without padding.

    Attributes:
        ids: name of each item, for error messages.
        tokens: per item ``[t]`` int64.
        special: per item ``[t]`` bool: tokens that the tokenizer or the chat template put around the text, and
            BOS, EOS, CLS, SEP and PAD wherever they stand.
        texts: the text that was tokenised (with the chat template applied), or None for items given as tokens.
        spans: per item ``[t, 2]`` int64 character range of each token in its text, or None where unknown.
    """

    ids: Sequence[str]
    tokens: list[np.ndarray]
    special: list[np.ndarray]
    texts: list[str] | None = None
    spans: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """``[n]`` number of tokens of each item."""
        return np.array([len(t) for t in self.tokens], dtype=np.int64)

    def last(self) -> np.ndarray:
        """``[n]`` index of each item's last token that is not special."""
        return np.array([np.flatnonzero(~s)[-1] for s in self.special], dtype=np.int64)

    def at(self, places: Sequence[int | str], column: str = "position") -> np.ndarray:
        """``[n]`` token index of each place: an integer is the index itself (negative counts from the end of the item);
        a string means the last token of that text's last occurrence in the item.

        Raises:
            TaskError: index outside the item, or text that does not occur; names the row and the column.
        """
        return np.array([self._at(i, place, column) for i, place in enumerate(places)], dtype=np.int64)

    def _at(self, i: int, place: int | str, column: str) -> int:
        where = f"row {i + 1} (id {str(self.ids[i])!r}), column {column!r}"
        length = len(self.tokens[i])
        if not isinstance(place, str):
            if place != place or int(place) != place or not -length <= place < length:
                raise TaskError(
                    f"{where}: {place!r} is not a token index; expected an integer in [{-length}, {length - 1}]"
                )
            return int(place) % length
        if self.texts is None or self.spans is None:
            raise TaskError(
                f"{where}: text {place!r} cannot be located without the tokenizer's offsets: give token indices"
            )
        start = self.texts[i].rfind(place) if place else -1
        if start < 0:
            raise TaskError(f"{where}: {place!r} does not occur in the prompt; expected a part of it")
        end = start + len(place)
        spans = self.spans[i]
        inside = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
        if not len(inside):
            raise TaskError(f"{where}: no token covers {place!r}")
        return int(inside[-1])


def encode(model: HookedModel, task: Task, *, chat: bool = False) -> Encoded:
    """Tokenise a task's items for a model.

    Args:
        chat: put each prompt through the tokenizer's chat template, as a user's turn with the answer's turn opened.

    Raises:
        ModelError: the model takes no tokens, has no tokenizer or no chat template.
        TaskError: an item is empty, too long for the model, or outside its vocabulary; names the row.
    """
    if model.input_kind != "tokens":
        raise ModelError(f"model {model.name!r} takes tensors, not text: give a task with tensor inputs")
    ids = [str(i) for i in task.ids]
    if task.tokens is not None:
        if chat:
            raise TaskError("a chat template needs prompts; this task has a tokens column: leave out the chat option")
        structural = _structural_ids(model.tokenizer)
        tokens = [np.asarray(t, dtype=np.int64) for t in task.tokens]
        encoded = Encoded(ids, tokens, [np.isin(t, structural) for t in tokens])
    elif task.prompts is not None:
        encoded = encode_texts(model, task.prompts, ids=ids, chat=chat, check=False)
    else:
        raise TaskError(
            f"model {model.name!r} takes tokens, but the task has neither prompt nor tokens: add one of them"
        )
    _check(model, encoded)
    return encoded


def encode_texts(
    model: HookedModel,
    texts: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    chat: bool = False,
    check: bool = True,
) -> Encoded:
    """Tokenise plain texts (see `encode`), e.g. prompts with a choice appended."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ModelError(
            f"model {model.name!r} has no tokenizer: load it with one, or give the items as a tokens column"
        )
    texts = [str(t) for t in texts]
    if chat:
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(f"the tokenizer of model {model.name!r} has no chat template: leave out the chat option")
        texts = [
            tokenizer.apply_chat_template([{"role": "user", "content": t}], tokenize=False, add_generation_prompt=True)
            for t in texts
        ]
    fast = bool(getattr(tokenizer, "is_fast", False))
    out = tokenizer(
        texts,
        add_special_tokens=not chat,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
        verbose=False,
    )
    tokens = [np.asarray(t, dtype=np.int64) for t in out["input_ids"]]
    around = np.array(tokenizer.all_special_ids if chat else _structural_ids(tokenizer), dtype=np.int64)
    special = [
        np.isin(t, around) | (np.asarray(m, dtype=bool) if not chat else False)
        for t, m in zip(tokens, out["special_tokens_mask"], strict=True)
    ]
    spans = [np.asarray(o, dtype=np.int64).reshape(-1, 2) for o in out["offset_mapping"]] if fast else None
    encoded = Encoded(
        list(ids) if ids is not None else [str(i) for i in range(len(texts))], tokens, special, texts, spans
    )
    if check:
        _check(model, encoded)
    return encoded


def batches(
    items: Encoded | np.ndarray | int, *, batch_tokens: int = 8192, batch_size: int | None = None
) -> list[np.ndarray]:
    """The batch plan: item indices of each batch, the same for the same lengths on every machine.

    Token items are sorted by length, longest first (ties by index), and packed until the padded batch would exceed
    ``batch_tokens`` or ``batch_size``; tensor items (an array, or their number) keep their order, ``batch_size`` (256)
    at a time.
    """
    if not isinstance(items, Encoded):
        n = items if isinstance(items, int) else len(items)
        size = batch_size or 256
        return [np.arange(i, min(i + size, n)) for i in range(0, n, size)]
    lengths = items.lengths
    order = np.argsort(-lengths, kind="stable")
    plan, start = [], 0
    for stop in range(1, len(order) + 1):
        full = stop == len(order) or (stop + 1 - start) * lengths[order[start]] > batch_tokens
        if full or stop - start == batch_size:
            plan.append(order[start:stop])
            start = stop
    return plan


def collate(
    items: Encoded | np.ndarray, indices: Sequence[int] | np.ndarray, *, model: HookedModel | None = None
) -> Batch:
    """The named items as one Batch: tokens padded on the right, tensors as float32 (on the model's device if given)."""
    if isinstance(items, Encoded):
        rows = [items.tokens[i] for i in indices]
        width = max(len(r) for r in rows)
        tokens = np.full((len(rows), width), _pad_id(model), dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
            mask[i, : len(row)] = True
        batch = Batch(tokens=torch.from_numpy(tokens), mask=torch.from_numpy(mask))
    else:
        array = torch.from_numpy(np.ascontiguousarray(items[np.asarray(indices)]))
        dtype = model.dtype if model is not None else torch.float32
        batch = Batch(array=array.to(dtype))
    return batch.to(model.device) if model is not None else batch


def _pad_id(model: HookedModel | None) -> int:
    pad = getattr(model.tokenizer, "pad_token_id", None) if model is not None else None
    return 0 if pad is None else int(pad)


def _structural_ids(tokenizer: Any) -> np.ndarray:
    """Ids of BOS, EOS, CLS, SEP and PAD, as far as the tokenizer has them."""
    names = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
    found = [getattr(tokenizer, n, None) for n in names] if tokenizer is not None else []
    return np.array([i for i in found if i is not None], dtype=np.int64)


def _check(model: HookedModel, encoded: Encoded) -> None:
    unknown = getattr(model.tokenizer, "unk_token_id", None) if encoded.texts is not None else None
    for i, (tokens, special) in enumerate(zip(encoded.tokens, encoded.special, strict=True)):
        where = f"row {i + 1} (id {str(encoded.ids[i])!r})"
        if special.all():
            raise TaskError(
                f"{where}: the item is empty for model {model.name!r}: it has no tokens besides special ones"
            )
        if unknown is not None and (tokens[~special] == unknown).all():
            raise TaskError(
                f"{where}: the tokenizer of model {model.name!r} knows no word of this prompt: the task is not in the "
                "model's vocabulary"
            )
        if model.max_length is not None and len(tokens) > model.max_length:
            raise TaskError(
                f"{where}: {len(tokens)} tokens; model {model.name!r} takes at most {model.max_length}: "
                "shorten the prompt"
            )
        if tokens.min() < 0 or (model.vocab_size is not None and tokens.max() >= model.vocab_size):
            bad = int(tokens.min() if tokens.min() < 0 else tokens.max())
            raise TaskError(
                f"{where}: token id {bad} is outside the vocabulary of model {model.name!r} (0 to "
                f"{(model.vocab_size or 0) - 1}): the tokens or the tokenizer belong to another model"
            )
