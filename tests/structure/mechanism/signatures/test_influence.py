import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import build, wrap
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.gradients import input_gradients
from mechdecouple.structure.mechanism.signatures.influence import influence
from mechdecouple.tasks import Task

P = 5


def linear_rig(weight_of_first=1.0):
    """Uniform attention and nothing else: logits are linear in the embeddings, so that first order is all there is."""
    model = build(
        {"d_model": 8, "n_layers": 1, "n_heads": 1, "d_head": 8, "n_ctx": 2, "d_vocab": P, "attn_only": True,
         "normalization_type": None, "attention_dir": "bidirectional"}
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
            if name.endswith(("W_Q", "b_Q")):
                weight.zero_()
    pairs = [(a, b) for a in range(P) for b in range(P)]
    frame = pd.DataFrame(
        {"id": [f"{a}{b}" for a, b in pairs], "tokens": [[a, b] for a, b in pairs],
         "choices": [tuple(map(str, range(P)))] * len(pairs), "answer": [str((a * b) % P) for a, b in pairs]}
    )  # fmt: skip
    return Rig(wrap(model, name="linear"), Task.from_frame(frame))


def test_what_other_tokens_would_do_is_what_they_do_where_all_is_linear():
    rig = linear_rig()
    found = influence(input_gradients(rig))
    logits = rig.clean.values.reshape(P, P, P)
    for row, (a, b) in enumerate((a, b) for a in range(P) for b in range(P)):
        right = rig.clean.right[row]
        here = logits[a, b, right]
        by_hand = np.concatenate([logits[:, b, right] - here, logits[a, :, right] - here])
        by_hand[[a, P + b]] = np.nan
        np.testing.assert_allclose(found.pattern[row], by_hand, atol=1e-4)
    assert found.inputs == ("token 0", "token 1")
    assert found.shares(np.arange(P * P)).sum() == pytest.approx(1)


class Linear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.read = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        with torch.no_grad():
            self.read.weight.copy_(torch.as_tensor(weight))

    def forward(self, x):
        return self.read(x)


def test_tensor_inputs_count_by_their_spread():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 4)).astype(np.float32)
    x = (rng.normal(size=(50, 4)) * [1.0, 2.0, 0.5, 0.0]).astype(np.float32)
    task = Task.from_frame(
        pd.DataFrame({"id": [str(i) for i in range(50)], "answer": np.arange(50) % 3}), performance="class", inputs=x
    )
    rig = Rig(wrap(Linear(weight), name="linear"), task)
    found = influence(input_gradients(rig))
    centred = weight - weight.mean(axis=0)
    np.testing.assert_allclose(found.pattern, (centred * x.std(axis=0))[np.arange(50) % 3, :3], atol=1e-4)
    assert found.inputs == ("input 0", "input 1", "input 2")


def test_effective_number_of_inputs_is_how_many_do_something():
    weight = np.zeros((2, 6), np.float32)
    weight[0, :3] = 1.0
    x = np.random.default_rng(0).choice([-1.0, 1.0], size=(4000, 6)).astype(np.float32)
    frame = pd.DataFrame({"id": [str(i) for i in range(4000)], "answer": np.arange(4000) % 2})
    rig = Rig(wrap(Linear(weight), name="three"), Task.from_frame(frame, performance="class", inputs=x))
    found = influence(input_gradients(rig, limit=4000))
    rows = np.arange(4000)
    assert found.effective(rows) == pytest.approx(3, abs=0.01)
    np.testing.assert_allclose(found.shares(rows), [1 / 3] * 3 + [0] * 3, atol=0.01)
    silent = Rig(wrap(Linear(0 * weight), name="silent"), rig.task)
    nothing = influence(input_gradients(silent))
    assert np.isnan(nothing.effective(rows[:256])) and np.isnan(nothing.shares(rows[:256])).all()
