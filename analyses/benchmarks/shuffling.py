"""How fast rows are shuffled on their way to a training, beside SAELens' mixing buffer, and how well.

    python analyses/benchmarks/shuffling.py [--quick] [--repeats 3] [--threads 1] [--out F]

`stream`: pieces of rows come in as a model yields them (the same tensor each time, so that nothing else is timed), and
batches of 1,024 go out. SAELens: `sae_lens.training.mixing_buffer`, as it is shipped, half of the pool kept at each
refill. Ours: `MixingBuffer`, filled and emptied in the same rhythm. Both pools hold the same number of rows.

`stored`: rows lie in a store on disk (here in the page cache, on both sides). SAELens' pool is fed by reading it from
front to back, which mixes rows only with those near them; ours serves a permutation of all of them.

Mixing is measured on rows that carry their number. `delay` is the standard deviation of the number of rows by which a
row's place moves, in units of the pool; `alike` is the share of pairs in a batch that came in as one piece, in units of
piece / pool. The larger the delay and the smaller `alike`, the better; equal pools are compared, so both should agree.
For a permutation of n rows the delay is n / sqrt(6) rows.

Both take turns, the order reversed each time. The ratio is theirs over ours in processor time, shortest of the repeats,
which neighbours on a shared machine disturb less than the clock; in brackets its quartiles over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mechdecouple.activations import Activations
from mechdecouple.sae.training.buffer import MixingBuffer
from mechdecouple.sae.training.rows import Stored, table

BATCH = 1024
SIZES = ((65_536, 256, 4096), (65_536, 768, 4096), (65_536, 256, 16_384), (262_144, 256, 4096))
"""Rows of the pool, width of a row, rows of a piece."""


def theirs(pieces: Iterable[torch.Tensor], pool: int) -> Iterator[torch.Tensor]:
    from sae_lens.training.mixing_buffer import mixing_buffer

    return mixing_buffer(pool, BATCH, iter(pieces))


def ours(pieces: Iterable[torch.Tensor], pool: int) -> Iterator[torch.Tensor]:
    buffer = None
    for piece in pieces:
        buffer = buffer or MixingBuffer({"x": piece.shape[1]}, capacity=pool)
        while len(piece):
            piece = piece[buffer.add({"x": piece}) :]
            if not buffer.room:
                buffer.line_up()
                while buffer.waiting >= BATCH:
                    yield buffer.take(BATCH)["x"]


def mixing(batches: Iterable[torch.Tensor], pool: int, piece: int) -> tuple[float, float]:
    """Delay and alike of batches of numbered rows, as above."""
    places, same = [], []
    for batch in batches:
        row = batch[:, 0].numpy().astype(np.int64)
        places.append(row)
        counts = np.bincount(row // piece)
        same.append((counts * (counts - 1)).sum() / (BATCH * (BATCH - 1)))
    rows = np.concatenate(places)
    return float((np.arange(len(rows)) - rows).std() / pool), float(np.mean(same) * pool / piece)


def in_turn(ways: dict[str, Callable[[], Iterable[torch.Tensor]]], repeats: int) -> dict[str, np.ndarray]:
    """Processor seconds a row of each way, one a repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in list(ways.items()) if repeat % 2 else reversed(ways.items()):
            start, rows = time.process_time(), 0
            for batch in way():
                rows += len(batch)
            seconds[name].append((time.process_time() - start) / rows)
    return {name: np.array(values) for name, values in seconds.items()}


def show(name: str, found: dict[str, np.ndarray], mixed: dict[str, tuple[float, float]]) -> dict[str, Any]:
    ratio = float(found["theirs"].min() / found["ours"].min())
    low, high = np.quantile(found["theirs"] / found["ours"], [0.25, 0.75])
    speed = {way: float(1 / seconds.min()) for way, seconds in found.items()}
    words = "  ".join(
        f"{way} {speed[way]:>9,.0f} rows/cpu-s, delay {mixed[way][0]:6.3f}, alike {mixed[way][1]:5.3f}"
        for way in ("theirs", "ours")
    )
    print(f"{name:38} {ratio:6.1f} [{low:.1f}, {high:.1f}]  {words}", flush=True)
    return {"name": name, "ratio": ratio, "low": low, "high": high, "rows_per_cpu_s": speed, "mixing": mixed}


def stream_part(sizes: tuple[tuple[int, int, int], ...], repeats: int) -> list[dict[str, Any]]:
    found = []
    for pool, width, piece in sizes:
        number = 6 * pool // piece
        same = torch.randn(piece, width)
        ways = {
            "theirs": lambda same=same, n=number, pool=pool: theirs([same] * n, pool),
            "ours": lambda same=same, n=number, pool=pool: ours([same] * n, pool),
        }
        numbered = torch.arange(30.0 * pool, dtype=torch.float32)[:, None].split(piece)
        mixed = {
            "theirs": mixing(theirs(numbered, pool), pool, piece),
            "ours": mixing(ours(numbered, pool), pool, piece),
        }
        found.append(show(f"stream: pool {pool:,} x {width}, piece {piece:,}", in_turn(ways, repeats), mixed))
    return found


def stored_part(rows: int, width: int, pool: int, repeats: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        values = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
        values[:, 0] = np.arange(rows)
        acts = Activations.from_arrays({"x": values}, [str(i) for i in range(rows)]).save(Path(folder) / "store")
        del values

        def permuted() -> Iterator[torch.Tensor]:
            feed = Stored(table(acts, ("x",)), batch_size=BATCH)
            return (batch["x"] for batch in feed.batches(rows // BATCH))

        def pooled() -> Iterator[torch.Tensor]:
            return theirs((torch.from_numpy(part) for part in acts.batches("x", 4096)), pool)

        mixed = {"theirs": mixing(pooled(), pool, 4096), "ours": mixing(permuted(), pool, 4096)}
        times = in_turn({"theirs": pooled, "ours": permuted}, repeats)
        return [show(f"stored: {rows:,} x {width}, pool {pool:,}", times, mixed)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Shuffling of rows beside SAELens' mixing buffer.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small pools: does it run?")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    print(f"{options.threads} threads; load {load:.1f} on {os.cpu_count()} processors")
    print(f"{'':38} {'ratio':>6} [quartiles]")
    sizes = ((4096, 32, 512),) if options.quick else SIZES
    found = stream_part(sizes, options.repeats)
    found += (
        stored_part(20_000, 32, 4096, options.repeats)
        if options.quick
        else stored_part(600_000, 256, 65_536, options.repeats)
    )
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "threads": options.threads, "cores": os.cpu_count(), "load_before": load, "repeats": options.repeats,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
