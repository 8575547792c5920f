"""How fast a represented belief is read, its permutation null included, beside a loop of scikit-learn.

    python analyses/benchmarks/beliefs.py [--repeats 3] [--threads 1] [--quick] [--out beliefs.json]

Twelve layers of float32 activations (those of `probes.py`), n = 2,000, d = 768, five outer folds, the ten pairs of
folds that choose among hook points, two families and seven penalties, 200 permutations of the truth by group through
the whole selection. Ours is the whole call of `represent`, and of `protocol` with four contexts, two strata,
log-likelihood, length, layer 0 and an untrained model.

Loops of scikit-learn that do the same, each measured on a subset and extrapolated by its share:

`same fits`: what `represent` fits, one fit after another: `LogisticRegression` for each layer, pair of folds and
penalty, and one a fold for the end (a fifth of the groups kept aside to calibrate it, as ours does); for each labelling
(the true one and the permuted ones) `Ridge` for each layer, set of folds and penalty, on the 1,500 rows that
`represent` takes at most; every held-out score by `roc_auc_score`.
`same fits, targets at once`: the same, but each `Ridge` fits all labellings as targets of one call.
`logistic throughout`: the logistic selection once more for each permutation, as a plain reading of "permute the whole
pipeline" has it.

All run in turn in one process after a warm-up of ours; times are processor time of all threads, which neighbours on a
shared machine disturb less; ratios are the loop's time over ours. `AUROC` is that of
the middle layer, the mean over folds, by ours (which may choose mass-mean) and by the loop's logistic selection.
"""

from __future__ import annotations

import argparse
import itertools
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
from probes import activations, fitted
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mechdecouple.beliefs import represent
from mechdecouple.beliefs.null import permute_by_group
from mechdecouple.beliefs.protocol import protocol
from mechdecouple.probes import grouped_folds
from mechdecouple.probes.many import PATH
from mechdecouple.probes.probe import calibration_fold

FOLDS, LAYERS, PERMUTATIONS, NULL_ROWS = 5, 12, 200, 1500
RIDGE = (0.01, 0.3)


def logistic_loop(layer: np.ndarray, y: np.ndarray, groups: np.ndarray, fold: np.ndarray) -> float:
    """Nested selection of the penalty by log-loss, one fit after another; its AUROC, the mean over folds."""
    loss = np.zeros((FOLDS, len(PATH)))
    for f, g in itertools.combinations(range(FOLDS), 2):
        found = fitted(layer, y, (fold != f) & (fold != g), PATH)
        for outer, inner in ((f, g), (g, f)):
            rows = fold == inner
            for p, score in enumerate(found):
                loss[outer, p] += (np.logaddexp(0, score[rows]) - y[rows] * score[rows]).sum()
                roc_auc_score(y[rows], score[rows])
    each = []
    for f in range(FOLDS):
        rest = np.flatnonzero(fold != f)
        train = np.isin(np.arange(len(y)), rest[~calibration_fold(y[rest], groups[rest], 0.2, 0)])
        score = fitted(layer, y, train, (PATH[int(loss[f].argmin())],))[0]
        each.append(roc_auc_score(y[fold == f], score[fold == f]))
    return float(np.mean(each))


def ridge_loop(layer: np.ndarray, labels: np.ndarray, fold: np.ndarray, at_once: bool) -> None:
    """The ridge selection of each labelling [r, n], by single fits or with all labellings as targets."""
    sets = [*itertools.combinations(range(FOLDS), 2), *((f,) for f in range(FOLDS))]
    groups = [labels] if at_once else labels[:, None]
    for left_out in sets:
        train = ~np.isin(fold, left_out)
        scaler = StandardScaler().fit(layer[train])
        Z, everything = scaler.transform(layer[train]), scaler.transform(layer)
        for penalty, group in itertools.product(RIDGE, groups):
            model = Ridge(alpha=penalty * len(Z)).fit(Z, group[:, train].T)
            score = model.predict(everything).reshape(len(everything), -1)
            for f in left_out:
                for label, column in zip(group, score.T, strict=True):
                    roc_auc_score(label[fold == f], column[fold == f])


def cpu(work: Callable) -> tuple[float, object]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def measure(n: int, d: int, n_layers: int, permutations: int, repeats: int) -> list[dict]:
    layers, y, groups = activations(n, d, n_layers)
    acts = {f"layer {i}": layer for i, layer in enumerate(layers)}
    fold = grouped_folds(y, groups, FOLDS)
    rng = np.random.default_rng(0)
    kept = np.arange(min(n, NULL_ROWS))
    labels = np.stack([permute_by_group(y[kept], groups[kept], rng) for _ in range(permutations + 1)])
    middle, few = layers[n_layers // 2], 2

    def reading():
        return represent(acts, y, groups, penalties=PATH, n_permutations=permutations)

    def everything():
        return protocol(
            acts,
            y,
            groups,
            context=groups % 4,
            strata={"polarity": np.arange(n) // 2 % 2, "topic": groups % 3},
            loglik=rng.normal(size=n),
            length=rng.integers(5, 20, n),
            layer_0=layers[0],
            untrained={"layer 0": layers[0]},
            n_permutations=permutations,
        )

    reading()
    found: dict[str, list[float]] = {}
    aurocs = {}
    for _ in range(repeats):
        times = {}
        times["represent"], ours = cpu(reading)
        times["protocol"], _ = cpu(everything)
        logistic, theirs = cpu(lambda: logistic_loop(middle, y, groups, fold))
        single, _ = cpu(lambda: ridge_loop(middle[kept], labels[:few], fold[kept], False))
        together, _ = cpu(lambda: ridge_loop(middle[kept], labels, fold[kept], True))
        times["same fits"] = n_layers * (logistic + single * len(labels) / few)
        times["same fits, targets at once"] = n_layers * (logistic + together)
        times["logistic throughout"] = n_layers * logistic * len(labels)
        score = ours.scores[f"layer {n_layers // 2}"]
        each = [roc_auc_score(y[fold == f], score[fold == f]) for f in range(FOLDS)]
        aurocs = {"ours": float(np.mean(each)), "loop": theirs}
        for name, seconds in times.items():
            found.setdefault(name, []).append(seconds)
    rows = []
    for name, seconds in found.items():
        row = {"name": name, "seconds": seconds, "n": n, "d": d, "layers": n_layers, "permutations": permutations}
        for ours in ("represent", "protocol"):
            ratios = np.array(seconds) / np.array(found[ours])
            row[f"over {ours}"] = [float(np.median(ratios)), float(ratios.min()), float(ratios.max())]
        rows.append(row)
        words = "   ".join(
            "{:8.1f} [{:.1f}, {:.1f}]".format(*row[f"over {ours}"]) for ours in ("represent", "protocol")
        )
        print(f"{name:28} {statistics.median(seconds):10.1f}   {words}", flush=True)
    print(f"AUROC of the middle layer: ours {aurocs['ours']:.4f}, loop {aurocs['loop']:.4f}")
    return [*rows, {"name": "auroc", **aurocs}]


def main() -> int:
    parser = argparse.ArgumentParser(description="Represented beliefs beside a loop of scikit-learn fits.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three small layers, one run: does it work at all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    print(f"{'':28} {'seconds':>10}   {'over represent [range]':24}   over protocol [range]")
    with threadpool_limits(options.threads):
        size = (400, 64, 3, 20, 1) if options.quick else (2000, 768, LAYERS, PERMUTATIONS, options.repeats)
        results = measure(*size)
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "sklearn": sklearn.__version__,
            "threads": options.threads, "cores": os.cpu_count(), "machine": platform.machine(), "load_before": load,
            "folds": FOLDS, "penalties": PATH,
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
