import numpy as np
import pandas as pd
import pytest
import torch

import mechdecouple as md
from mechdecouple.behavior import read
from mechdecouple.behavior.differentiable import DifferentiableLogits
from mechdecouple.errors import InputError
from mechdecouple.models import encode
from mechdecouple.tasks import Task


def centred(logp):
    values = np.where(np.isfinite(logp), logp, np.nan)
    return values - np.nanmean(values, axis=1, keepdims=True)


def test_options_score_as_read_scores_them(gpt2_dir, yes_no_items):
    model = md.load(str(gpt2_dir))
    frame = pd.DataFrame(yes_no_items)
    frame.loc[::3, "choices"] = "yes|no|w1"
    task = Task.from_frame(frame, name="words")
    logits = DifferentiableLogits(model, task, encode(model, task))
    items = np.arange(len(task))
    found = logits(logits.batch(items), items).detach().numpy()
    expected = centred(read(model, task).logp)
    np.testing.assert_allclose(found, np.nan_to_num(expected), atol=1e-4)
    np.testing.assert_array_equal(logits.right, [c.index(a) for c, a in zip(task.choices, task.answers, strict=True)])


def test_gradients_flow_to_an_edit(gpt2_dir, yes_no_items):
    model = md.load(str(gpt2_dir))
    task = Task.from_frame(pd.DataFrame(yes_no_items), name="words")
    logits = DifferentiableLogits(model, task, encode(model, task))
    items, point = np.arange(4), "blocks.0.hook_resid_post"
    batch = logits.batch(items)
    shift = torch.zeros(model.width(point), requires_grad=True)
    answer = logits(batch, items, {point: lambda x, _: x + shift})[:, 0].sum()
    (slope,) = torch.autograd.grad(answer, shift)
    step = 1e-2 * slope / slope.norm()
    with torch.no_grad():
        moved = logits(batch, items, {point: lambda x, _: x + step})[:, 0].sum()
        back = logits(batch, items, {point: lambda x, _: x - step})[:, 0].sum()
    assert float(moved - back) / 2 == pytest.approx(float(step @ slope), rel=0.01)


def test_a_task_without_inputs_is_refused():
    model = md.load("zoo:planted-factored")
    task = Task.from_frame(pd.DataFrame({"prompt": ["a", "b"], "answer": ["a", "b"], "choices": ["a|b"] * 2}), name="t")
    with pytest.raises(InputError, match="no inputs"):
        DifferentiableLogits(model, task, None)
