"""Do the 95 % intervals cover, do the tests hold their level? A thousand simulated data sets a case.

    python analyses/coverage.py [--runs 1000] [--only NAME …] [--seed 0] [--out analyses/results]

Every primary metric is simulated on data whose truth is known (`_coverage/worlds.py`), with one and with several rows
a group, uneven contexts, and fewer rows than dimensions; in one model and as the paired difference of two. What an
interval must cover is the population value where that exists in closed form. Procedures that are fitted on n rows, or
biased in n, are asked to cover the mean of their estimate over independent data sets of the same size (2,000 of them);
the column `estimand` says which.

An interval should cover in 93–97 % of the runs, and in at least 93 % where the truth lies at a boundary at which the
estimate is degenerate (no overlap, no errors, nothing shared). Tests should reject in at most 5 %, permutation tests
in 5 %. A true 95 % interval is seen at 93–97 % in 997 of 1,000 studies of 1,000 runs; its Wilson interval is given.
A thousand runs do not tell 6 % from 5 %: at 4,000, the gate's test says 'equal' at the margin in 6.4 % [5.7, 7.2] of
the runs of 'four alike items a group', where the wins of one model come in tighter groups than those of the other.

Cases already in `coverage.json` with the same runs and seed are kept, so an interrupted study goes on where it stopped;
delete the file to begin anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
from _coverage import behavior, structure, tests
from _coverage.draw import figure
from _coverage.study import Case, Row, run

from mechdecouple.report.style import png, save_pdf

COLUMNS = ("metric", "case", "quantity", "groups", "estimand", "truth", "mean", "bias", "sd", "width", "runs",
           "undefined", "rate", "rate_low", "rate_high", "kind", "verdict")  # fmt: skip


def all_cases() -> list[Case]:
    return [*structure.cases(), *behavior.cases(), *tests.cases()]


def chosen(only: Sequence[str]) -> list[Case]:
    """The cases whose ``metric: name`` contains one of the words; all of them without any."""
    return [case for case in all_cases() if not only or any(word in case.key for word in only)]


def study(cases: Sequence[Case], runs: int, seed: int, path: Path, progress: bool = True) -> list[Row]:
    """Run the cases that ``path`` does not hold yet; it is written after each of them."""
    rows = [Row(**{k: record[k] for k in Row.__dataclass_fields__}) for record in _read(path)]
    for case in cases:
        same = [r for r in rows if (r.metric, r.case) == (case.metric, case.name)]
        if same and all((r.runs + r.undefined, r.seed) == (runs, seed) for r in same):
            continue
        rows = [r for r in rows if (r.metric, r.case) != (case.metric, case.name)] + run(
            case, runs, seed, progress=progress
        )
        order = {c.key: i for i, c in enumerate(all_cases())}
        rows.sort(key=lambda r: order.get(f"{r.metric}: {r.case}", len(order)))
        _write(rows, path)
    wanted = {case.key for case in cases}
    return [r for r in rows if f"{r.metric}: {r.case}" in wanted]


def table(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([row.record() for row in rows])[list(COLUMNS)]


def markdown(rows: Sequence[Row]) -> str:
    """The table as it is kept: coverage and Wilson interval in per cent."""
    lines = [
        "| metric | case | quantity | groups | truth | mean | bias | coverage or size | width | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.interval
        rate = f"{row.rate:.1%} [{low:.1%}, {high:.1%}] of {row.runs}"
        numbers = ("", "", "", "")
        if row.kind in ("interior", "boundary"):
            star = "" if row.estimand == "population" else "*"
            numbers = f"{row.truth:.4f}{star}", f"{row.mean:.4f}", f"{row.bias:+.4f}", f"{row.width:.4f}"
        truth, mean, bias, width = numbers
        lines.append(
            f"| {row.metric} | {row.case} | {row.quantity} | {row.groups} | {truth} | {mean} | {bias} | {rate} "
            f"| {width} | {row.verdict} |"
        )
    lines.append("\n\\* mean of the estimate over 2,000 independent data sets of this size.")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="words in 'metric: case'")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(argv)
    cases = chosen(options.only)
    if not cases:
        parser.error(f"no case holds {' or '.join(options.only)}; cases: {', '.join(c.key for c in all_cases())}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = study(cases, options.runs, options.seed, options.out / "coverage.json")
    found = table(rows)
    found.to_csv(options.out / "coverage.csv", index=False, float_format="%.6g")
    (options.out / "coverage.md").write_text(markdown(rows))
    drawing = figure(rows)
    save_pdf(drawing, options.out / "coverage.pdf")
    (options.out / "coverage.png").write_bytes(png(drawing))
    with pd.option_context("display.width", 200, "display.max_rows", None, "display.max_columns", None):
        print(found.drop(columns=["estimand", "kind", "sd"]).round(4).to_string(index=False))
    amiss = [row for row in rows if row.verdict != "holds"]
    print(f"\n{len(rows) - len(amiss)} of {len(rows)} hold.", *(f"\n  {_words(row)}" for row in amiss))
    return 0


def _words(row: Row) -> str:
    return f"{row.metric}: {row.case}, {row.quantity}: {row.verdict} ({row.rate:.1%})"


def _read(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def _write(rows: Sequence[Row], path: Path) -> None:
    whole = path.with_suffix(".tmp")
    whole.write_text(json.dumps([row.record() for row in rows], indent=1) + "\n")
    whole.replace(path)


if __name__ == "__main__":
    sys.exit(main())
