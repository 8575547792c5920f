from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from mechdecouple.errors import TaskError
from mechdecouple.tasks import Task

ROWS = [
    {"id": "a", "prompt": "Is 1 < 2?", "answer": "Yes", "choices": ["Yes", "No"], "truth": 1, "group": "g1"},
    {"id": "b", "prompt": "Is 2 < 1?", "answer": "No", "choices": ["Yes", "No"], "truth": 0, "group": "g1"},
    {"id": "c", "prompt": 'Is 3 | 4, or "5"?', "answer": "Yes", "choices": ["Yes", "No"], "truth": None, "group": "g2"},
]


@pytest.fixture
def frame():
    return pd.DataFrame(ROWS)


def write(path, rows):
    flat = pd.DataFrame([{**r, "choices": "|".join(r["choices"])} for r in rows])
    if path.suffix in (".csv", ".tsv"):
        flat.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


def test_every_format_gives_the_same_task(tmp_path, frame):
    from datasets import Dataset

    want = Task.from_frame(frame)
    tasks = [
        Task.from_file(write(tmp_path / f"t{ending}", ROWS))
        for ending in (".csv", ".tsv", ".jsonl", ".json", ".parquet")
    ]
    tasks.append(Task.from_dataset(Dataset.from_list(ROWS)))
    for task in tasks:
        assert task.fingerprint == want.fingerprint
        assert task.choices == [("Yes", "No")] * 3
        np.testing.assert_array_equal(task.truth, [1, 0, np.nan])
        assert task.ids.tolist() == ["a", "b", "c"]
        assert task.groups.tolist() == ["g1", "g1", "g2"]
        assert task.affirm == "Yes"
        assert task.performance == "choice"


def test_a_data_set_keeps_its_selected_rows(frame):
    from datasets import Dataset

    task = Task.from_dataset(Dataset.from_list(ROWS).select([2, 0]))
    assert task.ids.tolist() == ["c", "a"]


def test_columns_are_renamed_and_may_serve_twice():
    raw = pd.DataFrame({"statement": ["x is y.", "x is z."], "label": [1, 0], "city": ["Rome", "Rome"]})
    task = Task.from_frame(
        raw, columns={"prompt": "statement", "truth": "label", "group": "city", "concept_city": "city"}
    )
    assert task.groups.tolist() == ["Rome", "Rome"]
    assert task.ids.tolist() == ["1", "2"]
    assert task.performance == "loss"
    assert set(task.frame.columns) == {"id", "prompt", "truth", "group", "concept_city"}


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"prompt": ["p", "q"]}, "loss"),
        ({"prompt": ["p", "q"], "answer": ["x", "y"]}, "generation"),
        ({"prompt": ["p", "q"], "answer": ["x", "y"], "choices": ["x|y", "x|y"]}, "choice"),
        ({"score_a": [0.1, 1], "score_b": [0.5, 0.25]}, "score"),
    ],
)
def test_performance_follows_from_the_columns(columns, kind):
    assert Task.from_frame(pd.DataFrame(columns)).performance == kind


def test_scores():
    task = Task.from_frame(pd.DataFrame({"score_a": [0.5, 1], "score_b": [0.25, 0]}))
    assert task.scores["a"].tolist() == [0.5, 1]
    assert task.prompts is None


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
def test_array_inputs_from_files(tmp_path, ending):
    array, path = np.arange(12, dtype=np.float32).reshape(3, 4), tmp_path / f"x{ending}"
    if ending == ".npy":
        np.save(path, array)
    elif ending == ".npz":
        np.savez(path, inputs=array, labels=np.zeros(3))
    else:
        save_file({"inputs": array}, path)
    task = Task.from_frame(pd.DataFrame({"answer": [0, 1, 1]}), inputs=path)
    np.testing.assert_array_equal(task.inputs, array)
    assert task.performance == "class"
    assert task.answers.dtype == np.int64


def test_token_tasks():
    table = pd.DataFrame({"tokens": [[1, 2], "3 4 5"], "answer": [7, "8 9"], "choices": [[7, 8], [[8, 9], [1]]]})
    task = Task.from_frame(table)
    assert [t.tolist() for t in task.tokens] == [[1, 2], [3, 4, 5]]
    assert task.choices == [("7", "8"), ("8 9", "1")]
    assert task.answers.tolist() == ["7", "8 9"]


def test_concepts_are_coded_in_sorted_order():
    table = pd.DataFrame(
        {
            "prompt": list("pqr"),
            "concept_size": [1, "2.5", 0],
            "concept_polarity": ["neg", "aff", "neg"],
            "concept_topic": ["b", "c", "a"],
        }
    )
    concepts = Task.from_frame(table).concepts
    assert {k: v.tolist() for k, v in concepts.items()} == {
        "size": [1, 2.5, 0],
        "polarity": [1, 0, 1],
        "topic=a": [0, 0, 1],
        "topic=b": [1, 0, 0],
        "topic=c": [0, 1, 0],
    }


def test_items_can_say_which_concept_they_ask_about():
    table = pd.DataFrame({"prompt": list("pq"), "concept_x": [0, 1], "concept_y": [1, 0], "asks": ["y", "x"]})
    assert Task.from_frame(table).asks.tolist() == ["y", "x"]
    assert Task.from_frame(table.drop(columns="asks")).asks is None
    assert Task.from_frame(table).select([1]).asks.tolist() == ["x"]


def test_a_part_codes_concepts_as_the_whole():
    table = pd.DataFrame({"prompt": list("pqr"), "concept_x": ["u", "v", "v"], "concept_y": ["a", "b", "c"]})
    task = Task.from_frame(table)
    part = task.select(np.array([1, 2])).select(np.array([True, False]))
    assert part.ids.tolist() == ["2"]
    assert {k: v.tolist() for k, v in part.concepts.items()} == {"x": [1], "y=a": [0], "y=b": [1], "y=c": [0]}


def test_one_class_is_loaded_and_declared():
    task = Task.from_frame(pd.DataFrame({"prompt": ["p", "q"], "truth": [1, 1], "concept_x": ["u", "u"]}))
    assert any("truth is 1" in note for note in task.notes)
    assert any("concept x" in note for note in task.notes)


def test_conditions_declare_the_honest_level(frame):
    table = frame.assign(condition=["honest", "persona", "honest"], split=["fit", "shift", "anything"])
    task = Task.from_frame(table, honest="honest")
    assert task.honest_mask.tolist() == [True, False, True]
    assert task.shift_mask.tolist() == [False, True, False]
    assert Task.from_frame(table.iloc[[0]], affirm="No").honest == "honest"


def test_affirm_is_left_open_where_answers_do_not_follow_truth(frame):
    assert Task.from_frame(frame.assign(answer=["Yes", "Yes", "No"])).affirm is None
    assert Task.from_frame(frame, affirm="No").affirm == "No"


def test_a_template_and_system_text_frame_each_prompt(frame):
    task = Task.from_frame(frame, template="Q{{1}}: {prompt} ({group})\nA:", system="Be brief.")
    assert task.prompts[0] == "Be brief.\n\nQ{1}: Is 1 < 2? (g1)\nA:"


def test_positions_are_indices_or_texts_of_the_prompt(frame):
    task = Task.from_frame(frame.assign(position_end=[1, "2", 3], position_verb=["Is"] * 3, other=["x"] * 3))
    assert task.frame["position_end"].tolist() == [1, 2, 3]
    assert task.frame["position_verb"].tolist() == ["Is"] * 3
    assert task.positions == ("position_end", "position_verb")
    assert "other" not in task.frame


def test_fingerprint_is_of_contents_alone(frame):
    task = Task.from_frame(frame, name="one")
    assert Task.from_frame(frame.copy(), name="two").fingerprint == task.fingerprint
    assert Task.from_frame(frame.assign(truth=[1, 0, 1])).fingerprint != task.fingerprint
    assert Task.from_frame(frame, affirm="No").fingerprint != task.fingerprint
    assert task.select(np.arange(3)).fingerprint == task.fingerprint
    assert task.select(np.array([1, 0, 2])).fingerprint != task.fingerprint


@pytest.mark.parametrize(
    ("rows", "says"),
    [([], "no items"), ([3], "from 0 to 2"), ([0, 0], "twice"), ([True, False], "mask"), ([-1], "from 0")],
)
def test_bad_selections(frame, rows, says):
    with pytest.raises(TaskError, match=says):
        Task.from_frame(frame).select(np.array(rows))


def test_a_task_shows_itself_escaped(frame):
    shown = Task.from_frame(frame.assign(prompt="<script>alert(1)</script>"), name="<b>")._repr_html_()
    assert "<script>" not in shown
    assert "&lt;b&gt;" in shown
    assert "3 items" in shown


def test_pandas_missing_values_are_unknown_truth(frame):
    values = pd.array([1, pd.NA, 0], dtype="Int64")
    np.testing.assert_array_equal(Task.from_frame(frame.assign(truth=values)).truth, [1, np.nan, 0])


def test_many_rows_load_in_linear_time(tmp_path):
    n = 50_000
    path = tmp_path / "big.csv"
    pd.DataFrame({"id": range(n), "prompt": "word " * 20, "answer": "Yes", "choices": "Yes|No"}).to_csv(
        path, index=False
    )
    task = Task.from_file(path)
    assert len(task) == n
    assert task.choices[0] is task.choices[-1]
