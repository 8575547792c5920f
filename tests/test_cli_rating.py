"""`mechdecouple rating` as a user meets it."""

from __future__ import annotations

import csv

import pandas as pd
import pytest

from mechdecouple.cli.answer import Answer
from mechdecouple.cli.arguments import parser
from mechdecouple.errors import InputError


def run(*words) -> Answer:
    argv = ["rating", *map(str, words)]
    options = parser(argv).parse_args(argv)
    return options.run(options)


@pytest.fixture
def texts(tmp_path):
    rows = [
        {"id": i, "model": m, "text": f"because {i} {c}"} for i in range(12) for m, c in (("A-1", "x"), ("B-2", "y"))
    ]
    path = tmp_path / "texts.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def fill(path):
    """Texts that end in x are rated 5, others 2."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= dict.fromkeys(("interpretability", "cognitive load"), "5" if row["text"].endswith("x") else "2")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_what_is_exported_and_filled_in_comes_back_by_model(texts, tmp_path):
    written = run("export", texts, "--out", tmp_path / "sheet", "--raters", 3, "--items", 10, "--seed", 4)
    assert written.result["texts"] == 20
    forms = sorted((tmp_path / "sheet" / "forms").glob("*.csv"))
    assert len(forms) == 3
    for form in forms[:2]:
        fill(form)
    forms[2].unlink()
    answer = run(
        "read", tmp_path / "sheet" / "forms", "--key", tmp_path / "sheet" / "key.json", "--out", tmp_path / "out"
    )
    rows = pd.read_parquet(tmp_path / "out" / "metrics.parquet").query("metric == 'rating'")
    means = rows[rows.model_b == ""].groupby("model").value.unique().map(list).to_dict()
    assert means == {"A-1": [5.0], "B-2": [2.0]}
    assert (rows[rows.model_b == "B-2"].value == 3).all()
    assert len(pd.read_csv(tmp_path / "out" / "ratings.csv")) == 2 * 20 * 2
    assert "rater_alpha" in answer.text and answer.result["raters"] == ["rater-1", "rater-2"]
    # the files one by one are the folder
    again = run("read", *forms[:2], "--key", tmp_path / "sheet" / "key.json")
    assert pd.DataFrame(again.result["ratings"]).equals(pd.DataFrame(answer.result["ratings"]))


def test_what_is_wrong_is_one_line_and_leaves_nothing(texts, tmp_path):
    with pytest.raises(InputError, match="0 raters"):
        run("export", texts, "--out", tmp_path / "sheet", "--raters", 0)
    assert not (tmp_path / "sheet").exists()
    with pytest.raises(InputError, match="is a file: name a directory"):
        run("export", texts, "--out", texts)
    run("export", texts, "--out", tmp_path / "sheet")
    with pytest.raises(InputError, match="holds no rating"):
        run("read", tmp_path / "sheet" / "forms", "--key", tmp_path / "sheet" / "key.json", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
