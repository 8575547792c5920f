from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.behavior import read
from mechdecouple.errors import InputError, TaskError
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

PROMPTS = ["The city of Paris is in France.", "猫 is", "Is this true? Answer: Käse"]


@pytest.fixture
def task():
    return Task.from_frame(pd.DataFrame({"prompt": PROMPTS}))


def test_loss_is_transformers_own(lm, gpt2, bpe, task):
    answers = read(lm, task)
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([bpe(prompt)["input_ids"]])
        with torch.no_grad():
            assert answers.score[row] == pytest.approx(float(gpt2(ids, labels=ids).loss), abs=1e-4)
    assert answers.unit == "nats per token"
    assert not answers.higher_is_better
    assert answers.correct is None


def test_bytes_are_those_of_the_scored_tokens(lm, bpe, task):
    answers = read(lm, task, loss_unit="byte")
    for row in (0, 2):
        first = bpe.convert_ids_to_tokens(bpe(PROMPTS[row])["input_ids"])[0]
        assert answers.n_bytes[row] == len(PROMPTS[row].encode()) - len(first)
    np.testing.assert_allclose(answers.score, answers.nats / answers.n_bytes)
    np.testing.assert_allclose(answers.in_unit("token").score, read(lm, task).score)
    assert answers.unit == "nats per byte"


def test_a_bos_token_lets_the_first_token_be_scored(gpt2, bpe, task):
    from copy import deepcopy

    from tokenizers import processors

    with_bos = deepcopy(bpe)
    end = "<|endoftext|>"
    with_bos.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, 0)]
    )
    answers = read(wrap(gpt2, name="bos", tokenizer=with_bos), task, loss_unit="byte")
    ids = torch.tensor([with_bos(PROMPTS[0])["input_ids"]])
    with torch.no_grad():
        loss = float(gpt2(ids, labels=ids).loss)
    assert answers.nats[0] == pytest.approx(loss * (ids.shape[1] - 1), rel=1e-5)
    assert answers.n_bytes.tolist() == [len(p.encode()) for p in PROMPTS]


def test_token_tasks_have_no_bytes(lm):
    task = Task.from_frame(pd.DataFrame({"tokens": ["1 2 3"]}))
    assert np.isfinite(read(lm, task).score).all()
    with pytest.raises(InputError, match="nats per byte need text"):
        read(lm, task, loss_unit="byte")


def test_text_of_one_token_has_no_loss(lm):
    with pytest.raises(TaskError, match=r"row 2 \(id '2'\): one token"):
        read(lm, Task.from_frame(pd.DataFrame({"tokens": ["1 2 3", "1"]})))


def test_losses_only_have_units(lm):
    task = Task.from_frame(pd.DataFrame({"prompt": ["Answer:"], "choices": ["Yes|No"], "answer": ["Yes"]}))
    with pytest.raises(InputError, match="only losses can"):
        read(lm, task).in_unit("byte")
