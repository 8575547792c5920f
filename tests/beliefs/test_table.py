"""Tables of scores: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mechdecouple.beliefs.table import ScoreTable, refuse_level
from mechdecouple.errors import InputError, MismatchError


def rows(**change):
    columns = {
        "id": ["a", "b", "c", "d"], "group": ["g", "g", "h", "h"], "truth": [1, 0, 1, 0],
        "represented": [0.9, 0.1, 0.8, 0.3], "expressed": [0.7, 0.7, 0.6, 0.5],
    }  # fmt: skip
    return pd.DataFrame({name: value for name, value in (columns | change).items() if value is not None})


def two(**change):
    a, b = (rows(**{"model": [name] * 4, "stratum": ["s"] * 4} | own) for name, own in (("A", {}), ("B", change)))
    return pd.concat([a, b[::-1]], ignore_index=True)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_kind_of_file_reads_alike(tmp_path, ending):
    table = rows(truth=[1, 0, None, 0], claim=[1, 0, 1, None], stratum=["x", "y", "x", "y"])
    path = tmp_path / f"scores.{ending}"
    if ending in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=ending == "jsonl")
    found = ScoreTable.read(path)
    assert found.name == f"scores.{ending}" and found.strata == ("x", "y") and found.models == ("",) and len(found) == 4
    assert (
        found.frame.truth.tolist()[:2] == [1, 0] and np.isnan(found.frame.truth[2]) and np.isnan(found.frame.claim[3])
    )
    assert found.frame.question.tolist() == ["g", "g", "h", "h"]
    assert found.fingerprint == ScoreTable.read(table).fingerprint


def test_words_for_truth_and_other_columns(tmp_path):
    path = tmp_path / "s.csv"
    rows(truth=["True", "false", "1.0", ""], prompt=["x"] * 4).to_csv(path, index=False)
    found = ScoreTable.read(path).frame
    assert found.truth.tolist()[:3] == [1, 0, 1] and np.isnan(found.truth[3]) and "prompt" not in found


def test_two_models_come_in_one_order():
    found = ScoreTable.read(two(expressed=[0.1, 0.2, 0.3, 0.4]))
    assert found.models == ("A", "B") and len(found) == 4
    assert found.of("B").id.tolist() == ["a", "b", "c", "d"] and found.of("B").expressed.tolist() == [
        0.1,
        0.2,
        0.3,
        0.4,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ["a", "b", "a", "d"]}, r"row 3 \(id 'a'\), column id: 'a' comes twice"),
        ({"id": ["a", "", "c", "d"]}, r"row 2, column id: is empty"),
        ({"group": ["g", None, "h", "h"]}, r"column group: is empty"),
        ({"represented": [0.9, 1.2, 0.8, 0.3]}, r"row 2 \(id 'b'\), column represented: .*\[0, 1\], got 1.2"),
        ({"expressed": [0.9, 0.2, -0.1, 0.3]}, r"column expressed: .*got -0.1"),
        ({"expressed": ["0.9", "high", "0.1", "0.3"]}, r"got 'high'"),
        ({"expressed": [0.9, np.inf, 0.1, 0.3]}, r"got inf"),
        ({"truth": [1, 0, 2, 0]}, r"column truth: must be 0, 1 or empty, got 2"),
        ({"claim": [1, 0, 0.5, 0]}, r"column claim: must be 0, 1 or empty, got 0.5"),
        ({"represented": [np.nan] * 4}, r"column represented is empty"),
        ({"truth": None}, r"has no column 'truth'"),
        ({"expressed": None}, r"has neither a column 'expressed' nor 'claim'"),
        ({"expressed": None, "expresed": [0.1] * 4}, r"did you mean 'expresed'"),
        ({"claims": [1, 0, 0, 1]}, r"'claims' would not be read; did you mean 'claim'"),
        ({"model": list("ABCD")}, r"holds 4 models \(A, B, C, D …\)"),
        ({"question": ["q", "r", "q", "s"]}, r"question 'q' is in 2 groups"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change, message):
    with pytest.raises(InputError, match=message) as found:
        ScoreTable.read(rows(**change))
    assert "\n" not in str(found.value)


def test_empty_tables_and_missing_files(tmp_path):
    with pytest.raises(InputError, match="has no rows"):
        ScoreTable.read(rows().iloc[:0])
    with pytest.raises(InputError, match="no such file"):
        ScoreTable.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ["a", "b", "c", "e"]}, "id 'd' is there for model 'A' and not for 'B'"),
        ({"truth": [1, 0, 1, 1]}, "truth of id 'd' is 0.0 for model 'A' and 1.0 for 'B'"),
        ({"stratum": ["s", "s", "s", "r"]}, "stratum of id 'd' is 's' for model 'A' and 'r' for 'B'"),
    ],
)
def test_two_models_need_the_same_statements(change, message):
    with pytest.raises(MismatchError, match=message):
        ScoreTable.read(two(**change))


def test_unknown_truth_is_the_same_for_both():
    table = two()
    table.loc[table.id == "a", "truth"] = np.nan
    assert len(ScoreTable.read(table)) == 4


def test_an_honest_stratum_must_be_there():
    refuse_level(ScoreTable.read(rows(stratum=["x", "y", "x", "y"])), "x")
    with pytest.raises(InputError, match=r"'z' is not in scores; there are x, y"):
        refuse_level(ScoreTable.read(rows(stratum=["x", "y", "x", "y"])), "z")
    with pytest.raises(InputError, match="no column stratum"):
        refuse_level(ScoreTable.read(rows()), "z")
