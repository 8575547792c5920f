"""`mechdecouple gap`: what is represented against what is expressed, from a table of scores."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from mechdecouple.cli.answer import DIFFERENT, DONE, Answer
from mechdecouple.cli.values import add_voice, seed


def add(commands: Any) -> None:
    """Add the command to the others."""
    parser = commands.add_parser(
        "gap",
        help="what a model represents against what it expresses, from scores alone",
        description="Columns: id, group, truth (0, 1 or empty), represented (belief in [0, 1], from a probe fitted on "
        "other groups), and expressed (probability in [0, 1]) or claim (0 or 1) or both; stratum, model (one or two) "
        "and question where there are any.",
        allow_abbrev=False,
    )
    parser.add_argument("scores", type=Path, help="table of scores (.csv .tsv .jsonl .json .parquet)")
    parser.add_argument("--out", type=Path, required=True, help="directory for tables, figures and report.html")
    parser.add_argument(
        "--honest", default="", metavar="STRATUM",
        help="stratum in which the truth is asked for; 'honest' where there is one, else all rows",
    )  # fmt: skip
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of groups (default: 1000)")
    parser.add_argument("--permutations", type=int, default=200, help="permutations of the truth (default: 200)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of every random choice (default: 0)")
    parser.add_argument(
        "--fail-on", choices=("belief",), action="append", default=[],
        help="exit 3 where a gap, or a difference of two models' gaps, is flagged",
    )  # fmt: skip
    add_voice(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Answer:
    """Read the table, write the report, tell the verdicts."""
    from mechdecouple.beliefs.score_verdicts import verdicts
    from mechdecouple.beliefs.scores import gap_from_scores
    from mechdecouple.report.gap_page import check_gap_directory, write_gap

    check_gap_directory(options.out)
    report = gap_from_scores(
        options.scores, honest=options.honest, n_resamples=options.bootstrap, n_permutations=options.permutations,
        seed=options.seed,
    )  # fmt: skip
    page = write_gap(report, options.out)
    said = [dataclasses.asdict(verdict) for verdict in verdicts(report)]
    differs = [
        {"on": "belief", "subject": verdict["subject"], "sentence": verdict["sentence"]}
        for verdict in said
        if options.fail_on and verdict["flagged"]
    ]
    return Answer(
        f"{report.summary()}\n\nreport: {page}", DIFFERENT if differs else DONE,
        out=options.out, report=page, differs=differs, result={"scores": options.scores, "verdicts": said},
    )  # fmt: skip
