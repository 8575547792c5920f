"""Same or different: pairs of models whose mechanisms are known, and what the comparison of mechanisms says of them.

    python analyses/same_or_different.py [--full] [--out out/same_or_different] [--published DIRECTORY]

Each pair has a device that forces what is true of it: copies in another basis, in another order or twice over (same
route, same variables); seeds that use other waves or other representations (same route, other variables); one set of
variables reached through other parts (other route, same variables); attention that can multiply against attention that
can only add (other route, other variables). Every pair is judged with the seeds of its recipes at hand, and once more
without them. The study holds against what is known:

- how often each axis is right where it speaks, with and without seeds, on the pairs whose models were looked at when
  bounds were set, and on pairs of models that nobody had looked at;
- that nothing is said of a copy but that it is the same, or that it cannot be told;
- published nets of modular addition, where their directory is given: every ``.pt`` with its config beside it. Nets of
  one task that differ in whether attention can choose (``attn_coeff``) have other routes, all others the same.

It writes ``result.json``, ``pairs.parquet``, ``evidence.parquet`` and two figures. The quick form takes the pairs whose
weights are shipped; ``--full`` trains some thirty others, about half a minute each on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses._published import published_pairs
from analyses._study import Criterion, Result, Study, arguments, where
from mechdecouple.progress import bar
from mechdecouple.report.style import BAND, COLOURS, GREY, PAGE, new_figure, styled
from mechdecouple.structure.mechanism.compare import MechanismComparison, compare_portraits
from mechdecouple.structure.mechanism.evidence import AXES, evidence_frame
from mechdecouple.structure.mechanism.portrait import Portrait, portray
from mechdecouple.structure.mechanism.verdict import ANSWERS, BY_ANSWER, judge
from mechdecouple.zoo.known_pairs import KNOWN_PAIRS, KnownPair, Specimen

CLAIM = (
    "Two models of known mechanism are told to be the same or different on either axis, by the route and by the "
    "variables of their answers, and nothing wrong is said with confidence."
)
SOURCE = "zoo pairs of known mechanism; clock and pizza: 2306.17844; representations of groups: 2302.03025"
NOTES = (
    "Bounds were set on adders of other widths, on the published clock, pizza and pair of seeds, and on the models of "
    "the pairs that are marked so; the others were judged once they stood.",
    "Right is counted where the comparison speaks: 'cannot tell' is no error, and is counted beside it.",
)
SETS = ("looked at", "held out")
LOOKED_AT = {
    "clock": 6, "pizza": 6, "group-1-3": 2, "group-2-5": 2, "group-4-6": 2, "through": 2, "around": 2, "direct": 2,
    "early": 2, "relay": 2,
}  # fmt: skip
"""Recipe -> how many seeds, from 0, were looked at when bounds were set."""
RIGHT, SPEAKS = 0.9, 0.5
"""Least share of verdicts that are right, of those that speak; least share of pairs of which something is said."""
BUDGET = 24_000
_SEEDS = 3


@dataclasses.dataclass(frozen=True)
class Size:
    """Which pairs are judged."""

    full: bool = False


QUICK, FULL = Size(), Size(full=True)


def run(size: Size = QUICK, published: Path | None = None, *, progress: bool = True) -> Result:
    """The whole study."""
    pairs, evidence = judge_pairs(chosen(size), progress)
    tables, criteria = {"pairs": pairs, "evidence": evidence}, [*verdict_criteria(pairs), *copy_criteria(pairs)]
    if published is not None:
        tables["published"] = judge_published(published, progress)
        criteria += published_criteria(tables["published"])
    return Result(
        name="same_or_different", claim=CLAIM, source=SOURCE, full=size == FULL, notes=NOTES,
        criteria=tuple(criteria), tables=tables,
        figures={"confusion": draw_confusion(pairs), "evidence": draw_evidence(evidence)},
    )  # fmt: skip


def chosen(size: Size) -> tuple[KnownPair, ...]:
    """The known pairs that need no training; all of them, and the same kinds of pairs of fresh seeds, at full size."""
    if not size.full:
        return tuple(pair for pair in KNOWN_PAIRS if pair.shipped)
    return (*KNOWN_PAIRS, *(pair for pair in fresh_pairs() if not pair.doubt()))


def fresh_pairs() -> tuple[KnownPair, ...]:
    """One pair of each kind and more, of seeds beyond those that were looked at; some may turn out to be in doubt."""
    kinds = (
        ("same", "other", [("clock", 6, "clock", 7), ("clock", 6, "clock", 8), ("clock", 7, "clock", 8)]),
        ("same", "other", [("pizza", 6, "pizza", 7), ("pizza", 6, "pizza", 8), ("pizza", 7, "pizza", 8)]),
        ("same", "other", [("group-1-3", 2, "group-2-5", 2), ("group-2-5", 2, "group-4-6", 2)]),
        ("same", "same", [(name, 2, name, 3) for name in ("through", "around", "relay")]),
        ("other", "same", [("through", 2, "around", 2), ("through", 3, "around", 3), ("direct", 2, "relay", 3)]),
        ("other", "same", [("early", 2, "relay", 2), ("direct", 2, "early", 2)]),
        ("other", "other", [("clock", a, "pizza", b) for a in (6, 7, 8) for b in (6, 7, 8) if a != b]),
    )
    made = [
        KnownPair(Specimen(a, i), Specimen(b, j), route, variables, "as the pair of other seeds")
        for route, variables, names in kinds
        for a, i, b, j in names
    ]
    copies = [
        ("clock", 6, "rotated"),
        ("pizza", 7, "permuted"),
        ("group-2-5", 2, "duplicated"),
        ("early", 2, "rotated"),
    ]
    made += [
        KnownPair(Specimen(a, i), Specimen(a, i, kind, copy_seed=2), "same", "same", "a copy")  # pyright: ignore
        for a, i, kind in copies
    ]
    return tuple(made)


def set_of(pair: KnownPair) -> str:
    """Whether both models were looked at when bounds were set."""
    return SETS[0] if all(one.seed < LOOKED_AT.get(one.name, 0) for one in (pair.a, pair.b)) else SETS[1]


class Portraits:
    """Portraits of specimens, each made once; further seeds are those that other pairs need, too."""

    def __init__(self, pairs: Sequence[KnownPair], budget: int) -> None:
        self._budget = budget
        self._task = {one.name: pair.task() for pair in pairs for one in (pair.a, pair.b)}
        self._known = {one for pair in pairs for one in (pair.a, pair.b) if one.copy is None}
        self._made: dict[Specimen, Portrait] = {}

    def __call__(self, one: Specimen) -> Portrait:
        if one not in self._made:
            self._made[one] = portray(one.load(), self._task[one.name], budget=self._budget // 4, whole=False)
        return self._made[one]

    def seeds(self, one: Specimen) -> list[Portrait]:
        """Other seeds of its recipe."""
        others = sorted((o.seed, o) for o in self._known if o.name == one.name and o.seed != one.seed)
        return [self(other) for _, other in others[: _SEEDS - 1]]


def judge_pairs(pairs: Sequence[KnownPair], progress: bool, budget: int = BUDGET) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a pair with what is true and what is said; and all pieces of evidence, each with what is true."""
    rows, pieces, portraits = [], [], Portraits(pairs, budget)
    for pair in bar(pairs, progress=progress, desc="known pairs", unit="pair"):
        found = compare_portraits(
            portraits(pair.a), portraits(pair.b), seeds_a=portraits.seeds(pair.a), seeds_b=portraits.seeds(pair.b),
            budget=budget,
        )  # fmt: skip
        facts = {"pair": pair.name, "set": set_of(pair), "copy": pair.copy}
        facts |= {"true_route": pair.route, "true_variables": pair.variables}
        rows.append({**facts, **said(found), "why": pair.why})
        pieces.append(evidence_frame(found.evidence).assign(**facts))
    return pd.DataFrame(rows), pd.concat(pieces, ignore_index=True)


def said(found: MechanismComparison) -> dict[str, str]:
    """The answer on each axis with seeds, and without."""
    alone = [piece.unseeded() for piece in found.evidence]
    route = judge("route", alone).answer
    alone = [piece for piece in alone if piece.name != BY_ANSWER or route == "same"]
    answers = {"route_alone": route, "variables_alone": judge("variables", alone).answer}
    return {axis: getattr(found, axis).answer for axis in AXES} | answers


def confusion(pairs: pd.DataFrame, axis: str, seeds: bool = True) -> np.ndarray:
    """[2, 3] pairs by what is true (same, other) and what is said (same, other, cannot tell)."""
    answer = pairs[axis if seeds else f"{axis}_alone"]
    counts = [[int(((pairs[f"true_{axis}"] == t) & (answer == a)).sum()) for a in ANSWERS] for t in ANSWERS[:2]]
    return np.array(counts)


def verdict_criteria(pairs: pd.DataFrame) -> list[Criterion]:
    """Right where it speaks, and speaking often enough."""
    found = []
    for name in SETS:
        own = where(pairs, set=name)
        for axis in AXES if len(own) else ():
            for seeds in (True, False):
                table = confusion(own, axis, seeds)
                spoken = table[:, :2].sum()
                right, group = table[0, 0] + table[1, 1], f"{name}, {'with' if seeds else 'without'} seeds"
                found.append(Criterion(
                    group=group, name=f"{axis}: right of {spoken} that speak", side="at least", expected=RIGHT,
                    value=right / spoken if spoken else float("nan"), how="declared beforehand",
                ))  # fmt: skip
                found.append(Criterion(
                    group=group, name=f"{axis}: speaks of {len(own)} pairs", side="at least", expected=SPEAKS,
                    value=spoken / len(own), how="a comparison that never speaks is never wrong",
                ))  # fmt: skip
    return found


def copy_criteria(pairs: pd.DataFrame) -> list[Criterion]:
    """Nothing else is said of a copy than that it is the same."""
    copies = where(pairs, copy=True)
    columns = [c for axis in AXES for c in (axis, f"{axis}_alone")]
    return [
        Criterion(
            group="copies", name=f"{column}: called other, of {len(copies)}", side="at most", expected=0.0,
            value=float((copies[column] == "other").sum()), how="a copy computes the same",
        )
        for column in columns
    ]  # fmt: skip


def judge_published(directory: Path, progress: bool) -> pd.DataFrame:
    """Every pair of published nets of one task, without seeds."""
    rows, made = [], {}
    for pair in bar(published_pairs(directory), progress=progress, desc="published pairs", unit="pair"):
        for net in (pair.a, pair.b):
            if net.name not in made:
                made[net.name] = portray(net.model, pair.task, budget=BUDGET // 4, whole=False)
        found = compare_portraits(made[pair.a.name], made[pair.b.name], budget=BUDGET)
        answers = {axis: getattr(found, axis).answer for axis in AXES}
        rows.append({"a": pair.a.name, "b": pair.b.name, "true_route": pair.route, **answers})
    return pd.DataFrame(rows)


def published_criteria(table: pd.DataFrame) -> list[Criterion]:
    """No route is called what it is not, and no two nets are said to hold the same variables."""
    wrong = (table.route != table.true_route) & (table.route != "cannot tell")
    return [
        Criterion(
            group="published", name=f"routes called wrong, of {len(table)}", side="at most", expected=0.0,
            value=float(wrong.sum()), how="2306.17844",
        ),
        Criterion(
            group="published", name="routes told", side="at least", expected=SPEAKS,
            value=float((table.route != "cannot tell").mean()), how="a comparison that never speaks is never wrong",
        ),
        Criterion(
            group="published", name="variables called the same", side="at most", expected=0.0,
            value=float((table.variables == "same").sum()), how="seeds use other frequencies",
        ),
    ]  # fmt: skip


def draw_confusion(pairs: pd.DataFrame) -> Figure:
    """What is said of how many pairs, by what is true: both axes, with and without seeds."""
    with styled():
        figure = new_figure(PAGE, 1.9)
        axes = figure.subplots(1, 4, sharey=True)
        panels = [(axis, seeds) for axis in AXES for seeds in (True, False)]
        for ax, (axis, seeds) in zip(axes, panels, strict=True):
            table = confusion(pairs, axis, seeds)
            share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
            ax.imshow(share, cmap="Greys", vmin=0, vmax=1.3, aspect="auto")
            for (i, j), count in np.ndenumerate(table):
                wrong = j < 2 and i != j and count > 0
                shade = COLOURS[1] if wrong else "white" if share[i, j] > 0.6 else "black"
                ax.text(j, i, str(count), ha="center", va="center", color=shade, fontweight="bold" if wrong else None)
            ax.set_xticks(range(3), ["same", "other", "cannot\ntell"])
            ax.set_title(f"{axis}, {'with' if seeds else 'without'} seeds")
            ax.set_xlabel("said")
            ax.tick_params(length=0)
        axes[0].set_yticks(range(2), ANSWERS[:2])
        axes[0].set_ylabel("true")
    return figure


def draw_evidence(evidence: pd.DataFrame) -> Figure:
    """The distance of every pair by every piece of evidence, by what is true on its axis, and the bounds."""
    names = list(dict.fromkeys(evidence.evidence))
    with styled():
        figure = new_figure(PAGE, 0.48 * len(names) + 0.9)
        ax = figure.subplots()
        rng = np.random.default_rng(0)
        for i, name in enumerate(names):
            own = where(evidence, evidence=name)
            axis = own.axis.iloc[0]
            within, beyond = own.within.iloc[0], own.beyond.iloc[0]
            if np.isfinite(within):
                ax.barh(-i, within, height=0.8, color=BAND, linewidth=0, zorder=0)
            if np.isfinite(beyond):
                ax.plot([beyond] * 2, [-i - 0.4, -i + 0.4], color=GREY, linewidth=0.9, zorder=1)
            for j, true in enumerate(ANSWERS[:2]):
                rows = own[(own[f"true_{axis}"] == true) & own.distance.notna()]
                at = -i + 0.18 - 0.36 * j + rng.uniform(-0.1, 0.1, len(rows))
                label = f"{true} on its axis" if i == 0 else None
                ax.plot(np.clip(rows.distance, 0, 1.3), at, "os"[j], color=COLOURS[j], markerfacecolor="none",
                        markersize=3, markeredgewidth=0.7, label=label)  # fmt: skip
        ax.set_yticks(
            -np.arange(len(names)), [f"{n}\n({evidence.axis[evidence.evidence == n].iloc[0]})" for n in names]
        )
        ax.set_xlabel("distance (shaded: alike; line: apart beyond)")
        ax.set_ylim(-len(names) + 0.5, 0.5)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


STUDY = Study(
    name="same_or_different", finding=0, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(FULL if full else QUICK, progress=progress),
)  # fmt: skip


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--published", type=Path)
    own, rest = parser.parse_known_args(None if argv is None else list(argv))
    options = arguments("same_or_different", __doc__ or "", rest)
    print(CLAIM, end="\n\n")
    result = run(FULL if options.full else QUICK, own.published)
    result.write(options.out)
    shown = ["pair", "true_route", "route", "route_alone", "true_variables", "variables", "variables_alone"]
    print(result.tables["pairs"][shown].to_string(index=False), end="\n\n")
    print(result.report())
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
