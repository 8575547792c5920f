"""Plan: all that an extraction will do and what it costs, known before the first batch runs."""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

import mechdecouple
from mechdecouple.activations import store
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.extract.pick import Picker, check_position, pick_array, picked_tokens
from mechdecouple.models import Batch, Encoded, HookedModel, batches, collate, encode
from mechdecouple.tasks import Task

# A shard ends here even if it is small, so that a killed run loses little work.
_BATCHES_A_SHARD = 32
_ITEMS_A_BATCH = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What an extraction will do.

    Attributes:
        model, task: what is run on what.
        hook_points: name to width of a row, in the order asked for.
        position, dtype, batch_tokens, chat, special: as given to :func:`plan`.
        batch_limit: padded tokens (items, where inputs are tensors) that a batch may hold: what was asked for, or less
            where the device had no memory for it.
        items: the inputs: token ids, or an array [n, ...].
        tokens: per item, the token indices that become its rows (or its mean); None for tensor inputs.
        batches: item indices of each batch.
        shards: batch numbers of each shard.
    """

    model: HookedModel
    task: Task
    hook_points: dict[str, int]
    position: str
    dtype: str
    batch_tokens: int
    batch_limit: int
    chat: bool
    special: bool
    items: Encoded | np.ndarray
    tokens: list[np.ndarray] | None
    batches: list[np.ndarray]
    shards: list[range]

    @functools.cached_property
    def rows_per_item(self) -> np.ndarray:
        """Rows of each item, int [n]: 1, or its number of tokens at position ``"all"``."""
        if self.position == "all" and self.tokens is not None:
            return np.array([len(tokens) for tokens in self.tokens])
        return np.ones(len(self.task), dtype=np.int64)

    @property
    def rows(self) -> int:
        return int(self.rows_per_item.sum())

    @functools.cached_property
    def work(self) -> np.ndarray:
        """Tokens that each batch runs through the model, padding not counted (tensor inputs: items), int [batches]."""
        sizes = self.items.lengths if isinstance(self.items, Encoded) else np.ones(len(self.task), dtype=np.int64)
        return np.array([sizes[batch].sum() for batch in self.batches])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row over all hook points, with its place."""
        values = store.DTYPES[self.dtype].itemsize * sum(self.hook_points.values())
        return values + (12 if self.position == "all" else 8)

    @property
    def bytes(self) -> int:
        """Bytes on disk: the shards exactly but for their heads, and about what the other files take."""
        names = sum(len(str(id_).encode()) + 24 for id_ in self.task.ids)
        return self.shard_bytes(range(len(self.shards))) + names + 4096

    def shard_bytes(self, numbers: Iterable[int]) -> int:
        """Bytes of some shards, with about what heads them and lists them."""
        heads = 128 * len(self.hook_points) + 512
        return sum(self._rows_of(self.shards[number]) * self.row_bytes + heads for number in numbers)

    def _rows_of(self, batches: Iterable[int]) -> int:
        return sum(int(self.rows_per_item[self.batches[number]].sum()) for number in batches)

    def limited(self, limit: int) -> Plan:
        """The same work in batches that hold at most ``limit`` padded tokens (items, where inputs are tensors)."""
        cut = _batches(self.items, limit)
        smaller = dataclasses.replace(self, batch_limit=limit, batches=cut)
        return dataclasses.replace(smaller, shards=_shards(smaller))

    def halved(self) -> Plan:
        """The same work in batches of half the size of the largest one.

        Raises:
            InputError: that one is a single item.
        """
        largest = max(self.batches, key=self._padded)
        if len(largest) == 1:
            raise _too_large(self, int(largest[0]))
        return self.limited(self._padded(largest) // 2)

    def _padded(self, batch: np.ndarray) -> int:
        """What counts against the limit of a batch."""
        return len(batch) * (int(self.items.lengths[batch].max()) if isinstance(self.items, Encoded) else 1)

    def pick(self, numbers: np.ndarray, values: Tensor, hook_point: str, picker: Picker | None) -> Tensor:
        """The rows [r, d] that ``values``, the activations of the items ``numbers``, contribute."""
        rows = pick_array(values, self.position) if picker is None else picker(values, hook_point)
        if rows.shape[1] != self.hook_points[hook_point]:
            raise InputError(
                f"hook point {hook_point!r} has {rows.shape[1]} values at item {str(self.task.ids[numbers[0]])!r} and "
                f"{self.hook_points[hook_point]} at others; expected one width"
            )
        return rows

    def picker(self, numbers: np.ndarray, batch: Batch) -> Picker | None:
        """Takes rows out of the batch of the items ``numbers``; None for tensor inputs."""
        if self.tokens is None or batch.tokens is None:
            return None
        return Picker([self.tokens[i] for i in numbers], batch.tokens.shape[1], self.position, batch.tokens.device)

    def manifest(self) -> dict[str, Any]:
        """The manifest of what this plan makes, before any file is there."""
        return {
            "format": store.FORMAT,
            "complete": False,
            "model": self.model.provenance(),
            "task": {"name": self.task.name, "fingerprint": self.task.fingerprint},
            "hook_points": [[name, width] for name, width in self.hook_points.items()],
            "position": self.position,
            "dtype": self.dtype,
            "chat": self.chat,
            "special": self.special,
            "batch_tokens": self.batch_tokens,
            "batch_limit": self.batch_limit,
            "threads": torch.get_num_threads(),
            "tools": {
                "mechdecouple": mechdecouple.__version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "safetensors": safetensors.__version__,
            },
            "items": len(self.task),
            "rows": self.rows,
        }


def plan(
    model: HookedModel,
    task: Task,
    hook_points: Sequence[str] | None = None,
    position: str = "last",
    *,
    batch_tokens: int = 8192,
    dtype: str = "float32",
    chat: bool = False,
    special: bool = False,
) -> Plan:
    """What :func:`extract` would do with the same arguments: its ``bytes``, ``batches``, ``rows``. Runs one item.

    Raises:
        InputError: an argument that cannot be used, or (ModelError, TaskError) a model and task that do not fit.
    """
    if dtype not in store.DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; expected one of {', '.join(store.DTYPES)}")
    if batch_tokens < 1:
        raise InputError(f"batch_tokens is {batch_tokens}; expected at least 1")
    names = model.layer_points if hook_points is None else tuple(hook_points)
    if not names:
        raise InputError("no hook point to extract; name at least one")
    repeated = [name for at, name in enumerate(names) if name in names[:at]]
    if repeated:
        raise InputError(f"hook point {repeated[0]!r} is asked for twice; name each once")
    model.check_hook_points(names)
    check_position(task, position)
    tokens: list[np.ndarray] | None = None
    if model.input_kind == "tokens":
        items: Encoded | np.ndarray = encode(model, task, chat=chat)
        tokens = picked_tokens(items, task, position, special)
    elif task.inputs is None:
        raise InputError(f"model {model.name!r} takes tensors, and task {task.name!r} has none; give it an inputs file")
    elif position not in ("last", "mean"):
        raise InputError(f"position {position!r} needs tokens; model {model.name!r} takes tensors: use last or mean")
    else:
        items = task.inputs
    limit = batch_tokens if isinstance(items, Encoded) else _ITEMS_A_BATCH
    draft = Plan(
        model, task, dict.fromkeys(names, 0), position, dtype, batch_tokens, limit, chat, special, items, tokens,
        _batches(items, limit), [],
    )  # fmt: skip
    sized = dataclasses.replace(draft, hook_points=_widths(draft))
    return dataclasses.replace(sized, shards=_shards(sized))


def _batches(items: Encoded | np.ndarray, limit: int) -> list[np.ndarray]:
    if isinstance(items, Encoded):
        return batches(items, batch_tokens=limit)
    return batches(items, batch_size=limit)


def _too_large(todo: Plan, item: int) -> InputError:
    size = f" of {len(todo.items.tokens[item])} tokens" if isinstance(todo.items, Encoded) else ""
    return InputError(
        f"item {str(todo.task.ids[item])!r}{size} does not fit into the memory of {todo.model.device} even by itself; "
        "shorten it, load the model in bfloat16, or ask for fewer hook points"
    )


def _widths(draft: Plan) -> dict[str, int]:
    """Values a row at each hook point, seen on the first item of the first batch."""
    numbers = draft.batches[0][:1]
    batch = collate(draft.items, numbers, model=draft.model)
    with torch.inference_mode():
        try:
            found = draft.model.forward(batch, capture=tuple(draft.hook_points), logits=False).activations
        except torch.OutOfMemoryError:
            raise _too_large(draft, int(numbers[0])) from None
        except RuntimeError as error:
            if not isinstance(draft.items, np.ndarray):
                raise
            raise MismatchError(
                f"model {draft.model.name!r} cannot take the task's inputs, {tuple(draft.items.shape[1:])} an item: "
                f"{str(error).splitlines()[0]}"
            ) from error
        picker = draft.picker(numbers, batch)
        take = (lambda values, _: pick_array(values, draft.position)) if picker is None else picker
        return {name: take(found[name], name).shape[1] for name in draft.hook_points}


def _shards(sized: Plan) -> list[range]:
    """Consecutive batches packed into shards, by bytes and by number."""
    shards, start, held = [], 0, 0
    per_item = sized.rows_per_item
    for number, batch in enumerate(sized.batches):
        size = int(per_item[batch].sum()) * sized.row_bytes
        if number > start and (held + size > store.SHARD_BYTES or number - start == _BATCHES_A_SHARD):
            shards.append(range(start, number))
            start, held = number, 0
        held += size
    return [*shards, range(start, len(sized.batches))]
