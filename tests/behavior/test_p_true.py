from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mechdecouple.behavior import read
from mechdecouple.behavior.p_true import P_TRUE_TEMPLATE, p_true
from mechdecouple.errors import InputError, TaskError
from mechdecouple.tasks import Task

SHORT = "{prompt} {answer}. {options}:"


def make(answers=("Yes", "No"), **columns):
    prompts = ["Paris is in {France}? Answer:", "Is this true?"][: len(answers)]
    return Task.from_frame(
        pd.DataFrame({"prompt": prompts, "choices": [["Yes", "No"]] * len(prompts), "answer": answers, **columns})
    )


def said(lm, prompt, listed, option):
    task = pd.DataFrame({"prompt": [prompt], "choices": [listed], "answer": listed[:1]})
    return read(lm, Task.from_frame(task, affirm=option)).expressed[0]


def test_both_orders_are_asked_and_averaged(lm):
    got = p_true(lm, make(), ["Yes", "{options}"[1:-1]], template=SHORT)
    for row, (prompt, answer) in enumerate([("Paris is in {France}? Answer:", "Yes"), ("Is this true?", "options")]):
        first = said(lm, f"{prompt} {answer}. True, False:", ["True", "False"], "True")
        second = said(lm, f"{prompt} {answer}. False, True:", ["False", "True"], "True")
        np.testing.assert_allclose(got.by_order[:, row], [first, second], atol=1e-5)
        assert got.p[row] == pytest.approx((first + second) / 2, abs=1e-5)
        assert got.spread[row] == pytest.approx(abs(first - second), abs=1e-5)
    assert got.correct.tolist() == [1.0, 0.0]
    assert list(got.frame().columns) == ["id", "proposed", "p", "spread", "option_mass", "correct"]


def test_letters_ask_for_the_letter(lm):
    got = p_true(lm, make(("Yes",)), ["No"], template=SHORT, letters=True)
    first = said(lm, "Paris is in {France}? Answer: No. A. True\nB. False:", ["A", "B"], "A")
    second = said(lm, "Paris is in {France}? Answer: No. A. False\nB. True:", ["A", "B"], "B")
    np.testing.assert_allclose(got.by_order[:, 0], [first, second], atol=1e-5)


def test_the_models_own_answers_are_proposed(lm):
    got = p_true(lm, make(), template=SHORT)
    assert got.proposed.tolist() == read(lm, make()).answer_text.tolist()
    np.testing.assert_array_equal(got.correct, read(lm, make()).correct)


def test_the_standing_template_lists_both_options_once():
    assert P_TRUE_TEMPLATE.count("{options}") == 1


def test_a_model_that_expresses_nothing_says_why(encoder):
    task = Task.from_frame(pd.DataFrame({"prompt": ["the sky"], "choices": [["blue", "green"]], "answer": ["blue"]}))
    got = p_true(encoder, task)
    assert "headless" in got.reason
    assert np.isnan(got.p).all()
    assert "headless" in p_true(encoder, task, ["blue"]).reason


def test_refusals(lm):
    with pytest.raises(InputError, match="1 proposed answers for 2 items"):
        p_true(lm, make(), ["Yes"])
    with pytest.raises(InputError, match=r"lacks \{answer\}"):
        p_true(lm, make(), ["Yes", "No"], template="{prompt} {options}")
    with pytest.raises(TaskError, match=r"holds \{options\} 0 times"):
        p_true(lm, make(), ["Yes", "No"], template="{prompt} {answer}")
    with pytest.raises(TaskError, match="performance is 'loss'"):
        p_true(lm, Task.from_frame(pd.DataFrame({"prompt": ["Paris"]})))
