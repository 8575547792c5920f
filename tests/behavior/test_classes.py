from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.behavior import read
from mechdecouple.errors import ModelError, TaskError
from mechdecouple.interventions import ablate
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

X = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def test_argmax_of_a_module(net):
    with torch.no_grad():
        logits = net(torch.from_numpy(X))
    said, logp = logits.argmax(1).numpy(), logits.log_softmax(1).numpy()
    truth = said.copy()
    truth[:150] = (truth[:150] + 1) % 3
    answers = read(wrap(net, name="net"), Task.from_frame(pd.DataFrame({"answer": truth}), inputs=X))
    np.testing.assert_array_equal(answers.choice, said)
    assert answers.score.mean() == pytest.approx(0.75)
    assert answers.chance == pytest.approx(max(np.bincount(truth).max() / 600, 1 / 3))
    np.testing.assert_allclose(answers.logp, logp, atol=1e-6)
    rows = np.arange(600)
    wrong = logp.copy()
    wrong[rows, truth] = -np.inf
    np.testing.assert_allclose(answers.margin, logp[rows, truth] - wrong.max(1), atol=1e-5)
    np.testing.assert_allclose(answers.confidence, np.exp(logp.max(1)), atol=1e-6)


def test_classes_under_an_intervention(net):
    task = Task.from_frame(pd.DataFrame({"answer": [0, 1, 2]}), inputs=X[:3])
    model = wrap(net, name="net")
    edited = read(model, task, edits=lambda batch, items, at: {"1": ablate("zero")})
    assert len(set(edited.choice.tolist())) == 1
    np.testing.assert_allclose(edited.logp[0], torch.log_softmax(net[2].bias.detach(), 0).numpy(), atol=1e-6)


def test_next_token_as_a_class(lm, gpt2):
    with torch.no_grad():
        want = [int(gpt2(torch.tensor([ids])).logits[0, -1].argmax()) for ids in ([5, 6, 7], [8, 9])]
    task = Task.from_frame(pd.DataFrame({"tokens": ["5 6 7", "8 9"], "answer": [want[0], 0]}), performance="class")
    answers = read(lm, task)
    assert answers.choice.tolist() == want
    assert answers.correct.tolist() == [True, want[1] == 0]


def test_a_class_the_model_does_not_have(net):
    task = Task.from_frame(pd.DataFrame({"id": ["a", "b"], "answer": [0, 3]}), inputs=X[:2])
    with pytest.raises(
        TaskError, match=r"row 2 \(id 'b'\), column answer: class 3, but model 'net' has classes 0 to 2"
    ):
        read(wrap(net, name="net"), task)


def test_a_module_without_inputs(net):
    task = Task.from_frame(pd.DataFrame({"prompt": ["x"], "answer": [0]}), performance="class")
    with pytest.raises(ModelError, match="takes tensors"):
        read(wrap(net, name="net"), task)
