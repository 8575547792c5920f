"""How fast latents of two dictionaries are matched, beside a dense correlation matrix with an assignment; its memory.

    python analyses/benchmarks/matching.py [--repeats 3] [--large] [--out matching.json]

Two dictionaries fire on the same rows, k of m latents a row; half of the latents fire together in both up to noise.
The peer standardises dense float32 codes, takes one matrix product and solves the assignment over all m x m pairs
(`scipy.optimize.linear_sum_assignment`), as is usually done; both find the same pairs above the threshold. Ours is the
whole call of `match` without permutations: intervals and the kinds of all latents included. They take turns; times are
processor time, the least of the repeats, and the ratio is the peer's over ours.

`--large` adds 16,384 latents a side on 100,000 rows, ours alone in a fresh process with its peak resident memory, which
the dense codes (6.6 GB each) would not allow.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from mechdecouple.sae import match

THRESHOLD = 0.7


def codes(n: int, m: int, k: int, seed: int = 0) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Two dictionaries [n, m] whose first halves fire together."""
    rng = np.random.default_rng(seed)
    shared = _fires(rng, n, m // 2, k // 2)
    a, b = (sp.hstack([shared, _fires(rng, n, m - m // 2, k - k // 2)], format="csr") for _ in range(2))
    b.data = (b.data * rng.uniform(0.9, 1.1, len(b.data))).astype(np.float32)
    return a, b


def _fires(rng: np.random.Generator, n: int, m: int, k: int) -> sp.csr_matrix:
    columns = rng.integers(m, size=(n, k)).ravel()
    values = rng.uniform(0.5, 1.5, n * k).astype(np.float32)
    made = sp.csr_matrix((values, columns, np.arange(0, n * k + 1, k)), shape=(n, m))
    made.sum_duplicates()
    return made


def dense(a: sp.csr_matrix, b: sp.csr_matrix) -> set[tuple[int, int]]:
    """Pairs of an assignment on the dense correlation matrix, above the threshold."""
    left, right = (_standardised(x.toarray()) for x in (a, b))
    r = left.T @ right / len(left)
    i, j = linear_sum_assignment(-r)
    kept = r[i, j] >= THRESHOLD
    return set(zip(i[kept].tolist(), j[kept].tolist(), strict=True))


def ours(a: sp.csr_matrix, b: sp.csr_matrix) -> set[tuple[int, int]]:
    found = match(a, b, groups=np.arange(a.shape[0]), threshold=THRESHOLD, n_permutations=0)
    return set(zip(found.a.tolist(), found.b.tolist(), strict=True))


def _standardised(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=0)
    scale = x.std(axis=0)
    return x / np.where(scale > 0, scale, np.inf)


def side_by_side(n: int, m: int, k: int, repeats: int) -> dict[str, float]:
    a, b = codes(n, m, k)
    seconds: dict[str, list[float]] = {"dense": [], "ours": []}
    found = {}
    for repeat in range(repeats):
        for name, way in (("dense", dense), ("ours", ours))[:: 1 if repeat % 2 else -1]:
            start = time.process_time()
            found[name] = way(a, b)
            seconds[name].append(time.process_time() - start)
    agree = len(found["dense"] & found["ours"]) / len(found["dense"] | found["ours"])
    least = {name: min(values) for name, values in seconds.items()}
    row = {"n": n, "m": m, "k": k, **least, "ratio": least["dense"] / least["ours"], "agree": agree}
    print(
        f"{m:>6,} x {m:<6,} latents, {n:>7,} rows   dense {row['dense']:6.2f} s   ours {row['ours']:6.2f} s   "
        f"{row['ratio']:5.1f} times   same pairs {agree:.3f}",
        flush=True,
    )
    return row


def large(n: int, m: int, k: int) -> dict[str, float]:
    a, b = codes(n, m, k)
    start = time.process_time()
    pairs = len(ours(a, b))
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"n": n, "m": m, "k": k, "seconds": seconds, "peak_gib": peak, "pairs": pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(large(100_000, 16_384, 32)))
        return
    rows = [side_by_side(20_000, m, 32, args.repeats) for m in (1024, 2048, 4096)]
    if args.large:
        made = subprocess.run([sys.executable, __file__, "--alone"], check=True, capture_output=True, text=True)
        row = json.loads(made.stdout)
        rows.append(row)
        print(
            f"{row['m']:>6,} x {row['m']:<6,} latents, {row['n']:>7,} rows   ours {row['seconds']:.1f} s, peak "
            f"{row['peak_gib']:.2f} GiB, {row['pairs']:,} pairs"
        )
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
