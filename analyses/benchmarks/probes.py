"""How fast probes of all layers, folds and penalties are beside a loop of scikit-learn's LogisticRegression.

    python analyses/benchmarks/probes.py [--repeats 3] [--threads 1] [--quick] [--out probes.json]

Twelve layers of float32 activations whose variances fall as 1/rank along random axes; a binary concept, two rows a
group, grows easier to read from layer to layer. Five grouped folds, seven penalties.

`path`: a held-out score for each layer, fold and penalty. `nested`: the penalty chosen inside the fitted folds by the
log-loss on each of the other folds, then one probe a fold.

scikit-learn: `StandardScaler` once a fit set and `LogisticRegression(C=1 / (n * penalty), max_iter=2000)`, on the same
float32 arrays and, as most code calls it, on float64 ones. It is measured on all fits of every fourth layer (one layer
where nested) and extrapolated by the number of layers; `subset` is its share. Ours is the whole call, `fit_many` or
`cross_validated`, with everything it checks and prepares.

The two are run in turn, the order swapped each time, after one warm-up of ours; ratios are scikit-learn's time over
ours, of neighbouring runs, in processor time of all threads, which neighbours on a shared machine disturb less.
`AUROC` is the largest difference of the two AUROCs of held-out rows over all layers and penalties measured.
`products` is the share of the machine's rate of large float32 matrix products that our call reaches with its own; what
it spends on anything else (eigenvectors, elementwise work, checks) counts against it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from mechdecouple.probes import cross_validated, fit_many, grouped_folds
from mechdecouple.probes.many import PATH, held_out_auroc

FOLDS = 5
SIZES = ((2000, 768), (2000, 256), (500, 768))


def activations(n: int, d: int, n_layers: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.repeat(rng.permutation(n // 2) % 2, 2)
    spread = 1 / np.sqrt(1 + np.arange(d))
    layers = []
    for gap in np.geomspace(0.03, 0.3, n_layers):
        axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
        direction = rng.normal(size=d)
        X = (rng.normal(size=(n, d)) * spread) @ axes.T + gap * np.outer(y - 0.5, direction / np.linalg.norm(direction))
        layers.append(X.astype(np.float32))
    return layers, y, np.arange(n) // 2


def fitted(X: np.ndarray, y: np.ndarray, train: np.ndarray, penalties: tuple[float, ...]) -> list[np.ndarray]:
    """Scores of all rows, one array a penalty."""
    scaler = StandardScaler().fit(X[train])
    Z, everything, found = scaler.transform(X[train]), scaler.transform(X), []
    for penalty in penalties:
        model = LogisticRegression(C=1 / (train.sum() * penalty), max_iter=2000).fit(Z, y[train])
        found.append(model.decision_function(everything))
    return found


def their_path(layer, y, fold) -> np.ndarray:
    found = np.zeros((len(y), len(PATH)))
    for f in range(FOLDS):
        for p, score in enumerate(fitted(layer, y, fold != f, PATH)):
            found[fold == f, p] = score[fold == f]
    return found


def their_nested(layer, y, fold) -> np.ndarray:
    found = np.zeros((len(y), 1))
    for f in range(FOLDS):
        loss = np.zeros(len(PATH))
        for g in set(range(FOLDS)) - {f}:
            rows = fold == g
            for p, score in enumerate(fitted(layer, y, (fold != f) & (fold != g), PATH)):
                loss[p] += (np.logaddexp(0, score[rows]) - y[rows] * score[rows]).sum()
        best = PATH[int(loss.argmin())]
        found[fold == f, 0] = fitted(layer, y, fold != f, (best,))[0][fold == f]
    return found


def timed(work: Callable) -> tuple[float, float, object]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def product_rate() -> float:
    """Best rate of a large float32 product, in operations a second of processor time."""
    A, B = torch.randn(2000, 2000), torch.randn(2000, 2000)
    seconds = min(timed(lambda: A @ B)[1] for _ in range(8))
    return 2 * 2000**3 / seconds


def auroc(score: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    labels = np.repeat(y[:, None].astype(float), score.shape[1], axis=1)
    return held_out_auroc(score[None], labels, fold)[0]


def measure(what: str, n: int, d: int, n_layers: int, repeats: int) -> list[dict]:
    layers, y, groups = activations(n, d, n_layers)
    fold = grouped_folds(y, groups, FOLDS)
    if what == "path":
        chosen = range(1, n_layers, 4)
        theirs, ours = their_path, lambda: fit_many(layers, y, fold).score[:, :, 0]
    else:
        chosen = range(n_layers // 2, n_layers // 2 + 1)
        theirs, ours = their_nested, lambda: cross_validated(layers, y, fold=fold).score
    subset = len(chosen) / n_layers
    with FlopCounterMode(display=False) as counter:
        ours()
    rate, rows = product_rate(), []
    for dtype in (np.float32, np.float64):
        given = [X.astype(dtype) for X in layers]
        times: dict[str, list[float]] = {"sklearn": [], "ours": [], "sklearn_cpu": [], "ours_cpu": []}
        results = {}
        for repeat in range(repeats):
            pair = [("sklearn", lambda given=given: [theirs(given[l], y, fold) for l in chosen]), ("ours", ours)]
            for name, work in pair if repeat % 2 else reversed(pair):
                wall, cpu, results[name] = timed(work)
                share = subset if name == "sklearn" else 1
                times[name].append(wall / share)
                times[f"{name}_cpu"].append(cpu / share)
        differences = [
            np.abs(auroc(score, y, fold) - auroc(results["ours"][l], y, fold)).max()
            for l, score in zip(chosen, results["sklearn"], strict=True)
        ]
        ratios = np.array(times["sklearn_cpu"]) / np.array(times["ours_cpu"])
        rows.append({
            "what": what, "n": n, "d": d, "sklearn dtype": np.dtype(dtype).name, "subset": subset,
            "sklearn_s": statistics.median(times["sklearn_cpu"]), "ours_s": statistics.median(times["ours_cpu"]),
            "ratio": float(np.median(ratios)), "low": float(ratios.min()), "high": float(ratios.max()),
            "auroc_difference": float(max(differences)),
            "products": counter.get_total_flops() / statistics.median(times["ours_cpu"]) / rate,
            "product_rate": rate, "seconds": times,
        })  # fmt: skip
        show(rows[-1])
    return rows


def show(row: dict) -> None:
    print(
        f"{row['what']:7} {row['n']:5} {row['d']:4} {row['sklearn dtype']:8} {row['subset']:5.0%} "
        f"{row['sklearn_s']:10.2f} {row['ours_s']:7.2f}   {row['ratio']:5.1f} [{row['low']:.1f}, {row['high']:.1f}]   "
        f"{row['auroc_difference']:.4f}   {row['products']:.0%}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Probes of everything beside a loop of scikit-learn fits.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three small layers, one run: does it work at all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes, n_layers = (((400, 64),), 3) if options.quick else (SIZES, 12)
    load = os.getloadavg()[0]
    print(f"{'what':7} {'n':>5} {'d':>4} sklearn  subset sklearn s  ours s   ratio [range]        AUROC    products")
    with threadpool_limits(options.threads):
        results = [
            row
            for what in ("path", "nested")
            for n, d in (sizes if what == "path" else sizes[:1])
            for row in measure(what, n, d, n_layers, 1 if options.quick else options.repeats)
        ]
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "sklearn": sklearn.__version__,
            "threads": options.threads, "cores": os.cpu_count(), "machine": platform.machine(), "load_before": load,
            "layers": n_layers, "folds": FOLDS, "penalties": PATH,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
