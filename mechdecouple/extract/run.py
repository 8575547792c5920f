"""extract: run a model over a task once and keep what passes its hook points."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechdecouple.activations import Activations, store
from mechdecouple.activations.rows import Memory
from mechdecouple.extract.passes import Keep, Passes
from mechdecouple.extract.planning import Plan, plan
from mechdecouple.extract.speed import Speed, speed
from mechdecouple.extract.writer import Writer, is_complete
from mechdecouple.models import HookedModel
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
    that no longer matches its checksum is made again; what is complete already is opened. A device without memory for
    a batch is given half as much, from the start, and whoever goes on goes on with that; the manifest has both sizes.

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
        return _in_memory(todo, progress)
    path = Path(out)
    if not is_complete(path, todo):
        with Writer.at(path, todo) as writer:
            _to_disk(writer, progress)
    return Activations.open(path)


def _in_memory(todo: Plan, progress: bool) -> Activations:
    sizes = todo.rows_per_item
    starts = np.cumsum(sizes) - sizes
    arrays = {name: np.empty((todo.rows, width), np.float32) for name, width in todo.hook_points.items()}
    while True:
        try:
            with _bar(todo, 0, progress) as bar:
                one_by_one = {batch: range(batch, batch + 1) for batch in range(len(todo.batches))}
                measured = _run(todo, one_by_one, partial(_place, arrays, todo, starts), bar, behind=False)
            break
        except torch.OutOfMemoryError:
            smaller = _smaller(todo)
        todo = smaller
        _free(todo)
    if _log.isEnabledFor(logging.INFO):
        measured()
    items = np.repeat(np.arange(len(sizes)), sizes)
    tokens = np.concatenate(todo.tokens) if todo.position == "all" and todo.tokens is not None else None
    manifest = {**todo.manifest(), "complete": True}
    return Activations(Memory(arrays, np.array(todo.task.ids, dtype=str), items, tokens, manifest))


def _place(arrays: dict[str, np.ndarray], todo: Plan, starts: np.ndarray, batch: int, rows: dict[str, Tensor]) -> None:
    """Puts the rows of a batch where they belong in the order of items."""
    at = np.concatenate([starts[item] + np.arange(int(todo.rows_per_item[item])) for item in todo.batches[batch]])
    for name, values in rows.items():
        arrays[name][at] = values.to(torch.float32).numpy()


def _to_disk(writer: Writer, progress: bool) -> None:
    missing = writer.missing()
    while missing or not writer.manifest["complete"]:
        todo = writer.todo
        writer.begin(missing)
        lots = {shard: todo.shards[shard] for shard in missing}
        done = int(todo.work.sum() - sum(todo.work[batch] for lot in lots.values() for batch in lot))
        try:
            with _bar(todo, done, progress) as bar, _threads(writer.manifest["threads"]):
                fast = _run(todo, lots, partial(_add, writer), bar, behind=True)()
        except torch.OutOfMemoryError:
            smaller = _smaller(todo)
        else:
            writer.finish(fast.record())
            return
        # Outside of the except clause, where the failed pass and what it held is forgotten.
        _free(todo)
        missing = writer.begin_again(smaller)


def _add(writer: Writer, shard: int, rows: dict[str, Tensor]) -> None:
    """Writes a shard, its rows beside the item and token that each of them is."""
    todo = writer.todo
    items = np.concatenate([todo.batches[batch] for batch in todo.shards[shard]])
    tensors = {**rows, store.ITEM: torch.from_numpy(np.repeat(items, todo.rows_per_item[items]).astype(np.int64))}
    if todo.position == "all" and todo.tokens is not None:
        tensors[store.TOKEN] = torch.from_numpy(np.concatenate([todo.tokens[item] for item in items]).astype(np.int32))
    writer.add(shard, tensors)


def _run(todo: Plan, lots: Mapping[int, range], keep: Keep, bar: tqdm, *, behind: bool) -> Callable[[], Speed]:
    """Runs and keeps lots of batches; what it returns measures how fast that was and logs it."""
    passes = Passes(todo, keep, lambda batch: bar.update(int(todo.work[batch])), behind=behind)
    start = time.perf_counter()
    passes.run(lots)
    seconds = time.perf_counter() - start

    def measured() -> Speed:
        fast = speed(todo, [batch for lot in lots.values() for batch in lot], seconds, passes.seconds)
        _log.info("%s: %s", todo.model.name, fast)
        return fast

    return measured


def _smaller(todo: Plan) -> Plan:
    smaller = todo.halved()
    _log.warning(
        "%s: %s has no memory for batches of %d %s; going on with %d", todo.model.name, todo.model.device,
        todo.batch_limit, "items" if todo.tokens is None else "padded tokens", smaller.batch_limit,
    )  # fmt: skip
    return smaller


def _free(todo: Plan) -> None:
    """Gives back what the device still holds for tensors that are gone."""
    if todo.model.device.type == "cuda":
        torch.cuda.empty_cache()


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
