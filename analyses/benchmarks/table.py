"""The tables of the README on speed, from what the benchmarks wrote into ``analyses/benchmarks/results``.

    python analyses/benchmarks/table.py

Each benchmark writes its JSON with ``--out``; one that has not been run is left out. ``times as fast`` is the peer's
time over ours: above 1, ours is faster. Where a benchmark has several sizes, the least and the greatest ratio stand.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured beside what: the peer's time over ours, at each size; what memory was seen."""

    what: str
    beside: str
    ratios: tuple[float, ...]
    memory: str = ""


def extraction(found: dict[str, Any]) -> Iterator[Row]:
    peaks = {(row["setting"], row["way"]): row["peak_mb"] for row in found["memory"]}
    for row in found["results"]:
        if row["way"].startswith("ours"):
            continue
        setting = row["setting"]
        own = next((mb for (s, way), mb in peaks.items() if s == setting and way.startswith("ours")), None)
        peak = peaks.get((setting, row["way"]))
        memory = "" if own is None or peak is None else f"{own:.0f} MB, theirs {peak:.0f} MB"
        yield Row(f"extraction: {setting}", row["way"], (row["cpu_times_ours"],), memory)
    grown = ", ".join(f"{row['peak_mb']:.0f}" for row in found["growth"])
    at = ", ".join(f"{row['times']}" for row in found["growth"])
    yield Row(f"extraction to disk of {at} × as many items", "", (), f"{grown} MB")


def similarity(found: dict[str, Any]) -> Iterator[Row]:
    kinds: dict[tuple[str, str], list[float]] = {}
    for row in found["results"]:
        if "ratio" in row:
            size, _, way = row["name"].partition(": ")
            beside, _, ours = way.partition(" / ")
            if beside.startswith("1,000"):
                continue
            kinds.setdefault((f"{size.split()[0]} of all layer pairs, {ours}", beside), []).append(row["cpu_ratio"])
    for (what, beside), ratios in kinds.items():
        yield Row(what, beside, tuple(ratios))
    for row in found["results"]:
        if row["name"] == "memory":
            size = f"{row['layers'] / 2**30:.1f} GiB of layers from disk"
            yield Row(f"CKA with intervals and 1,000 permutations, {size}", "", (), f"{row['peak'] / 2**30:.2f} GiB")


def probes(found: dict[str, Any]) -> Iterator[Row]:
    words = {"path": "probes of every layer, fold and penalty", "nested": "the same, penalty chosen in nested folds"}
    for what, text in words.items():
        ratios = tuple(row["ratio"] for row in found["results"] if row["what"] == what)
        yield Row(text, "scikit-learn LogisticRegression, one fit after another", ratios)


def beliefs(found: dict[str, Any]) -> Iterator[Row]:
    for row in found["results"]:
        if "over represent" in row and row["name"] not in ("represent", "protocol"):
            what = f"represented belief with {row['permutations']} permutations of the pipeline"
            yield Row(what, f"scikit-learn, {row['name']}", (row["over represent"][0],))


def sae(found: dict[str, Any]) -> Iterator[Row]:
    peers: dict[str, list[dict[str, Any]]] = {}
    for row in found["results"]:
        if row["trainer"] != "ours":
            peers.setdefault(row["trainer"], []).append(row)
    for peer, rows in peers.items():
        which = ", ".join(row["architecture"] for row in rows)
        yield Row(f"SAE training ({which})", peer, tuple(row["ratio"] for row in rows))


def shuffling(found: dict[str, Any]) -> Iterator[Row]:
    for kind in ("stream", "stored"):
        ratios = tuple(row["ratio"] for row in found["results"] if row["name"].startswith(kind))
        yield Row(f"shuffling of rows, {kind}", "SAELens' mixing buffer", ratios)


def matching(found: list[dict[str, Any]]) -> Iterator[Row]:
    beside = [row for row in found if "ratio" in row]
    what = f"matching of latents, {beside[0]['m']:,} to {beside[-1]['m']:,} a side"
    yield Row(what, "dense correlations, assignment", tuple(row["ratio"] for row in beside))
    for row in found:
        if "peak_gib" in row:
            yield Row(f"matching of {row['m']:,} latents on {row['n']:,} rows", "", (), f"{row['peak_gib']:.2f} GiB")


def mechanism(found: dict[str, Any]) -> Iterator[Row]:
    share = found["forward"] * found["passes"] / found["cpu"]
    yield Row(
        f"comparison of mechanisms, {found['passes']:,} passes of items", "as many plain forward passes", (share,)
    )


def glued(found: dict[str, Any]) -> Iterator[Row]:
    memory = (
        f"{found['memory']['ours']['peak'] / 2**20:.0f} MiB, theirs {found['memory']['theirs']['peak'] / 2**20:.0f}"
    )
    whole, what = found["stages"]["whole"], "a whole comparison"
    for beside, words in (("with statistics", "the same numbers by hand, with intervals and nulls"),
                          ("values", "by hand, point values alone")):  # fmt: skip
        yield Row(what, words, (whole[beside] / whole["ours"],), memory)


def jobs(found: dict[str, Any]) -> Iterator[Row]:
    for row in found["results"]:
        if row["way"] != "loop":
            workers = f"{row['workers']} worker{'s' * (row['workers'] != 1)}"
            name = row["way"] if row["way"] == "serial" else f"{row['way']}, {workers}"
            yield Row(f"a job, {name}", "a loop of `compare`", (row["ratio"],), f"{row['peak'] / 2**20:.0f} MiB")


BENCHMARKS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "glued": glued, "jobs": jobs, "extraction": extraction, "similarity": similarity, "probes": probes,
    "beliefs": beliefs, "mechanism": mechanism, "sae": sae, "shuffling": shuffling, "matching": matching,
}  # fmt: skip


def markdown(folder: Path = RESULTS) -> str:
    """Every benchmark that has been run, a row for each peer."""
    lines = ["| what | beside | times as fast | peak memory | benchmark |", "| --- | --- | --- | --- | --- |"]
    for name, read in BENCHMARKS.items():
        path = folder / f"{name}.json"
        if path.is_file():
            for row in read(json.loads(path.read_text(encoding="utf-8"))):
                lines.append(f"| {row.what} | {row.beside} | {_range(row.ratios)} | {row.memory} | `{name}.py` |")
    return "\n".join(lines)


def exponents(folder: Path = RESULTS) -> str:
    """How each stage of a comparison grows: exponents with their intervals, seconds and memory in the middle."""
    path = folder / "scaling.json"
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows, middle = found["results"], found["about"]["middle"]
    axes = list(middle)
    size = ", ".join(f"{value} {name}" for name, value in middle.items())
    lines = [
        f"| stage | {' | '.join(f'exponent in {axis}' for axis in axes)} | seconds at {size} | memory there |",
        "| --- " * (len(axes) + 3) + "|",
    ]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = {row["axis"]: row for row in rows if row["stage"] == stage}
        cells = [f"{_short(own[a]['exponent'])} [{_short(own[a]['low'])}, {_short(own[a]['high'])}]" for a in axes]
        first = own[axes[0]]
        at = first["sizes"].index(middle[axes[0]])
        cells += [f"{first['seconds'][at]:.1f}", f"{first['bytes'][at] / 2**20:.0f} MiB"]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(ratios: tuple[float, ...]) -> str:
    ends = dict.fromkeys(_short(ratio) for ratio in (min(ratios), max(ratios))) if ratios else {}
    return " – ".join(ends)


def _short(number: float) -> str:
    """Two figures, no zero before the point."""
    if abs(number) >= 9.95:
        return f"{number:.0f}"
    text = f"{number:.1f}" if abs(number) >= 0.995 else f"{number:.2f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


if __name__ == "__main__":
    print(markdown(), exponents(), sep="\n\n")
