"""How fast extraction is, and how much memory it takes, beside a bare forward pass and other ways to the same rows.

    python analyses/benchmarks/extraction.py [--repeats 4] [--items 40] [--threads 1] [--out extraction.json]

The model is a 6-layer GPT-2 of width 256 with random weights; the items are random token ids of 16 to 128 tokens, and
of 128 for SAELens, which takes nothing else. All sides run the same batches (sorted by length, at most 8192 padded
tokens).

* ours: a whole call of `mechdecouple.extract`: planning, collation, the pass, the finite check, rows in item order with
  their ids, and the manifest; `to disk` adds shards, checksums and fsync. The weights' hash is taken once before.
* bare forward: `GPT2Model` in `torch.inference_mode()` with one forward hook on each block asked for. A hook takes the
  wanted rows and keeps them in a list; the deepest one ends the pass by an exception; the lists are joined at the end.
  Batches are collated before the clock starts, and there is no check, no order and no name.
* `HookedTransformer.run_with_cache`, `TransformerBridge.run_with_cache`: told which names to keep and where to stop, in
  `torch.inference_mode()`, on batches collated before; the wanted rows are picked from the cache and joined.
* `CacheActivationsRunner` of SAELens: over a local data set of token ids, with a HookedTransformer, told not to
  shuffle, in parts of 32 MiB; it writes Arrow files without checksums or fsync. Its model is loaded before the clock
  starts.

The values of all sides are compared before anything is timed. They are run in turn, the first one another each time,
after one warm-up; ratios are of runs of the same turn, medians over turns with their quartiles. CPU ratios compare the
processor time of all threads, which neighbours on a shared machine disturb less.

Memory is the highest resident size less that before the work, in a process of its own for each way. Growth is that of
our way to disk at 1, 10 and 100 times as many items, in shards of 2 MiB so that the smallest run, too, fills its
buffers; what still grows are the items themselves, whose token ids are held.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _extraction import BATCH_TOKENS, LAYERS, LENGTH, WAYS, Work, random_task, raw_model

from mechdecouple.activations import store
from mechdecouple.extract import extract
from mechdecouple.models import wrap

OURS = {False: "ours, to memory", True: "ours, to disk"}
BARE, SAELENS = "bare forward", "SAELens CacheActivationsRunner"
IN_MEMORY = [OURS[False], OURS[True], BARE, "HookedTransformer.run_with_cache", "TransformerBridge.run_with_cache"]
EVERY = tuple(range(LAYERS))
SETTINGS: list[tuple[str, tuple[int, ...], str, bool, list[str]]] = [
    ("layer 2, last token", (2,), "last", False, IN_MEMORY[:3]),
    ("layer 2, all tokens", (2,), "all", False, IN_MEMORY),
    ("all layers, all tokens", EVERY, "all", False, IN_MEMORY),
    ("layer 2, all tokens, even lengths", (2,), "all", True, [OURS[True], BARE, SAELENS]),
]
GROWTH, SMALLEST = (1, 10, 100), 100


def quiet() -> None:
    """Bars and logs of the peers kept away from the table."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    logging.disable(logging.WARNING)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds and processor seconds of each way, [repeats, 2]."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    names = list(ways)
    for repeat in range(repeats):
        for at in range(len(names)):
            name = names[(repeat + at) % len(names)]
            times[name].append(timed(ways[name]))
    return {name: np.array(spent) for name, spent in times.items()}


def check_same(ways: dict[str, Any]) -> float:
    """The largest difference from the first of the ways, which also warms them up."""
    rows = {name: way.rows(way()) for name, way in ways.items()}
    first, worst = next(iter(rows.values())), 0.0
    for found in rows.values():
        for one, other in zip(found, first, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
            worst = max(worst, float(np.abs(one - other).max()))
    return worst


def run_setting(setting: tuple, repeats: int, items: int, folder: Path) -> list[dict[str, Any]]:
    title, layers, position, even, names = setting
    work = Work(layers, position, _even(items) if even else items, folder / title, even)
    ways = {name: WAYS[name](work) for name in names}
    worst = check_same(ways)
    times, tokens, rows = in_turn(ways, repeats), int(work.plan.work.sum()), []
    for name, spent in times.items():
        of_bare, by_cpu = (times[BARE] / spent).T
        ours = times.get(OURS[False], times[OURS[True]])
        rows.append({
            "setting": title, "way": name, "tokens": tokens,
            "tokens_per_second": tokens / statistics.median(spent[:, 0]),
            "of_bare": float(np.median(of_bare)), "low": float(np.quantile(of_bare, 0.25)),
            "high": float(np.quantile(of_bare, 0.75)), "cpu_of_bare": float(np.median(by_cpu)),
            "times_ours": float(np.median(spent[:, 0] / ours[:, 0])),
            "cpu_times_ours": float(np.median(spent[:, 1] / ours[:, 1])),
            "largest_difference": worst, "seconds": spent[:, 0].tolist(), "cpu_seconds": spent[:, 1].tolist(),
        })  # fmt: skip
        show(rows[-1])
    return rows


def _even(items: int) -> int:
    """SAELens runs whole batches only."""
    batch = BATCH_TOKENS // LENGTH
    return -(-items // batch) * batch


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['setting']:34} {row['way']:33} {row['tokens_per_second']:9,.0f}  "
        f"{row['of_bare']:5.2f} [{row['low']:.2f}, {row['high']:.2f}]  {row['cpu_of_bare']:5.2f}  "
        f"{row['times_ours']:5.2f}  {row['cpu_times_ours']:5.2f}",
        flush=True,
    )


def memory(setting: tuple, name: str, items: int, folder: Path) -> dict[str, Any]:
    """The peak of one way in a process of its own."""
    title, layers, position, even, _ = setting
    taken = _alone(_way, name, (layers, position, _even(items) if even else items, folder / f"{title} {name}", even))
    row = {"setting": title, "way": name, "items": items, **taken}
    print(f"{title:34} {name:33} {taken['peak_mb']:7.0f} MB for {taken['result_mb']:.0f} MB", flush=True)
    return row


def growth(times: int, folder: Path) -> dict[str, Any]:
    taken = _alone(_grown, SMALLEST * times, folder / f"growth {times}")
    print(
        f"{times:4} × {SMALLEST} items to disk {taken['peak_mb']:7.1f} MB for {taken['result_mb']:.0f} MB", flush=True
    )
    return {"times": times, "items": SMALLEST * times, **taken}


def _alone(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _way(name: str, work: tuple) -> dict[str, float]:
    torch.set_num_threads(1)
    quiet()
    layers, position, items, folder, even = work
    # A small run first: what is loaded and set up at first use is no part of the work.
    small = Work(layers, position, _even(1) if even else 2, folder / "small", even)
    WAYS[name](small)()
    large = Work(layers, position, items, folder, even)
    way = WAYS[name](large)
    peak, _ = peak_mb(way)
    return {"peak_mb": peak, "result_mb": 4 * large.plan.rows * sum(large.plan.hook_points.values()) / 1e6}


def _grown(items: int, folder: Path) -> dict[str, float]:
    torch.set_num_threads(1)
    store.SHARD_BYTES = 2 * 2**20
    model, task = wrap(raw_model(layers=2, width=64), name="gpt2-2x64"), random_task(items)
    _ = model.weight_hash
    options = {"position": "all", "batch_tokens": 2048, "progress": False}
    extract(model, random_task(2), out=folder / "small", **options)
    peak, found = peak_mb(lambda: extract(model, task, out=folder / "all", **options))
    return {"peak_mb": peak, "result_mb": sum(f.stat().st_size for f in found.path.iterdir()) / 1e6}


def peak_mb(work: Callable[[], Any]) -> tuple[float, Any]:
    """The highest resident size during the work less that before it, in MB; and the result."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = _status("VmRSS")
    result = work()
    return (_status("VmHWM") - before) / 1e6, result


def _status(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * float(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Extraction beside a bare forward pass and its peers.")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    load, started = os.getloadavg()[0], time.perf_counter()
    print(f"{'':68} {'tokens/s':>9}  of bare [quartiles]  by cpu  × ours  by cpu")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        results = [row for s in SETTINGS for row in run_setting(s, options.repeats, options.items, root)]
        print("\nhighest memory")
        asked = [(SETTINGS[2], name) for name in IN_MEMORY] + [(SETTINGS[3], name) for name in (OURS[True], SAELENS)]
        peaks = [memory(setting, name, 4 * options.items, root / "memory") for setting, name in asked]
        print()
        grown = [growth(times, root) for times in GROWTH]
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "threads": options.threads,
            "cores": os.cpu_count(), "machine": platform.machine(), "load_before": load,
            "repeats": options.repeats, "items": options.items, "seconds": time.perf_counter() - started,
        }  # fmt: skip
        text = json.dumps({"about": about, "results": results, "memory": peaks, "growth": grown}, indent=1)
        options.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
