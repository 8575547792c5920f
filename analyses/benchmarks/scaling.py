"""How the time and memory of each stage of a comparison grow with items, width and layers.

    python analyses/benchmarks/scaling.py [--full] [--repeats 1] [--stages sae beliefs ...] [--out scaling.json]

Two untrained transformers answer items of twelve random tokens, about one of two declared concepts, in three contexts,
two rows a group; the families of `compare` have all they ask for (`ancestry`, of which the two have none, and what
`compare` measures on demand, only where they are named). Items, width and layers are varied one at a time from a common
middle; hook points are the layers.

Each size runs in a process of its own. A stage is what `compare` does for it; what several families share is computed
first and counted for itself: `answers and activations` (both models read, their states kept), `effects and gradients`
(ablation of each hook point, gradients of the answers). `--full` takes larger sizes and leaves the options of `compare`
as they are; without it there are 5 blocks of the jackknife, 19 permutations, 200 resamples and 64 items to intervene on
(noise, ablation, weights; 512 as a rule), so that stages which intervene grow with width and layers alone. Seconds are
those of the processor, of one thread, the least of the repeats. Memory is the highest resident size within the stage
less that at its beginning.

The exponent is the slope of log time over log size by least squares, with its 95 % interval (t, as many degrees of
freedom as sizes beyond two), so that a curve which is no power law shows as a wide interval; `at the end` is the slope
between the two largest sizes. Parts that do not grow (a number of training steps, say) pull exponents towards 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from growth import fitted
from threadpoolctl import threadpool_limits

from mechdecouple.compare.config import USUAL, make_config
from mechdecouple.compare.families import MEASURES
from mechdecouple.compare.features import describe_features
from mechdecouple.compare.pairing import choose_points, pair
from mechdecouple.compare.side import Pair, Side, make_side
from mechdecouple.models import HookedModel, build, wrap
from mechdecouple.tasks import Task

TOKENS, LENGTH = 200, 12
FEW = {"blocks": 5, "permutations": 19, "bootstrap": 200, "probe_items": 64}
MIDDLE = {"items": 500, "width": 32, "layers": 2}
SIZES = {"items": (250, 500, 1000, 2000), "width": (16, 32, 64, 96), "layers": (1, 2, 4, 6)}
FULL = {"items": (500, 1000, 2000, 4000, 8000), "width": (64, 128, 256, 512), "layers": (2, 4, 8, 12)}

FIRST = ("answers and activations", "effects and gradients")


def made_task(items: int) -> Task:
    """Items whose last token bears two concepts; the one before it says which of them is asked for."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, TOKENS, size=(items, LENGTH))
    a, b, asked = tokens[:, -1] // 2 % 2, tokens[:, -1] % 2, tokens[:, -2] % 2
    answer = np.where(asked == 0, a, b)
    frame = pd.DataFrame(
        {
            "tokens": tokens.tolist(),
            "choices": [("0", "1")] * items,
            "answer": answer.astype(str),
            "truth": answer,
            "concept_a": a,
            "concept_b": b,
            "asks": np.where(asked == 0, "a", "b"),
            "context": [f"context {i}" for i in tokens[:, 0] % 3],
            "group": np.arange(items) // 2,
        }
    )
    return Task.from_frame(frame, name="last token")


def made_model(width: int, layers: int, seed: int) -> HookedModel:
    """Fresh weights; no positions, which all items share, and a large unembedding: answers depend on the tokens."""
    config = dict(
        n_layers=layers, d_model=width, n_heads=4, d_head=width // 4, d_mlp=4 * width, n_ctx=LENGTH, d_vocab=TOKENS,
        act_fn="gelu", normalization_type="LN", model_name=f"random {seed}",
    )  # fmt: skip
    model = build(config, seed=seed)
    with torch.no_grad():
        model.pos_embed.W_pos.zero_()
        model.unembed.W_U.mul_(3 / width**0.5 / model.unembed.W_U.std())
    return wrap(model, name=f"random {seed}")


@contextmanager
def measured(rows: list[dict], stage: str) -> Iterator[None]:
    """Adds the stage's processor seconds and its memory beyond what was resident before, in bytes."""
    _forget_peak()
    resident, start = _status("VmRSS"), time.process_time()
    yield
    rows.append({"stage": stage, "seconds": time.process_time() - start, "bytes": max(0, _status("VmHWM") - resident)})


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field + ":")))


def stages_of(task: Task, a: HookedModel, b: HookedModel, families: list[str], options: dict[str, int]) -> list[dict]:
    """What `compare` does with a pair, stage by stage."""
    config, rows = make_config({"families": tuple(families), **options}), []
    points = choose_points(a, None)

    def side(model: HookedModel, slot: str) -> Side:
        return make_side(model, task, points, config, slot=slot, loss_unit="token", store=None, progress=False)

    with measured(rows, FIRST[0]):
        both = Pair(side(a, "a"), side(b, "b"), pair(a, points, b, points))
    with measured(rows, FIRST[1]):
        if not all(both.active.values()):
            raise RuntimeError("the answers do not depend on some hook point: the pair measures nothing there")
        for one in (both.a, both.b):
            _ = one.used
    for family in families:
        with measured(rows, family):
            found = MEASURES[family](both, False)
            if found.features is not None:
                describe_features(both, found.features)
    return rows


def one_size(job: tuple[dict[str, int], list[str], dict[str, int], int]) -> list[dict]:
    size, families, options, repeats = job
    task = made_task(size["items"])
    a, b = (made_model(size["width"], size["layers"], seed) for seed in (0, 1))
    found = [stages_of(task, a, b, families, options) for _ in range(repeats)]
    return [
        {**size, "stage": same[0]["stage"], **{key: min(row[key] for row in same) for key in ("seconds", "bytes")}}
        for same in zip(*found, strict=True)
    ]


def show(row: dict) -> str:
    seconds = " ".join(f"{s:7.2f}" for s in row["seconds"])
    return (
        f"{row['stage']:24} {row['axis']:7} {row['exponent']:5.2f} [{row['low']:.2f}, {row['high']:.2f}]".ljust(54)
        + f" {row['at_the_end']:5.2f}  {row['bytes'][-1] / 2**20:6.0f} MiB  {seconds}"
    )


def in_own_process(work: Callable, jobs: list) -> Iterator:
    """Each job in a fresh copy of this process."""
    for job in jobs:
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as alone:
            yield alone.submit(work, job).result()


def main() -> int:
    parser = argparse.ArgumentParser(description="How each stage of a comparison grows.")
    parser.add_argument("--full", action="store_true", help="larger sizes, about half an hour")
    parser.add_argument("--quick", action="store_true", help="two tiny sizes a side: does it run?")
    parser.add_argument("--repeats", type=int, default=1)
    usual = [name for name in USUAL if name != "ancestry"]
    parser.add_argument("--stages", nargs="+", choices=list(MEASURES), default=usual)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sizes, middle, load = FULL if options.full else SIZES, dict(MIDDLE), os.getloadavg()[0]
    if options.full:
        middle = {"items": 2000, "width": 128, "layers": 4}
    if options.quick:
        middle = {"items": 250, "width": 16, "layers": 2}
        sizes = {"items": (250, 300, 350), "width": (16, 24, 32), "layers": (1, 2, 3)}
    chosen = [{**middle, axis: value} for axis, values in sizes.items() for value in values]
    distinct = [dict(size) for size in dict.fromkeys(tuple(size.items()) for size in chosen)]
    rows: list[dict] = []
    torch.set_num_threads(1)
    with threadpool_limits(1):
        few = {} if options.full else FEW
        jobs = [(size, options.stages, few, options.repeats) for size in distinct]
        for size, found in zip(distinct, in_own_process(one_size, jobs), strict=True):
            total = sum(row["seconds"] for row in found)
            words = ", ".join(f"{value} {name}" for name, value in size.items())
            print(f"{words}: {total:.1f} s", file=sys.stderr, flush=True)
            rows += found
    fits = [row for axis in sizes for row in fitted(rows, axis, middle)]
    print(f"{'stage':24} in      exponent [95 %]         at the end  memory at the end, seconds by size")
    print("\n".join(show(row) for row in fits))
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "threads": 1, "cores": os.cpu_count(),
            "load_before": load, "middle": middle, "repeats": options.repeats, "options": few,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": fits}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
