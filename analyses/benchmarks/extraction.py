"""How fast extraction is beside a bare Hugging Face forward pass with plain hooks and an early stop.

    python analyses/benchmarks/extraction.py [--repeats 9] [--items 400] [--threads 2] [--out extraction.json]

The model is a 6-layer GPT-2 of width 256 with random weights; the items are random token ids of 16 to 128 tokens. Both
sides run the same batches (sorted by length, at most 8192 padded tokens).

The bare peer is `GPT2Model` in `torch.inference_mode()` with one forward hook on each block asked for. A hook takes the
wanted rows (the last token of each item, or all its tokens) and keeps them in a list; the deepest hook ends the pass by
an exception; the lists are joined at the end. Its batches are collated before the clock starts, and it does no more: no
check for values that are not finite, no reordering, no names.

Ours is a whole call of `mechdecouple.extract`: planning, collation, the pass, the finite check, rows in item order with
their ids, and the manifest; `to disk` adds shards, checksums and fsync. The weights' hash is taken once before.

The two are run in turn, the order swapped each time, after one warm-up; ratios are bare time over our time, of
neighbouring runs, so that 1 is the speed of the bare pass. CPU ratios compare the processor time of all threads, which
neighbours on a shared machine disturb less. The values of both sides are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechdecouple.extract import Plan, extract, plan
from mechdecouple.models import collate, wrap
from mechdecouple.tasks import Task

VOCABULARY, LAYERS, WIDTH = 8000, 6, 256
PLACES = {"layer 2": (2,), "layers 1, 3, 5": (1, 3, 5), "all layers": tuple(range(LAYERS))}


class _Stop(Exception):
    pass


class Bare:
    """The peer: plain hooks on the raw model."""

    def __init__(self, model: GPT2LMHeadModel, layers: tuple[int, ...], todo: Plan) -> None:
        self.model, self.layers, self.every = model.transformer, layers, todo.position == "all"
        batches = [collate(todo.items, numbers, model=todo.model) for numbers in todo.batches]
        self.batches = [(b.tokens, b.mask, b.mask.sum(dim=1) - 1, torch.arange(len(b.mask)), b.padded) for b in batches]

    def __call__(self) -> list[torch.Tensor]:
        kept: dict[int, list[torch.Tensor]] = {layer: [] for layer in self.layers}

        def hook(layer: int) -> Callable:
            def take(_module, _args, output) -> None:
                values = output if isinstance(output, torch.Tensor) else output[0]
                kept[layer].append(values[self.picked])
                if layer == max(self.layers):
                    raise _Stop

            return take

        handles = [self.model.h[layer].register_forward_hook(hook(layer)) for layer in self.layers]
        with torch.inference_mode():
            for tokens, mask, last, rows, padded in self.batches:
                self.picked = mask if self.every else (rows, last)
                try:
                    self.model(input_ids=tokens, attention_mask=mask.long() if padded else None, use_cache=False)
                except _Stop:
                    continue
            joined = [torch.cat(kept[layer]) for layer in self.layers]
        for handle in handles:
            handle.remove()
        return joined


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def side_by_side(bare: Callable, ours: Callable, repeats: int) -> dict[str, list[float]]:
    bare(), ours()
    times: dict[str, list[float]] = {"bare": [], "ours": [], "bare_cpu": [], "ours_cpu": []}
    for repeat in range(repeats):
        pair = [("bare", bare), ("ours", ours)]
        for name, work in pair if repeat % 2 else reversed(pair):
            wall, cpu = timed(work)
            times[name].append(wall)
            times[f"{name}_cpu"].append(cpu)
    return times


def check_same(bare: Bare, found, names: list[str], todo: Plan) -> None:
    order = np.concatenate(todo.batches)
    if todo.position == "all":
        sizes = todo.rows_per_item
        starts = np.cumsum(sizes) - sizes
        order = np.concatenate([np.arange(starts[i], starts[i] + sizes[i]) for i in order])
    for name, values in zip(names, bare(), strict=True):
        np.testing.assert_allclose(found[name][order], values.numpy(), atol=1e-5)


def run(repeats: int, items: int) -> list[dict]:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=128, n_embd=WIDTH, n_layer=LAYERS, n_head=4, bos_token_id=0, eos_token_id=0
    )
    raw = GPT2LMHeadModel(config).eval()
    model = wrap(raw, name="gpt2-6x256")
    rng = np.random.default_rng(0)
    tokens = [rng.integers(1, VOCABULARY, size=rng.integers(16, 129)).tolist() for _ in range(items)]
    task = Task.from_frame(pd.DataFrame({"tokens": tokens}), name="random tokens")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for place, layers in PLACES.items():
            names = [f"blocks.{layer}.hook_resid_post" for layer in layers]
            for position, to in (("last", "memory"), ("all", "memory"), ("all", "disk")):
                todo = plan(model, task, names, position)
                bare = Bare(raw, layers, todo)
                outs = iter(Path(folder) / f"{place} {position} {number}" for number in range(repeats + 2))

                def ours(names=names, position=position, to=to, outs=outs):
                    out = next(outs) if to == "disk" else None
                    return extract(model, task, names, position, out=out, progress=False)

                check_same(bare, ours(), names, todo)
                times = side_by_side(bare, ours, repeats)
                ratios = np.array(times["bare"]) / np.array(times["ours"])
                cpu = np.array(times["bare_cpu"]) / np.array(times["ours_cpu"])
                results.append({
                    "hook points": place, "position": position, "to": to, "tokens": int(todo.work.sum()),
                    "bare_tokens_per_s": todo.work.sum() / statistics.median(times["bare"]),
                    "ours_tokens_per_s": todo.work.sum() / statistics.median(times["ours"]),
                    "ratio": float(np.median(ratios)), "low": float(np.quantile(ratios, 0.25)),
                    "high": float(np.quantile(ratios, 0.75)), "cpu_ratio": float(np.median(cpu)), "seconds": times,
                })  # fmt: skip
                show(results[-1])
    return results


def show(row: dict) -> None:
    print(
        f"{row['hook points']:15} {row['position']:5} {row['to']:7} {row['bare_tokens_per_s']:9,.0f} "
        f"{row['ours_tokens_per_s']:9,.0f}   {row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]   "
        f"{row['cpu_ratio']:.3f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Extraction beside a bare Hugging Face forward pass.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'hook points':15} rows  to      bare tok/s ours tok/s ratio [quartiles]     cpu ratio")
    load = os.getloadavg()[0]
    results = run(options.repeats, options.items)
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "threads": options.threads,
            "cores": os.cpu_count(), "machine": platform.machine(), "load_before": load,
            "repeats": options.repeats, "items": options.items,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
