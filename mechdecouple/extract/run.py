"""extract: run a model over a task once and keep what passes its hook points."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechdecouple.activations import Activations, store
from mechdecouple.activations.rows import Memory
from mechdecouple.errors import InputError
from mechdecouple.extract.planning import Plan, plan
from mechdecouple.extract.writer import Writer
from mechdecouple.models import HookedModel, collate
from mechdecouple.progress import bar as progress_bar
from mechdecouple.tasks import Task

_log = logging.getLogger("mechdecouple.extract")


def extract(
    model: HookedModel,
    task: Task,
    hook_points: Sequence[str] | None = None,
    position: str = "last",
    *,
    out: str | Path | None = None,
    batch_tokens: int = 8192,
    dtype: str = "float32",
    chat: bool = False,
    special: bool = False,
    progress: bool = True,
) -> Activations:
    """Activations of ``model`` on the items of ``task``, in one pass that ends at the deepest hook point.

    With ``out`` the rows are streamed to that folder, and memory does not grow with them. Killed at any moment and
    called again with the same arguments, it goes on after the last whole shard and ends with the same bytes; a shard
    that no longer matches its checksum is made again; what is complete already is opened.

    Args:
        hook_points: where to look; by default after the embedding and after each layer.
        position: ``"last"`` token of an item, ``"mean"`` over its tokens, ``"all"`` tokens (a row each), or a
            ``position_*`` column of the task. For models that take tensors: ``"last"`` is the whole flattened
            activation, ``"mean"`` is averaged over space.
        out: folder to write to; in memory without it.
        batch_tokens: padded tokens in one forward pass.
        dtype: what the values are stored in: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        chat: apply the tokenizer's chat template.
        special: count special tokens (BOS, EOS, CLS, SEP, …) too. They are left out by default: their norms are often
            so large that they drown everything else.
        progress: show tokens per second and the time left, where there is a terminal or notebook to show them in.

    Raises:
        InputError: arguments that do not fit; an activation that is not finite, with its item and hook point.
        StoreError: the disk cannot hold the rows; the folder is in use, made by other arguments, or cannot be written.
    """
    options = {"batch_tokens": batch_tokens, "dtype": dtype, "chat": chat, "special": special}
    todo = plan(model, task, hook_points, position, **options)
    if out is None:
        held = 4 * todo.rows * sum(todo.hook_points.values())
        _log.info("%s: %d rows, %s in memory", model.name, todo.rows, store.size_text(held))
        with _bar(todo, 0, progress) as bar:
            return _in_memory(todo, bar)
    path = Path(out)
    with Writer.at(path, todo) as writer:
        missing = writer.missing()
        if missing or not writer.manifest["complete"]:
            writer.begin(missing)
            done = int(todo.work.sum() - sum(todo.work[b] for s in missing for b in todo.shards[s]))
            with _bar(todo, done, progress) as bar, _threads(writer.manifest["threads"]):
                for number in missing:
                    writer.add(number, _shard(todo, number, bar))
            writer.finish()
    return Activations.open(path)


def run_batches(todo: Plan, numbers: Iterable[int]) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Runs batches of a plan; for each its number and its rows [r, d] a hook point, on the CPU in the storage dtype."""
    names = tuple(todo.hook_points)
    for number in numbers:
        items = todo.batches[number]
        with torch.inference_mode():
            batch = collate(todo.items, items, model=todo.model)
            found = todo.model.forward(batch, capture=names, logits=False).activations
            picker = todo.picker(items, batch)
            rows = {name: _stored(todo, items, name, todo.pick(items, found.pop(name), name, picker)) for name in names}
        yield number, rows


def _stored(todo: Plan, items: np.ndarray, hook_point: str, values: Tensor) -> Tensor:
    cast = values.to(store.DTYPES[todo.dtype]).to("cpu", copy=False)
    # One finite sum proves all terms finite; a sum that overflowed proves nothing.
    if not torch.isfinite(cast.sum(dtype=torch.float32)) and not torch.isfinite(cast).all():
        row = int(torch.nonzero(~torch.isfinite(cast).all(dim=1))[0])
        item = np.repeat(items, todo.rows_per_item[items])[row]
        value = values[row][~torch.isfinite(cast[row]).to(values.device)][0].item()
        where = f"item {str(todo.task.ids[item])!r} has {value:g} at hook point {hook_point!r}"
        if np.isfinite(value):
            raise InputError(f"{where}, too large for {todo.dtype}; use bfloat16 or float32")
        raise InputError(f"{where}; expected finite values: check the model's weights and dtype")
    return cast


def _in_memory(todo: Plan, bar: tqdm) -> Activations:
    sizes = todo.rows_per_item
    starts = np.cumsum(sizes) - sizes
    arrays = {name: np.empty((todo.rows, width), np.float32) for name, width in todo.hook_points.items()}
    for number, rows in run_batches(todo, range(len(todo.batches))):
        items = todo.batches[number]
        at = np.concatenate([starts[item] + np.arange(int(sizes[item])) for item in items])
        for name, values in rows.items():
            arrays[name][at] = values.to(torch.float32).numpy()
        bar.update(int(todo.work[number]))
    items = np.repeat(np.arange(len(sizes)), sizes)
    tokens = np.concatenate(todo.tokens) if todo.position == "all" and todo.tokens is not None else None
    manifest = {**todo.manifest(), "complete": True}
    return Activations(Memory(arrays, np.array(todo.task.ids, dtype=str), items, tokens, manifest))


def _shard(todo: Plan, number: int, bar: tqdm) -> dict[str, Tensor]:
    """The tensors of one shard, run now."""
    parts: dict[str, list[Tensor]] = {name: [] for name in todo.hook_points}
    for batch, rows in run_batches(todo, todo.shards[number]):
        for name, values in rows.items():
            parts[name].append(values)
        bar.update(int(todo.work[batch]))
    items = np.concatenate([todo.batches[batch] for batch in todo.shards[number]])
    tensors = {name: torch.cat(parts.pop(name)) for name in todo.hook_points}
    tensors[store.ITEM] = torch.from_numpy(np.repeat(items, todo.rows_per_item[items]).astype(np.int64))
    if todo.position == "all" and todo.tokens is not None:
        tensors[store.TOKEN] = torch.from_numpy(np.concatenate([todo.tokens[item] for item in items]).astype(np.int32))
    return tensors


def _bar(todo: Plan, done: int, progress: bool) -> tqdm:
    unit = "tok" if todo.tokens is not None else "item"
    return progress_bar(
        progress=progress, total=int(todo.work.sum()), initial=done, desc=f"extract {todo.model.name}", unit=unit,
        unit_scale=True,
    )  # fmt: skip


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """The thread count that the first rows were made with: sums split over other threads differ in their last bits."""
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
