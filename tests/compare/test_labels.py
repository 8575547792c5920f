import numpy as np
import pandas as pd

from mechdecouple.compare.labels import Labels, unmeasured, wanted
from mechdecouple.tasks import Task


def test_concepts_that_cannot_be_measured_are_named():
    n = 12
    task = Task.from_frame(
        pd.DataFrame(
            {
                "prompt": [f"item {k}" for k in range(n)],
                "truth": [0, 1] * 6,
                "concept_sign": [0, 0, 1, 1] * 3,
                "concept_level": [0, 1, 2] * 4,
                "concept_flat": [1] * n,
            }
        )
    )
    labels = Labels.of(task, np.arange(n), 5, 0)
    assert list(labels.concepts) == ["truth", "sign"]
    said = unmeasured(task, labels)
    assert [s.split("'")[1] for s in said] == ["level", "flat"]
    assert "it has 3 values" in said[0] and "it has 1 value," in said[1]


def sentences(**columns):
    n = 16
    task = Task.from_frame(pd.DataFrame({"prompt": [f"item {k}" for k in range(n)], **columns}))
    return wanted(task, Labels.of(task, np.arange(n), 4, 0))


def test_what_more_labels_would_add_is_said():
    one, two, place = {"concept_x": [0, 1] * 8}, {"concept_y": [0, 0, 1, 1] * 4}, {"context": list("ppppqqqq") * 2}
    (nothing,) = sentences()
    assert "concept_*" in nothing and "CCGP" in nothing and "column asks" in nothing
    assert ["No contexts" in s for s in sentences(**one)] == [True, False] and "second concept_*" in sentences(**one)[1]
    assert [s[:15] for s in sentences(**one, **two, **place)] == ["No column asks "]
    assert sentences(**one, **two, **place, asks=["x", "y"] * 8) == []


def test_answers_are_classes_where_several_groups_share_each():
    def answers(**columns):
        table = pd.DataFrame({"prompt": [f"item {k}" for k in range(8)], "choices": ["p|q|r"] * 8, **columns})
        task = Task.from_frame(table)
        return Labels.of(task, np.arange(8), 4, 0).answers

    assert answers(answer=list("pqpqpqpq")).tolist() == [0, 1] * 4
    assert answers(answer=list("ppppppqq"), group=list("abcdefgg")) is None
    assert answers(answer=["p"] * 8) is None
