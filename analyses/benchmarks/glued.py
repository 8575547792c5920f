"""A whole comparison beside the same numbers from other tools, glued together by hand.

    python analyses/benchmarks/glued.py [--quick] [--out glued.json]

The demo's pair, two transformers of three layers, on its 3,168 statements (every statement a group of its own, so that
the peers, which know no groups, mean the same). Ours is `compare` with the demo's families; the hand-made script is
`by_hand.py`: TransformerLens reads answers and states (`run_with_cache`) and adds noise (`run_with_hooks`),
scikit-learn's shrunk covariances make read-outs for probe accuracy and CCGP, concept-erasure erases, dimensionality
counts directions, loops of numpy do CKA, neighbours, canonical correlations and rotations, scikit-learn chooses belief
probes in nested folds, SAELens trains two dictionaries a model, scipy matches them.

What is timed:

* `ours`: everything that `compare` gives: these numbers, their intervals, nulls and tests, the same of what the answers
  depend on, the effect of each hook point, what each latent does, verdicts.
* `values`: the script, point values alone.
* `with statistics`: the script with what `compare` gives for its numbers: a refit without each of 20 blocks, 200
  permutations (on 256 items for similarity; of the ridge selection, as `represent` does it, for beliefs), 1,000
  resamples of the gap. One refit costs what the value does; of permutations and resamples a few are run and
  multiplied. No tool gives these; a user would write the loop.

Processor seconds of one thread; each side in a process of its own, with its peak resident memory (in both, the
libraries alone take what stands under `idle`). Then the numbers are compared: those that are the same quantity by
another route must agree. Erasure is scored under noise by `compare` and without it by hand, parallelism has its noise
taken out, belief probes are of one more kind, dictionaries hang on their draws: there the difference is shown and
nothing is asked of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import by_hand
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

import mechdecouple as md
from mechdecouple.compare.families import MEASURES
from mechdecouple.compare.robustness import DRAWS, SCALES
from mechdecouple.structure import noise_std, total_rms
from mechdecouple.tasks import Task

PAIR = "zoo:demo-tidy", "zoo:demo-fractured"
MARK, OPTIONS, POSITION = "|", (" False", " True"), "position_statement"
FAMILIES = ("structure", "similarity", "robustness", "sae", "beliefs")
BLOCKS, PERMUTATIONS, NULL_ITEMS, RESAMPLES, SOME = 20, 200, 256, 1000, 4
TOLERANCE = {
    "performance": 1e-9, "participation_ratio": 1e-3, "effective_rank": 1e-3, "coding_overlap": 1e-3, "cka": 1e-3,
    "mutual_knn": 1e-3, "r2_cca": 1e-3, "procrustes": 1e-3, "probe_accuracy": 0.02, "ccgp": 1e-3,
    "ccgp_concepts": 1e-3, "noise_accuracy": 0.05, "expressed_auroc": 1e-9,
}  # fmt: skip
"""How far the two sides may lie apart; what is not named is shown only."""


def made_task(items: int | None) -> Task:
    frame = md.load_task(PAIR[0]).frame.drop(columns="group")
    if items is not None:
        frame = frame.groupby(["condition", "context"], sort=False).head(items // 8)
    return Task.from_frame(frame.reset_index(drop=True), name="demo, each statement a group", honest="honest")


class Clock:
    """Processor seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str, times: float = 1.0) -> Iterator[None]:
        """Adds what the block takes, ``times`` over."""
        start = time.process_time()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + times * (time.process_time() - start)


def peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ours(items: int | None) -> dict[str, Any]:
    """The whole of `compare`: seconds by stage, the measurements, peak memory."""
    task, clock, a, b = made_task(items), Clock(), *(md.load(ref) for ref in PAIR)
    idle = peak()

    def measured(family: str, measure: Callable) -> Callable:
        def timed(*args):
            with clock(family):
                return measure(*args)

        return timed

    for family, measure in list(MEASURES.items()):
        MEASURES[family] = measured(family, measure)
    with clock("whole"):
        found = md.compare(a, b, task, position=POSITION, families=FAMILIES, progress=False)
    known = {name: clock.seconds.get(name, 0.0) for name in FAMILIES}
    seconds = {**known, "reading and the rest": clock.seconds["whole"] - sum(known.values())}
    return {"seconds": seconds, "frame": found.frame(), "peak": peak(), "idle": idle}


def theirs(items: int | None, sites: list[str], rms: dict[tuple[str, str], float], steps: int) -> dict[str, Any]:
    """The script: seconds of values and of statistics by stage, its numbers, peak memory."""
    task, models, names = made_task(items), [md.load(ref) for ref in PAIR], [ref[4:] for ref in PAIR]
    points, idle = list(models[0].layer_points), peak()
    values, added, rows = Clock(), Clock(), []
    frame, honest = task.frame, task.honest_mask
    truth, context = frame["truth"].to_numpy(dtype=int), frame["context"].to_numpy(dtype=str)[honest]
    concepts = {c: frame[f"concept_{c}"].to_numpy(dtype=int)[honest] for c in ("truth", "negated")}
    right = np.array([str(answer).strip() == OPTIONS[1].strip() for answer in frame["answer"]])

    def add(metric: str, model: str, value: float, **place: str) -> None:
        rows.append({"metric": metric, "model": model, "theirs": float(value), **place})

    layers, read = [], []
    for model, name in zip(models, names, strict=True):
        with values("reading and the rest"):
            ids = np.array([model.tokenizer(prompt).input_ids for prompt in frame["prompt"]])
            mark = model.tokenizer.convert_tokens_to_ids(MARK)
            options = [model.tokenizer(option).input_ids[-1] for option in OPTIONS]
            at = (ids == mark).argmax(axis=1)
            logits, found = by_hand.states(model.module, ids, at, points)
            said = logits[:, options[1]] - logits[:, options[0]]
        add("performance", name, np.mean((said > 0)[honest] == right[honest]))
        layers.append({point: X[honest] for point, X in found.items()})
        read.append((ids, at, options, said, found))

    for name, own in zip(names, layers, strict=True):
        for point in points:
            if np.ptp(own[point], axis=0).max() < 1e-6:
                continue
            start = time.process_time()
            for (metric, concept), value in by_hand.structure(own[point], concepts, context).items():
                add(metric, name, value, hook_point=point, concept=concept)
            seconds = time.process_time() - start
            values.seconds["structure"] = values.seconds.get("structure", 0.0) + seconds
            added.seconds["structure"] = added.seconds.get("structure", 0.0) + BLOCKS * seconds

    A, B = ([own[point] for point in points] for own in layers)
    some = np.random.default_rng(0).permutation(len(A[0]))[:NULL_ITEMS]
    few_a, few_b = ([X[some] for X in side] for side in (A, B))
    for metric, measure in by_hand.SIMILARITY.items():
        start = time.process_time()
        with np.errstate(invalid="ignore"):  # the first hook point is constant
            found = measure(A, B)
        seconds = time.process_time() - start
        values.seconds["similarity"] = values.seconds.get("similarity", 0.0) + seconds
        added.seconds["similarity"] = added.seconds.get("similarity", 0.0) + BLOCKS * seconds
        with added("similarity", PERMUTATIONS / SOME):
            for draw in range(SOME):
                shuffled = np.random.default_rng(draw).permutation(len(some))
                with np.errstate(invalid="ignore"):
                    measure(few_a, [X[shuffled] for X in few_b])
        for (i, p), (j, q) in ((x, y) for x in enumerate(points) for y in enumerate(points)):
            add(metric, names[0], found[i, j], hook_point=p, hook_point_b=q, model_b=names[1])

    for model, name, (ids, at, options, _, found) in zip(models, names, read, strict=True):
        chosen = np.sort(np.random.default_rng(0).choice(np.flatnonzero(honest), min(512, honest.sum()), replace=False))
        for point in sites:
            scale = rms.get((name, point), 1.0) * total_rms(found[point][chosen])
            sizes = [noise_std(float(s), scale, found[point].shape[1]) for s in SCALES]
            with values("robustness"):
                curve = by_hand.noisy_accuracy(
                    model.module, ids[chosen], at[chosen], right[chosen], tuple(options), point, sizes, DRAWS
                )
            for s, value in zip(SCALES, curve, strict=True):
                add("noise_accuracy", name, value, hook_point=point, context=f"eps={s:.2f}")

    middle, held = points[len(points) // 2], np.random.default_rng(0).random(int(honest.sum())) < 1 / 3
    width, k = min(4 * A[0].shape[1], int((~held).sum()) // 4), max(4, A[0].shape[1] // 8)
    with values("sae"):
        codes = [
            [by_hand.dictionary(own[middle][~held], width, k, steps, seed)(own[middle][held]) for seed in (0, 1)]
            for own in layers
        ]
    start = time.process_time()
    add("matched_share", names[0], by_hand.matched_share(codes[0][0], codes[1][1]), model_b=names[1])
    for name, own in zip(names, codes, strict=True):
        add("matched_share_seed", name, by_hand.matched_share(*own))
    # compare matches four pairs, without each block too, and against as many shuffled ones.
    seconds = (time.process_time() - start) * 4 / 3
    values.seconds["sae"] += seconds
    added.seconds["sae"] = (BLOCKS + 99) * seconds

    for name, own, (*_, said, _) in zip(names, layers, read, strict=True):
        with values("beliefs"):
            represented, null = by_hand.belief(own, truth[honest], permutations=2)
            for level in frame["condition"].unique():
                here = (frame["condition"] == level).to_numpy()
                add("expressed_auroc", name, roc_auc_score(truth[here], said[here]), context=level)
        for point, value in represented.items():
            add("represented_auroc", name, value, hook_point=point, context="honest")
        with added("beliefs", len(points) * PERMUTATIONS / 2):
            null()
        with added("beliefs", RESAMPLES / SOME):
            for draw in range(SOME):
                for level in frame["condition"].unique():
                    here = np.flatnonzero(frame["condition"] == level)
                    again = np.random.default_rng(draw).choice(here, len(here))
                    for _ in ("represented", "expressed"):
                        roc_auc_score(truth[again], said[again])
    return {"values": values.seconds, "added": added.seconds, "rows": rows, "peak": peak(), "idle": idle}


def functional_rms(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    """What share of all activations' size the answers depend on, by model and hook point: noise comes in its units."""
    one = frame[frame["metric"].isin(["noise_tolerance", "noise_tolerance_total"])]
    wide = one.pivot_table(index=["model", "hook_point"], columns="metric", values="value").dropna()
    return (wide["noise_tolerance_total"] / wide["noise_tolerance"]).to_dict() if len(wide) else {}


def differences(frame: pd.DataFrame, rows: list[dict]) -> pd.DataFrame:
    """The largest difference of the two sides by metric, over every place at which both have a number."""
    place = ["metric", "model", "model_b", "hook_point", "hook_point_b", "concept", "context"]
    hand = pd.DataFrame(rows).reindex(columns=[*place, "theirs"])
    hand[place] = hand[place].fillna("")
    # The dictionaries' site, and that of the chosen probe, are ours to choose: these numbers have no place.
    both = [
        hand[hand["hook_point"] != ""].merge(frame, on=place),
        hand[hand["hook_point"] == ""].merge(frame.drop_duplicates(["metric", "model", "model_b", "context"]),
                                             on=["metric", "model", "model_b", "context"]),
    ]  # fmt: skip
    joined = pd.concat(both)[["metric", "theirs", "value"]].dropna()
    joined["difference"] = (joined["theirs"] - joined["value"]).abs()
    found = joined.groupby("metric", sort=False).agg(numbers=("difference", "size"), largest=("difference", "max"))
    found["allowed"] = found.index.map(TOLERANCE.get).astype(float)
    return found.reset_index()


def one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def alone(work: Callable, *args) -> Any:
    """In a process of its own, on one thread."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), one_thread) as one:
        return one.submit(work, *args).result()


def main() -> int:
    parser = argparse.ArgumentParser(description="A whole comparison beside tools glued by hand.")
    parser.add_argument("--quick", action="store_true", help="few items and steps: does it run?")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    items, load = 400 if options.quick else None, os.getloadavg()[0]
    os.environ["TQDM_DISABLE"] = "1"
    own = alone(ours, items)
    frame = own["frame"]
    sites = sorted(frame["hook_point"][frame["metric"] == "noise_accuracy"].unique())
    hand = alone(theirs, items, sites, functional_rms(frame), 100 if options.quick else 1000)
    stages = {}
    for stage, seconds in own["seconds"].items():
        values = hand["values"].get(stage, 0.0)
        stages[stage] = {"ours": seconds, "values": values, "with statistics": values + hand["added"].get(stage, 0.0)}
    stages["whole"] = {key: sum(row[key] for row in stages.values()) for key in ("ours", "values", "with statistics")}
    print(f"{'seconds':24} {'ours':>8} {'values':>8} {'ratio':>6} {'with statistics':>16} {'ratio':>6}")
    for stage, row in stages.items():
        ratios = [row[key] / row["ours"] for key in ("values", "with statistics")]
        print(
            f"{stage:24} {row['ours']:8.1f} {row['values']:8.1f} {ratios[0]:6.2f} {row['with statistics']:16.1f} "
            f"{ratios[1]:6.1f}"
        )
    memory = {name: {key: side[key] for key in ("peak", "idle")} for name, side in (("ours", own), ("theirs", hand))}
    print("peak memory, MiB: " + ", ".join(
        f"{name} {side['peak'] / 2**20:.0f} (idle {side['idle'] / 2**20:.0f})" for name, side in memory.items()
    ))  # fmt: skip
    agreement = differences(frame, hand["rows"])
    if options.quick:  # on few items the folds, which the two sides draw apart, tell
        agreement.loc[agreement["metric"] == "probe_accuracy", "allowed"] = np.nan
    print(agreement.to_string(index=False, float_format="{:.2g}".format))
    far = agreement[agreement["largest"] > agreement["allowed"]]
    print(f"numbers of ours: {len(frame):,}, of them with an interval {int(frame['low'].notna().sum()):,}")
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "threads": 1, "cores": os.cpu_count(),
            "load_before": load, "items": len(made_task(items)),
        }  # fmt: skip
        agree = json.loads(agreement.to_json(orient="records", double_precision=15))
        found = {"about": about, "stages": stages, "memory": memory, "agreement": agree}
        found |= {"numbers": len(frame), "numbers by hand": len(hand["rows"])}
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    if len(far):
        print(f"further apart than allowed: {', '.join(far['metric'])}", file=sys.stderr)
    return int(len(far) > 0)


if __name__ == "__main__":
    sys.exit(main())
