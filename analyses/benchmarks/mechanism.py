"""What comparing two mechanisms takes, stated beforehand and measured.

    python analyses/benchmarks/mechanism.py [--layers 6] [--width 256] [--items 1000] [--length 16] [--out F]

Two untrained transformers answer items of random tokens, with one declared concept; everything is measured although
nothing can be told of models that guess. There is no peer: the floor is a plain forward pass of the same items, and
`over forward` is the processor time of an item pass of the comparison (ablations, gradients, maps and statistics
included) over that of a forward pass. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mechdecouple.behavior import read
from mechdecouple.models import HookedModel, build, wrap
from mechdecouple.structure.mechanism import compare_mechanisms, mechanism_cost
from mechdecouple.tasks import Task

TOKENS, CHOICES = 200, 4


def task(items: int, length: int) -> Task:
    """Items whose answer is the last token modulo 4."""
    tokens = np.random.default_rng(0).integers(0, TOKENS, size=(items, length))
    frame = pd.DataFrame(
        {
            "tokens": tokens.tolist(),
            "choices": [tuple(map(str, range(CHOICES)))] * items,
            "answer": (tokens[:, -1] % CHOICES).astype(str),
            "concept_last": (tokens[:, -1] % CHOICES).astype(float),
        }
    )
    return Task.from_frame(frame, name="last token")


def model(layers: int, width: int, length: int, seed: int) -> HookedModel:
    config = dict(
        n_layers=layers, d_model=width, n_heads=8, d_head=width // 8, d_mlp=4 * width, n_ctx=length, d_vocab=TOKENS,
        act_fn="gelu", normalization_type="LN", model_name=f"random {seed}",
    )  # fmt: skip
    return wrap(build(config, seed=seed), name=f"random {seed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 6), ("width", 256), ("items", 1000), ("length", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    items = task(args.items, args.length)
    a, b = (model(args.layers, args.width, args.length, seed) for seed in (0, 1))
    read(a, items)
    start = time.process_time()
    read(a, items)
    forward = (time.process_time() - start) / len(items)
    stated = mechanism_cost(a, b, items)
    start, wall = time.process_time(), time.perf_counter()
    found = compare_mechanisms(a, b, items, progress=False)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    print(f"stated   {stated.sentence}")
    print(f"taken    {found.passes:,} item passes, {seconds:.0f} s of one processor, {wall:.0f} s")
    print(f"a forward pass of an item {1000 * forward:.2f} ms; over forward {seconds / found.passes / forward:.2f}")
    if args.out:
        row = {"stated": stated.total, "passes": found.passes, "cpu": seconds, "wall": wall, "forward": forward}
        args.out.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
