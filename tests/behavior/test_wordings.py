from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.behavior import read
from mechdecouple.behavior.claims import parse_choice
from mechdecouple.behavior.sensitivity import confidence_robustness, prompt_sensitivity
from mechdecouple.behavior.wordings import read_wordings, sample_repeats
from mechdecouple.errors import InputError, MismatchError, ModelError, TaskError
from mechdecouple.tasks import Task

TEMPLATES = ("{prompt} Answer:", "Is this true? {prompt}", "({prompt})")
TABLE = pd.DataFrame(
    {
        "prompt": ["Paris is in France", "Käse is a city", "the city of", "no", "maybe", "Yes is true"],
        "choices": [["Yes", "No"]] * 6,
        "answer": ["Yes", "No", "Yes", "No", "Yes", "Yes"],
        "group": list("aabbcd"),
    }
)


def wordings(table=TABLE):
    return [Task.from_frame(table, template=template) for template in TEMPLATES]


def test_every_wording_is_read_and_the_array_functions_applied(lm):
    got = read_wordings(lm, wordings())
    answers = [read(lm, task) for task in wordings()]
    np.testing.assert_array_equal(got.scores, np.stack([a.correct for a in answers], axis=1))
    np.testing.assert_allclose(got.sensitivity, prompt_sensitivity(got.scores))
    confidence = np.mean([a.confidence for a in answers], axis=0)
    want = confidence_robustness(got.scores, confidence, np.array(list("aabbcd")))
    assert got.robustness.value == pytest.approx(want.value, nan_ok=True)
    assert got.mean_sensitivity.value == pytest.approx(got.sensitivity.mean())
    assert got.mean_sensitivity.n == 4
    assert list(got.frame().columns) == ["id", "group", "score", "confidence", "sensitivity"]


def test_wordings_of_other_items_are_refused(lm, encoder):
    a, b, _ = wordings()
    with pytest.raises(MismatchError, match="differ in id from row 1 on"):
        read_wordings(lm, [a, b.select(np.arange(6)[::-1])])
    with pytest.raises(MismatchError, match="differ in id from row 6 on"):
        read_wordings(lm, [a, b.select(np.arange(5))])
    with pytest.raises(MismatchError, match="differ in group from row 2 on"):
        read_wordings(lm, [a, wordings(TABLE.assign(group=list("abbbcd")))[1]])
    with pytest.raises(InputError, match="1 wordings"):
        read_wordings(lm, [a])
    loss = Task.from_frame(TABLE[["prompt"]][:3])
    with pytest.raises(InputError, match="no right and wrong"):
        read_wordings(lm, [loss, loss])
    sky = Task.from_frame(pd.DataFrame({"prompt": ["the sky"], "choices": [["blue", "green"]], "answer": ["blue"]}))
    with pytest.raises(ModelError, match="headless"):
        read_wordings(encoder, [sky, sky])


def test_greedy_runs_agree_with_the_greedy_answer(lm):
    prompts = TABLE["prompt"].tolist()
    said = read(lm, Task.from_frame(pd.DataFrame({"prompt": prompts, "answer": "x"})), max_new_tokens=4).answer_text
    answers = [text if i % 2 and text else "x" for i, text in enumerate(said)]
    got = sample_repeats(
        lm, Task.from_frame(pd.DataFrame({"prompt": prompts, "answer": answers})), temperature=0.0, max_new_tokens=4
    )
    expected = [float(i % 2 and bool(text)) for i, text in enumerate(said)]
    assert got.of_item["mean"].tolist() == expected
    assert (got.of_item["unreliability"] == 0).all()
    assert got.n_runs == 10


def test_sampled_choices_are_right_as_often_as_the_model_says(lm, gpt2, bpe):
    frame = pd.DataFrame({"prompt": ["Answer:"], "choices": [["e", "Yes"]], "answer": ["e"]})
    got = sample_repeats(lm, Task.from_frame(frame), 20_000, max_new_tokens=1)
    with torch.no_grad():
        prob = gpt2(torch.tensor([bpe("Answer:")["input_ids"]])).logits[0, -1].double().softmax(-1)
    right = [i for i in range(len(prob)) if parse_choice(bpe.decode([i]), ["e", "Yes"]) == 0]
    assert prob[right].sum() > 0.001
    assert got.of_item["mean"][0] == pytest.approx(float(prob[right].sum()), abs=0.01)


def test_refusals(lm, mlm):
    task = Task.from_frame(TABLE)
    with pytest.raises(InputError, match="n_runs is 1"):
        sample_repeats(lm, task, 1)
    with pytest.raises(TaskError, match="answers in words"):
        sample_repeats(lm, Task.from_frame(TABLE[["prompt"]]))
    with pytest.raises(ModelError, match="generates no text"):
        sample_repeats(mlm, task)
