"""Forward passes over many rows of tokens: batches by length, edits made for each batch, memory flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, Edit, HookedModel
from mechdecouple.models.encode import Encoded, batches, collate
from mechdecouple.tasks import Task

EditsFor = Callable[[Batch, np.ndarray, np.ndarray | None], Mapping[str, Edit]]
"""Edits for one batch, from the batch, the task row of each of its rows [b], and the index of each prompt's last token
that is not special [b] (None for tensor inputs). An item can fill several rows of a batch, one for each option."""

LOGITS = 2**26
"""Most logits held at once, b × t × v: a quarter of a gigabyte in float32."""


def token_batches(
    model: HookedModel,
    rows: list[np.ndarray],
    items: np.ndarray,
    last: np.ndarray,
    edits: EditsFor | None,
    batch_tokens: int,
) -> Iterator[tuple[np.ndarray, Batch, Tensor]]:
    """Row indices [b], batch, and logits ([b, t, v]; [b, c] of classifiers) of each batch of ``rows``.

    ``items`` [rows] names the task row behind each row, ``last`` [rows] its last prompt token.
    """
    blank = [np.zeros(len(r), dtype=bool) for r in rows]
    encoded = Encoded(ids=[str(i) for i in items], tokens=rows, special=blank)
    limit = max(1, LOGITS // model.vocab_size) if model.vocab_size else batch_tokens
    for chosen in batches(encoded, batch_tokens=min(batch_tokens, limit)):
        batch = collate(encoded, chosen, model=model)
        made = None if edits is None else edits(batch, items[chosen], last[chosen])
        yield chosen, batch, logits_of(model, batch, made)


def array_batches(
    model: HookedModel, inputs: np.ndarray, edits: EditsFor | None
) -> Iterator[tuple[np.ndarray, Batch, Tensor]]:
    """Item indices [b], batch, and logits [b, c] of each batch of tensor inputs."""
    for chosen in batches(inputs):
        batch = collate(inputs, chosen, model=model)
        made = None if edits is None else edits(batch, chosen, None)
        yield chosen, batch, logits_of(model, batch, made)


def logits_of(model: HookedModel, batch: Batch, edits: Mapping[str, Edit] | None) -> Tensor:
    with torch.inference_mode():
        logits = model.forward(batch, edits=edits).logits
    if logits is None:
        raise ModelError(f"model {model.name!r} gave no logits; load it with its head")
    return logits


def check_finite(values: np.ndarray, items: np.ndarray, model: HookedModel, task: Task) -> None:
    """Refuse answers made of NaN or infinity; ``values`` [k, ...] belong to the task rows ``items`` [k]."""
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        place = task.place(int(items[bad.argmax()]))
        raise ModelError(f"model {model.name!r} gives NaN or infinite logits at {place}; check its weights and dtype")
