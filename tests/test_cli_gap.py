"""`mechdecouple gap` as a user meets it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mechdecouple.cli.answer import Answer
from mechdecouple.cli.arguments import parser
from mechdecouple.errors import InputError


def run(*words) -> Answer:
    argv = ["gap", *map(str, words), "--bootstrap", "100", "--permutations", "19"]
    options = parser(argv).parse_args(argv)
    return options.run(options)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    truth = np.tile([1, 0], 60)
    belief = expit(5 * (truth - 0.5) + rng.normal(size=120))
    return pd.DataFrame(
        {"id": np.arange(120), "group": np.arange(120) // 2, "truth": truth, "represented": belief, "expressed": belief}
    )


@pytest.fixture
def scores(tmp_path):
    def write(table):
        table.to_csv(tmp_path / "scores.csv", index=False)
        return tmp_path / "scores.csv"

    return write


def test_writes_the_report_and_tells_the_verdicts(table, scores, tmp_path):
    answer = run(scores(table), "--out", tmp_path / "out", "--fail-on", "belief")
    assert (answer.code, answer.differs) == (0, [])
    assert "The model: no gap shown" in answer.text and f"report: {tmp_path / 'out' / 'report.html'}" in answer.text
    assert [verdict["flagged"] for verdict in answer.result["verdicts"]] == [False]
    assert len(pd.read_parquet(tmp_path / "out" / "metrics.parquet")) > 30


def test_fails_on_a_gap_where_asked(table, scores, tmp_path):
    path = scores(table.assign(expressed=0.8, stratum=np.where(table.index % 4 < 2, "asked", "pressed")))
    answer = run(path, "--out", tmp_path / "out", "--honest", "asked", "--fail-on", "belief")
    assert answer.code == 3
    assert [(one["on"], one["subject"]) for one in answer.differs] == [("belief", "the model")]


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"represented": 1.5}, (), "represented: must be a probability in .*, got '1.5'"),
        ({"id": 7}, (), "'7' comes twice"),
        ({}, ("--honest", "calm"), "honest stratum 'calm' is not in scores.csv; the table has no column stratum"),
        ({}, ("--seed", -1), "'-1' is no seed"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(table, scores, tmp_path, change, words, message):
    with pytest.raises(InputError, match=message) as found:
        run(scores(table.assign(**change)), "--out", tmp_path / "out", *words)
    assert "\n" not in str(found.value) and not (tmp_path / "out").exists()


def test_a_directory_of_something_else_is_refused_first(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no gap report \('notes.txt'\)"):
        run(tmp_path / "none.csv", "--out", tmp_path / "out")
