"""Every bad input is refused in one line that names the row (counted from 1, with its id) and the column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mechdecouple.errors import TaskError
from mechdecouple.tasks import Task

GOOD = {
    "id": ["a", "b", "c"],
    "prompt": ["one", "two", "three"],
    "answer": ["Yes", "No", "No"],
    "choices": ["Yes|No"] * 3,
}
TOKENS = {"id": ["a", "b"], "tokens": ["1 2", "3"]}

CELLS = [
    # columns that replace GOOD's, the 1-based row and id, column, what it says
    ({"prompt": ["one", "  ", "three"]}, "row 2 (id 'b')", "prompt", "is empty"),
    ({"prompt": ["one", "two", None]}, "row 3 (id 'c')", "prompt", "is empty"),
    ({"prompt": ["one", 5, "three"]}, "row 2 (id 'b')", "prompt", "must be text, got 5"),
    ({"id": ["a", "b", "a"]}, "row 3 (id 'a')", "id", "repeats the id of row 1"),
    ({"id": ["a", "", "c"]}, "row 2", "id", "is empty"),
    ({"id": [1, 2, 2.5]}, "row 3 (id 2.5)", "id", "must be text or a whole number"),
    ({"answer": ["Yes", "Maybe", "No"]}, "row 2 (id 'b')", "answer", "'Maybe' is not among the row's choices ('Yes', "),
    ({"answer": ["Yes", float("nan"), "No"]}, "row 2 (id 'b')", "answer", "is missing"),
    ({"choices": ["Yes|No", "Yes", "Yes|No"]}, "row 2 (id 'b')", "choices", "at least 2 options"),
    ({"choices": ["Yes|No", "Yes|No|Yes", "Yes|No"]}, "row 2 (id 'b')", "choices", "offers 'Yes' twice"),
    ({"choices": ["Yes|No", "Yes||No", "Yes|No"]}, "row 2 (id 'b')", "choices", "has an empty option"),
    ({"choices": ["Yes|No", 3, "Yes|No"]}, "row 2 (id 'b')", "choices", "must be a list, or text with |"),
    ({"truth": [1, 0, 2]}, "row 3 (id 'c')", "truth", "must be 0, 1 or empty, got 2"),
    ({"truth": ["1", "maybe", ""]}, "row 2 (id 'b')", "truth", "must be 0, 1 or empty, got 'maybe'"),
    ({"group": ["x", None, "y"]}, "row 2 (id 'b')", "group", "is missing"),
    ({"context": ["x", ["y"], "y"]}, "row 2 (id 'b')", "context", "must be text or a whole number"),
    ({"split": ["fit", "", "test"]}, "row 2 (id 'b')", "split", "is empty"),
    ({"concept_x": [1, 2, float("inf")]}, "row 3 (id 'c')", "concept_x", "must be a finite number, got inf"),
    ({"concept_x": [1, 2, "big"]}, "row 3 (id 'c')", "concept_x", "must be a finite number, got 'big'"),
    ({"concept_x": ["u", "v", 1.0]}, "row 3 (id 'c')", "concept_x", "a number among names"),
    ({"concept_x": ["u", "v", None]}, "row 3 (id 'c')", "concept_x", "needs a value in every row"),
    ({"concept_x": [1, 0, 1], "asks": ["x", "y", "x"]}, "row 2 (id 'b')", "asks", "names no concept; concepts are x"),
    ({"asks": ["x", "x", "x"]}, "row 1 (id 'a')", "asks", "the table has no concept_* columns"),
    ({"position_x": [0, 1, -1]}, "row 3 (id 'c')", "position_x", "must be a token index from 0, got -1"),
    ({"position_x": ["one", "two", 2.5]}, "row 3 (id 'c')", "position_x", "must be text from the prompt, or a"),
    ({"position_x": ["one", "two", "four"]}, "row 3 (id 'c')", "position_x", "'four' does not occur in the prompt"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "row", "column", "says"), CELLS)
def test_cells(change, row, column, says):
    with pytest.raises(TaskError) as e:
        Task.from_frame(pd.DataFrame({**GOOD, **change}), name="t.csv")
    message = str(e.value)
    assert message.startswith(f"t.csv, {row}")
    assert f"column {column}: " in message
    assert says in message
    assert "\n" not in message


OTHER_CELLS = [
    ({**TOKENS, "tokens": ["1 2", "3 x"]}, {}, "row 2 (id 'b'), column tokens: must be whole numbers"),
    ({**TOKENS, "tokens": [[1, 2], []]}, {}, "row 2 (id 'b'), column tokens: is empty"),
    ({**TOKENS, "tokens": [[1, 2], [1, -3]]}, {}, "row 2 (id 'b'), column tokens: must be whole numbers"),
    ({**TOKENS, "position_x": [0, 1]}, {}, "row 2 (id 'b'), column position_x: 1 is beyond the row's 1 tokens"),
    ({**TOKENS, "answer": ["4", "x"]}, {}, "row 2 (id 'b'), column answer: must be token ids"),
    ({"id": ["a", "b"], "answer": [0, "cat"]}, {"inputs": np.zeros((2, 3))}, "row 2 (id 'b'), column answer: must be"),
    ({"id": ["a", "b"], "answer": [0, -1]}, {"inputs": np.zeros((2, 3))}, "row 2 (id 'b'), column answer: must be"),
    ({"answer": [0, 1]}, {"inputs": np.array([[0.0], [np.nan]])}, "row 2, column inputs: holds NaN"),
    ({"score_a": [1, "x"], "score_b": [1, 2]}, {}, "row 2, column score_a: must be a finite number"),
    ({**GOOD, "few": ["x", None, "y"]}, {"template": "{few} {prompt}"}, "row 2 (id 'b'), column few: is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "options", "says"), OTHER_CELLS)
def test_cells_of_other_kinds_of_task(columns, options, says):
    with pytest.raises(TaskError) as e:
        Task.from_frame(pd.DataFrame(columns), name="t", **options)
    assert says in str(e.value)
    assert "\n" not in str(e.value)


TWO = {**GOOD, "condition": ["honest", "liar", "liar"]}
TABLES = [
    (pd.DataFrame(GOOD).iloc[:0], {}, "has no rows"),
    (pd.DataFrame(GOOD).drop(columns="prompt"), {}, "column prompt is missing"),
    (pd.DataFrame(GOOD).rename(columns={"prompt": "promt"}), {}, "did you mean 'prompt'"),
    (pd.DataFrame({**GOOD, "tokens": ["1"] * 3}), {}, "has both prompt and tokens"),
    (pd.DataFrame(GOOD), {"inputs": np.zeros((3, 2))}, "has both prompt and inputs"),
    (pd.DataFrame(GOOD).drop(columns="answer"), {}, "column answer is missing; performance 'choice' needs it"),
    (pd.DataFrame(GOOD), {"performance": "chioce"}, "did you mean 'choice'"),
    (pd.DataFrame(GOOD), {"performance": "score"}, "column score_a is missing"),
    (pd.DataFrame(TWO), {}, "column condition has levels 'honest', 'liar'; declare which is honest"),
    (pd.DataFrame(TWO), {"honest": "honst"}, "honest level 'honst' is not in column condition (did you mean 'honest'"),
    (pd.DataFrame(GOOD), {"honest": "honest"}, "there is no condition column"),
    (pd.DataFrame(GOOD), {"affirm": "Yess"}, "affirm 'Yess' is no item's choice (did you mean 'Yes'?)"),
    (pd.DataFrame(GOOD), {"columns": {"truth": "labl"}}, "no column 'labl' to be truth"),
    (pd.DataFrame(GOOD), {"columns": {"trut": "id"}}, "'trut' is no task column (did you mean 'truth'?)"),
    (pd.DataFrame({**GOOD, "concept_": [1, 2, 3]}), {}, "column 'concept_' has no name"),
    (pd.DataFrame({"prompt": ["p"] * 60, "concept_x": [f"n{i}" for i in range(60)]}), {}, "60 levels, more than 50"),
    (pd.DataFrame({"answer": [0, 1]}), {"inputs": np.zeros((3, 2))}, "inputs hold 3 rows but the table has 2"),
    (pd.DataFrame({"answer": [0, 1]}), {"inputs": np.zeros(2)}, "must be [items, ...]"),
    (pd.DataFrame({"answer": [0, 1]}), {"inputs": np.array([["x"], ["y"]])}, "must be numbers"),
    (pd.DataFrame(GOOD), {"template": "Question:"}, "has no field"),
    (pd.DataFrame(GOOD), {"template": "{promt}"}, "no column 'promt' (did you mean 'prompt'?)"),
    (pd.DataFrame(GOOD), {"template": "{prompt.__class__}"}, "not a plain column name"),
    (pd.DataFrame(GOOD), {"template": "{prompt[0]}"}, "not a plain column name"),
    (pd.DataFrame(GOOD), {"template": "{prompt!r}"}, "not a plain column name"),
    (pd.DataFrame(GOOD), {"template": "{prompt"}, "template: "),
    (pd.DataFrame(TOKENS), {"system": "Be brief."}, "system text needs prompts"),
    ([{"prompt": "x"}], {}, "expected a pandas DataFrame, got list"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "options", "says"), TABLES)
def test_tables(table, options, says):
    with pytest.raises(TaskError) as e:
        Task.from_frame(table, **options)
    assert says in str(e.value)
    assert "\n" not in str(e.value)


FILES = [
    ("t.csv", "", "the file is empty"),
    ("t.csv", "\n\nid,prompt,prompt\n", "column 'prompt' is there twice"),
    ("t.csv", "id,prompt\n", "has no rows"),
    ("t.csv", "id,prompt\na,one\nb,two,three\n", "row 2: 3 fields where the header has 2"),
    ("t.csv", "id,prompt\na,one,x\nb,two,y\n", "more fields than the header"),
    ("t.csv", "id,prompt\na,one\nb\n", "row 2 (id 'b'), column prompt: is empty"),
    ("t.csv", "id,prompt,id\na,one,b\n", "column 'id' is there twice"),
    ("t.csv", b"id,prompt\na,\xff\xfe\n", "not UTF-8"),
    ("t.json", '{"id": 1}', "must hold a list of objects"),
    ("t.json", "[{]", "not JSON"),
    ("t.json", "[1]", "row 1: must be an object"),
    ("t.jsonl", '{"prompt": "x"}\n{"prompt": \n', "line 2 is not JSON"),
    ("t.parquet", "not parquet", "not a Parquet file"),
    ("t.xlsx", "x", "ends in one of .csv"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "says"), FILES)
def test_files(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError) as e:
        Task.from_file(path)
    assert says in str(e.value)
    assert name in str(e.value)
    assert "\n" not in str(e.value)


def test_missing_files(tmp_path):
    with pytest.raises(TaskError, match="no such file"):
        Task.from_file(tmp_path / "none.csv")
    with pytest.raises(TaskError, match="no such file"):
        Task.from_frame(pd.DataFrame({"answer": [0]}), inputs=tmp_path / "none.npy")


def test_pickled_arrays_are_refused(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TaskError, match="cannot be read as an array of numbers"):
        Task.from_frame(pd.DataFrame({"answer": [0]}), inputs=path)


def test_data_sets_of_several_splits_are_refused():
    from datasets import Dataset, DatasetDict

    with pytest.raises(TaskError, match=r"several splits \(fit, test\)"):
        Task.from_dataset(
            DatasetDict(fit=Dataset.from_list([{"prompt": "x"}]), test=Dataset.from_list([{"prompt": "y"}]))
        )
