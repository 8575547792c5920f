from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.behavior import prepare, read
from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import wrap
from mechdecouple.tasks import Task


def make(prompts, choices):
    return Task.from_frame(pd.DataFrame({"prompt": prompts, "choices": choices, "answer": [c[0] for c in choices]}))


def test_supplied_scores():
    task = Task.from_frame(pd.DataFrame({"score_a": [1, 0.5], "score_b": [0, 0.25]}))
    assert read(None, task, slot="a").score.tolist() == [1, 0.5]
    b = read(None, task, slot="b")
    assert b.score.tolist() == [0, 0.25]
    assert b.unit == "score"
    assert b.chance_reason
    assert b.frame()["score"].tolist() == [0, 0.25]


def test_other_tasks_need_a_model():
    with pytest.raises(ModelError, match="needs a model"):
        read(None, Task.from_frame(pd.DataFrame({"prompt": ["x y"]})))


def test_a_headless_encoder_expresses_nothing(encoder):
    answers = read(encoder, make(["the sky is"], [["blue", "green"]]))
    assert answers.reason == "headless encoder: it expresses nothing"
    assert np.isnan(answers.score).all()
    assert np.isnan(answers.expressed).all()
    assert np.isnan(answers.chance)


def test_a_classifier_cannot_choose_by_log_likelihood():
    model = wrap(torch.nn.Sequential(torch.nn.Linear(2, 2)), name="net")
    with pytest.raises(ModelError, match="'net' is a classifier"):
        read(model, make(["Answer:"], [["Yes", "No"]]))


def test_logits_that_are_not_numbers_are_refused(lm):
    def edits(batch, items, positions):
        return {lm.layer_points[-1]: lambda x, _: x * torch.nan}

    with pytest.raises(ModelError, match=r"gives NaN or infinite logits at task, row 1 \(id '1'\)"):
        read(lm, make(["Answer:"], [["Yes", "No"]]), edits=edits)


@pytest.mark.parametrize("option", [{"slot": "c"}, {"loss_unit": "word"}])
def test_unknown_options(lm, option):
    with pytest.raises(InputError, match="is unknown"):
        prepare(lm, make(["Answer:"], [["Yes", "No"]]), **option)


def test_loss_is_not_read_on_a_chat_template(lm):
    with pytest.raises(InputError, match="leave out chat"):
        read(lm, Task.from_frame(pd.DataFrame({"prompt": ["a b"]})), chat=True)


def test_answers_show_themselves(lm):
    answers = read(lm, make(["Answer:"], [["Yes", "No"]]))
    assert "accuracy" in answers._repr_html_()
    assert answers.frame().columns.tolist()[:4] == ["id", "answer", "score", "correct"]
