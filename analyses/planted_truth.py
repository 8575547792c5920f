"""The planted truth: models of one function whose structure is known, and what every metric says of them.

    python analyses/planted_truth.py [--full] [--out out/planted_truth]

Eight linear readouts of six factors in eight contexts give the same logits to 1e-12, so accuracy and probes see no
difference between them. Their codes are factored, rotated, oblique, copied, fractured, conjunctive or buried in inert
variance, each known in closed form. The study holds every metric against

- its formula on the balanced factorial without noise, to 1e-6;
- a declared table, and the population's value computed from the code alone;
- doses (obliqueness, copies, graded fracture, noise, inert variance, superposition): what should move follows its dose
  with a rank correlation of .95 or more, what should not stays within its margin;
- pairs of one plan, which differ in nothing: 95 % intervals leave out 0 in at most about one of twenty;
- trained networks of equal accuracy and information, factored and fractured, and the same network without training.

It writes ``result.json``, ``table.parquet``, ``doses.parquet``, ``pairs.parquet``, ``trained.parquet`` and two figures.
The quick form takes some minutes on one thread; ``--full`` takes more seeds, 1,000 pairs and trains three seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import pandas as pd

from analyses._planted.closed_forms import N_PLACES, closed_form_criteria
from analyses._planted.doses import DOSES, Dose, dose_criteria, sweep
from analyses._planted.figures import draw_doses, draw_table
from analyses._planted.measures import MEASURES, Measure
from analyses._planted.pairs import compare_pairs, pair_criteria
from analyses._planted.table import MODELS, measure_table, table_criteria
from analyses._planted.trained import ARMS, measure_trained, trained_criteria
from analyses._study import Result, Study, arguments
from mechdecouple.progress import bar

CLAIM = (
    "Models of one function and equal accuracy differ inside in known ways; each metric says what is planted, follows "
    "its dose and nothing else."
)
SOURCE = "planted codes in closed form (mechdecouple.zoo.planting) and trained twins (zoo:factored, zoo:fractured)"
NOTES = (
    "An untrained network is no blank page for probes: the words of each value lie linearly in random embeddings, so "
    "probe accuracy is far above chance; its answers, CCGP and parallelism are at chance.",
    "False positives are counted against 0; the coverage of the intervals is a study of its own.",
)


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured: seeds of the table, of each dose and of the networks; items; pairs."""

    table_seeds: int = 5
    table_items: int = 8192
    dose_seeds: int = 3
    dose_items: int = 4096
    pairs: int = 40
    networks: int = 1
    doses: tuple[Dose, ...] = DOSES


QUICK = Size()
FULL = Size(table_seeds=12, dose_seeds=6, pairs=1000, networks=3)


def run(size: Size = QUICK, *, measures: Mapping[str, Measure] = MEASURES, progress: bool = True) -> Result:
    """The whole study."""
    steps = (
        N_PLACES
        + size.table_seeds * len(MODELS)
        + sum(len(dose.levels) for dose in size.doses) * size.dose_seeds
        + size.pairs
        + size.networks * len(ARMS)
    )
    with bar(total=steps, progress=progress, desc="planted truth") as shown:
        tick = shown.update
        closed = closed_form_criteria(measures, tick)
        table = measure_table(range(size.table_seeds), size.table_items, measures, tick)
        swept = [sweep(dose, range(size.dose_seeds), size.dose_items, measures, tick) for dose in size.doses]
        pairs = compare_pairs(size.pairs, tick)
        trained = measure_trained(range(size.networks), measures, progress, tick)
    doses = pd.concat(swept, ignore_index=True)
    against = table_criteria(table)
    networks = trained_criteria(trained)
    criteria = [
        *closed,
        *against,
        *(c for dose in size.doses for c in dose_criteria(dose, doses)),
        *pair_criteria(pairs),
        *networks,
    ]
    return Result(
        name="planted_truth", claim=CLAIM, source=SOURCE, full=size == FULL, criteria=tuple(criteria), notes=NOTES,
        tables={"table": table, "doses": doses, "pairs": pairs, "trained": trained},
        figures={"table": draw_table(table, trained, against, networks), "doses": draw_doses(size.doses, doses)},
    )  # fmt: skip


STUDY = Study(
    name="planted_truth", finding=0, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(FULL if full else QUICK, progress=progress),
)  # fmt: skip


def main(argv: Iterable[str] | None = None) -> None:
    options = arguments("planted_truth", __doc__ or "", argv)
    print(CLAIM, end="\n\n")
    result = run(FULL if options.full else QUICK)
    result.write(options.out)
    table = result.tables["table"]
    shown = table.pivot_table(index="metric", columns="model", values="value", sort=False).rename(columns=MODELS)
    print(shown.rename_axis(None).rename_axis(None, axis=1).to_string(float_format="{:.3f}".format), end="\n\n")
    print(result.report())
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
