import numpy as np
import pytest
import torch

from mechdecouple.behavior import read
from mechdecouple.beliefs.lens import logit_lens
from mechdecouple.extract import extract
from mechdecouple.refs import load
from mechdecouple.tasks import Task


@pytest.fixture(scope="module")
def task(yes_no_items):
    return Task.from_frame(yes_no_items)


@pytest.mark.parametrize("directory", ["gpt2_dir", "llama_dir"])
def test_the_lens_is_the_head_on_an_earlier_residual_stream(directory, task, request):
    model = load(request.getfixturevalue(directory))
    points = model.layer_points
    found, reason = logit_lens(model, task, points)
    assert reason == ""
    inner = model.module
    norm = inner.transformer.ln_f if directory == "gpt2_dir" else inner.model.norm
    ids = model.tokenizer.convert_tokens_to_ids(["yes", "no"])
    acts = extract(model, task, points, "last", progress=False)
    for point in points:
        with torch.no_grad():
            logits = inner.lm_head(norm(torch.from_numpy(np.array(acts[point]))))[:, ids]
        yes = torch.softmax(logits, dim=-1)[:, 0]
        np.testing.assert_allclose(found[point], yes, atol=1e-5)
    np.testing.assert_array_equal(found[points[-1]], read(model, task).expressed)


def test_what_has_no_head_for_its_layers_says_why(known_model, statements, gpt2_dir, task):
    assert logit_lens(known_model(), statements(), ("used",))[0] == {}
    assert "no residual stream" in logit_lens(known_model(), statements(), ("used",))[1]
    silent = load(gpt2_dir)
    silent.head = None
    assert "expresses nothing" in logit_lens(silent, task, silent.layer_points)[1]
