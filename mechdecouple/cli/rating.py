"""`mechdecouple rating`: texts of several models rated by people who do not know whose they are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mechdecouple.cli.answer import Answer
from mechdecouple.cli.values import add_voice, seed


def add(commands: Any) -> None:
    """Add the command to the others."""
    rating = commands.add_parser("rating", help="a blind sheet of texts for people to rate, and what comes back")
    actions = rating.add_subparsers(dest="action", required=True, metavar="ACTION")

    export = actions.add_parser(
        "export", help="write a form for each rater, and the key", allow_abbrev=False,
        description="Columns: id, model, text; and where there are any: prompt and answer, which are shown, and group, "
        "the unit of resampling.",
    )  # fmt: skip
    export.add_argument("texts", type=Path, help="table of texts (.csv .tsv .jsonl .json .parquet)")
    export.add_argument("--out", type=Path, required=True, help="directory of the sheet; one in use is refused")
    export.add_argument("--raters", type=int, default=2, help="people who rate (default: 2)")
    export.add_argument("--items", type=int, help="most items, drawn at random; all when absent")
    export.add_argument("--title", default="Rating of texts", help="heading of the forms (default: %(default)s)")
    export.add_argument("--seed", type=seed, default=0, help="seed of items, codes and orders (default: 0)")
    export.set_defaults(run=write)

    read = actions.add_parser("read", help="tell the models' ratings and how far raters agree", allow_abbrev=False)
    read.add_argument("forms", type=Path, nargs="+", help="the folder of filled-in tables (.csv), or the tables")
    read.add_argument("--key", type=Path, required=True, help="key.json of the sheet")
    read.add_argument("--out", type=Path, help="directory for ratings.csv and metrics.parquet")
    read.set_defaults(run=tell)
    for action in (export, read):
        add_voice(action)


def write(options: argparse.Namespace) -> Answer:
    """Write the sheet."""
    from mechdecouple.report.directory import check_writable
    from mechdecouple.report.rating import export_rating
    from mechdecouple.tasks.read import read_table

    texts = read_table(options.texts)
    check_writable(options.out)
    sheet = export_rating(
        texts, options.out, raters=options.raters, items=options.items, title=options.title, seed=options.seed
    )
    text = f"{sheet.n} texts for each of {options.raters} raters in {sheet.forms}; keep {sheet.key} from them"
    return Answer(text, out=options.out, result={"texts": sheet.n, "forms": sheet.forms, "key": sheet.key})


def tell(options: argparse.Namespace) -> Answer:
    """Read filled-in tables, and tell means, differences and agreement."""
    from mechdecouple.report.directory import check_writable
    from mechdecouple.report.rating import read_ratings

    ratings = read_ratings(options.forms[0] if len(options.forms) == 1 else options.forms, options.key)
    measured = ratings.frame()
    if options.out is not None:
        check_writable(options.out)
        options.out.mkdir(parents=True, exist_ok=True)
        ratings.table.to_csv(options.out / "ratings.csv", index=False)
        measured.to_parquet(options.out / "metrics.parquet", index=False)
    shown = measured[["metric", "concept", "model", "model_b", "context", "value", "low", "high", "n", "reason"]]
    return Answer(
        shown.to_string(index=False, float_format="%.3f", na_rep=""), out=options.out,
        result={"raters": ratings.raters, "models": ratings.models, "ratings": measured.to_dict("records")},
    )  # fmt: skip
