"""How fast the similarity maps are beside the public ways of computing them, and how much memory they take.

    python analyses/benchmarks/similarity.py [--quick] [--repeats 5] [--threads 2] [--parts cka knn memory] [--out F]

Layers are random float32 states of 4,096 items that share a part, L of each model, width d.

The peers, in our words but as they are published:

* pair loop: debiased linear CKA from features (Kornblith et al. 2019), numpy, one pair after another: both sides
  centred, three cross products and the correction by row norms, for every pair anew.
* n x n: biased HSIC from Gram matrices centred by two products with I - 1/n, three times a pair. One pair
  is timed at each width and taken times the number of pairs.
* argsort: neighbours by a full sort of each row of the cosine matrix (Huh et al. 2024, torch), counted by 0/1 masks.
  `pair` sorts for every pair anew, as published; `once` sorts every layer once, and `numpy` does so with numpy's sort.

Ours are whole calls: checks, centring, all pairs. `values` has no intervals and no test, as the peers; `+ intervals`
adds 20 jackknife replicates of every pair, `+ 1,000 permutations` the null of the whole map on 256 items instead.

All take turns, the order reversed each time. Times are the shortest of the repeats, and a ratio is peer over ours of
these (for permutations: their additional time over that of the values); in brackets stand the quartiles of the ratios
within a turn. CPU ratios compare the processor time of all threads, which neighbours on a shared machine disturb less;
with one thread and nobody else they are the ratios. `of machine` is the least number of operations of the side that was
chosen, per second of processor time, as a share of that of the fastest float32 matrix product of the same run. The
values of both sides are compared before they are shown.

The memory is the peak resident size of a fresh process that maps 13 layers of 100,000 x 768 in a file against
themselves, with intervals and permutations.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from mechdecouple.structure import cka, cka_matrix, mutual_knn_matrix

ITEMS, NEIGHBOURS = 4096, 10
SIZES = ((6, 256), (12, 256), (6, 512), (12, 512), (6, 768), (12, 768))
HEAD = f"{'':42} {'time':>9} {'ratio':>7} {'[quartiles]':17} {'cpu':>6}   of machine"
RATE = [np.nan, np.nan]


def made(n_layers: int, width: int, items: int = ITEMS) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((items, width), dtype=np.float32)
    layers = [
        shared @ rng.standard_normal((width, width), dtype=np.float32) / width**0.5
        + rng.standard_normal((items, width), dtype=np.float32)
        for _ in range(2 * n_layers)
    ]
    return layers[:n_layers], layers[n_layers:]


def pair_loop(A: list[np.ndarray], B: list[np.ndarray]) -> np.ndarray:
    """Peer: debiased CKA from features, pair by pair."""

    def corrected(product: float, x: np.ndarray, y: np.ndarray) -> float:
        n = len(x)
        return product - n / (n - 2) * float(x @ y) + float(x.sum()) * float(y.sum()) / ((n - 1) * (n - 2))

    def one(X: np.ndarray, Y: np.ndarray) -> float:
        X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
        x, y = np.einsum("ij,ij->i", X, X), np.einsum("ij,ij->i", Y, Y)
        cross = corrected(np.linalg.norm(X.T @ Y) ** 2, x, y)
        return cross / np.sqrt(
            corrected(np.linalg.norm(X.T @ X) ** 2, x, x) * corrected(np.linalg.norm(Y.T @ Y) ** 2, y, y)
        )

    return np.array([[one(X, Y) for Y in B] for X in A])


def by_kernels(X: np.ndarray, Y: np.ndarray) -> float:
    """Peer: biased CKA of one pair from n x n matrices."""

    def centre(gram: np.ndarray) -> np.ndarray:
        n = len(gram)
        projection = np.eye(n) - np.ones((n, n)) / n
        return projection @ gram @ projection

    def hsic(X: np.ndarray, Y: np.ndarray) -> float:
        return float((centre(X @ X.T) * centre(Y @ Y.T)).sum())

    return hsic(X, Y) / np.sqrt(hsic(X, X) * hsic(Y, Y))


def sorted_neighbours(X: np.ndarray, sort: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    x = torch.nn.functional.normalize(torch.from_numpy(X - X.mean(axis=0)), dim=1)
    cosine = x @ x.T
    cosine.fill_diagonal_(-1e8)
    mask = torch.zeros(len(x), len(x))
    return mask.scatter_(1, sort(cosine)[:, :NEIGHBOURS], 1.0)


def torch_sort(cosine: torch.Tensor) -> torch.Tensor:
    return cosine.argsort(dim=1, descending=True)


def numpy_sort(cosine: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.argsort(-cosine.numpy(), axis=1))


def knn_by_pair(A: list[np.ndarray], B: list[np.ndarray]) -> np.ndarray:
    """Peer: every pair sorts both sides."""
    return np.array(
        [[_share(sorted_neighbours(X, torch_sort), sorted_neighbours(Y, torch_sort)) for Y in B] for X in A]
    )


def knn_once(A: list[np.ndarray], B: list[np.ndarray], sort: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """The same with every layer sorted once."""
    masks = [[sorted_neighbours(X, sort) for X in side] for side in (A, B)]
    return np.array([[_share(x, y) for y in masks[1]] for x in masks[0]])


def _share(x: torch.Tensor, y: torch.Tensor) -> float:
    share = float((x * y).sum()) / (NEIGHBOURS * len(x))
    chance = NEIGHBOURS / (len(x) - 1)
    return (share - chance) / (1 - chance)


@dataclasses.dataclass
class Times:
    """Seconds of each repeat [r] of one way: by the clock, and of the processor over all threads."""

    wall: np.ndarray
    cpu: np.ndarray

    def __mul__(self, factor: int) -> Times:
        return Times(self.wall * factor, self.cpu * factor)


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return time.perf_counter() - wall, time.process_time() - cpu, answer


def in_turn(ways: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, Times], dict[str, Any]]:
    """Times and the last answer of each way."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    answers = {}
    for repeat in range(repeats):
        for name, way in list(ways.items()) if repeat % 2 else reversed(ways.items()):
            wall, cpu, answers[name] = timed(way)
            seconds[name].append((wall, cpu))
    return {name: Times(*np.array(times).T) for name, times in seconds.items()}, answers


def machine_rate() -> tuple[float, float]:
    """Operations a second of the fastest large float32 product, by the clock and of processor time."""
    x = torch.randn(2048, 2048)
    wall, cpu = np.min([timed(lambda: x @ x)[:2] for _ in range(8)], axis=0)
    return 2 * 2048**3 / wall, 2 * 2048**3 / cpu


def cka_operations(n_layers: int, width: int, items: int) -> float:
    """Of the side that is cheaper: halves of Gram matrices, or cross products."""
    by_gram = 2 * n_layers * items**2 * width + n_layers**2 * items**2
    by_feature = 2 * items * width**2 * (n_layers**2 + n_layers)
    return min(by_gram, by_feature)


def show(name: str, own: Times, beside: Times | None = None, share: float = np.nan) -> dict:
    """One line: the time of ``own``, its ratio to ``beside``."""
    row: dict[str, Any] = {"name": name, "wall": own.wall.tolist(), "cpu": own.cpu.tolist(), "of_machine": share}
    words = ""
    if beside is not None:
        low, high = np.quantile(own.wall / beside.wall, [0.25, 0.75])
        row |= {"ratio": own.wall.min() / beside.wall.min(), "low": low, "high": high}
        row |= {"cpu_ratio": own.cpu.min() / beside.cpu.min()}
        words = f"{row['ratio']:7.2f} [{low:.2f}, {high:.2f}]".ljust(25) + f"{row['cpu_ratio']:7.2f}"
    print(f"{name:42} {own.wall.min():8.3f}s {words:34} {'' if np.isnan(share) else f'{share:.0%}'}", flush=True)
    return row


def cka_part(sizes: tuple[tuple[int, int], ...], repeats: int, items: int) -> list[dict]:
    rows, kernels = [], {}
    for n_layers, width in sizes:
        A, B = made(n_layers, width, items)
        ways = {
            "pair loop": lambda A=A, B=B: pair_loop(A, B),
            "values": lambda A=A, B=B: cka_matrix(A, B, n_blocks=0, n_permutations=0),
            "intervals": lambda A=A, B=B: cka_matrix(A, B, n_permutations=0),
            "permutations": lambda A=A, B=B: cka_matrix(A, B, n_blocks=0, n_permutations=1000),
        }
        times, answers = in_turn(ways, repeats)
        np.testing.assert_allclose(answers["values"].value.value, answers["pair loop"], atol=1e-5)
        if width not in kernels:
            one, answer = in_turn({"kernels": lambda A=A, B=B: by_kernels(A[0], B[0])}, 1)
            np.testing.assert_allclose(answer["kernels"], cka(A[0], B[0], debiased=False), atol=1e-5)
            kernels[width] = one["kernels"]
        values, loop = times["values"], times["pair loop"]
        added = Times(times["permutations"].wall - values.wall, times["permutations"].cpu - values.cpu)
        place = f"CKA L={n_layers} d={width}: "
        rows += [
            show(place + "values", values, share=cka_operations(n_layers, width, items) / values.cpu.min() / RATE[1]),
            show(place + "pair loop / values", loop, values),
            show(place + "n x n (one pair x pairs) / values", kernels[width] * n_layers**2, values),
            show(place + "pair loop / with intervals", loop, times["intervals"]),
            show(place + "1,000 permutations / values", added, values),
        ]
    return rows


def knn_part(sizes: tuple[tuple[int, int], ...], repeats: int, items: int) -> list[dict]:
    rows = []
    for n_layers, width in sizes:
        A, B = made(n_layers, width, items)
        ways = {
            "argsort, pair": lambda A=A[:1], B=B[:1]: knn_by_pair(A, B),
            "argsort, once": lambda A=A, B=B: knn_once(A, B, torch_sort),
            "argsort, numpy": lambda A=A, B=B: knn_once(A, B, numpy_sort),
            "values": lambda A=A, B=B: mutual_knn_matrix(A, B, n_blocks=0, n_permutations=0),
            "intervals": lambda A=A, B=B: mutual_knn_matrix(A, B, n_permutations=0),
        }
        times, answers = in_turn(ways, repeats)
        np.testing.assert_allclose(answers["values"].value.value, answers["argsort, once"], atol=1e-4)
        times["argsort, pair"] *= n_layers**2
        values = times["values"]
        place = f"kNN L={n_layers} d={width}: "
        rows.append(show(place + "values", values, share=4 * n_layers * items**2 * width / values.cpu.min() / RATE[1]))
        rows += [show(f"{place}{n} / values", times[n], values) for n in ways if n.startswith("argsort")]
        rows.append(show(place + "argsort, once / with intervals", times["argsort, once"], times["intervals"]))
    return rows


class FileLayer:
    """Layer l of a file of float32 layers [L, n, d], read as it is asked for."""

    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, l: int, shape: tuple[int, int]) -> None:
        self.path, self.l, self.shape = path, l, shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        n, d = self.shape
        values = np.fromfile(self.path, np.float32, (stop - start) * d, offset=4 * d * (self.l * n + start))
        return values.reshape(-1, d)


def map_file(path: Path, n_layers: int, items: int, width: int) -> None:
    layers = [FileLayer(path, l, (items, width)) for l in range(n_layers)]
    start = time.perf_counter()
    found = cka_matrix(layers, layers)
    seconds = time.perf_counter() - start
    np.testing.assert_allclose(np.diag(found.value.value), 1, atol=1e-5)
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def memory_part(n_layers: int, items: int, width: int, threads: int) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layers.f32"
        with open(path, "wb") as file:
            for l in range(n_layers):
                rng = np.random.default_rng(l)
                for start in range(0, items, 10_000):
                    rng.standard_normal((min(10_000, items - start), width), dtype=np.float32).tofile(file)
        command = [sys.executable, __file__, "--map", str(path), str(n_layers), str(items), str(width)]
        out = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True).stdout
    found = json.loads(out)
    size = 4 * n_layers * items * width
    print(
        f"CKA {n_layers} x {n_layers} layers of {items:,} x {width}: peak {found['peak'] / 2**30:.2f} GiB "
        f"(the layers: {size / 2**30:.2f} GiB), {found['seconds']:.0f} s with intervals and 1,000 permutations",
        flush=True,
    )
    return [{"name": "memory", **found, "layers": size}]


def main() -> int:
    parser = argparse.ArgumentParser(description="Similarity maps beside the public ways of computing them.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few items and sizes: does it run?")
    parser.add_argument("--parts", nargs="+", choices=["cka", "knn", "memory"], default=["cka", "knn", "memory"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--map", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        if options.map:
            path, *sizes = options.map
            map_file(Path(path), *map(int, sizes))
            return 0
        load, items = os.getloadavg()[0], 512 if options.quick else ITEMS
        RATE[:] = machine_rate()
        print(
            f"float32 products: {RATE[0] / 1e9:.0f} GF/s on {options.threads} threads, {RATE[1] / 1e9:.0f} GF a second"
        )
        print(f"of processor time; load {load:.1f} on {os.cpu_count()} processors")
        print(HEAD)
        rows = []
        if "cka" in options.parts:
            rows += cka_part(SIZES[:1] if options.quick else SIZES, options.repeats, items)
        if "knn" in options.parts:
            rows += knn_part(((2, 64),) if options.quick else ((6, 256), (12, 768)), options.repeats, items)
        if "memory" in options.parts:
            rows += memory_part(13, 10_000 if options.quick else 100_000, 96 if options.quick else 768, options.threads)
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "threads": options.threads, "cores": os.cpu_count(), "load_before": load, "rate": RATE,
            "repeats": options.repeats,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
