import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.models import wrap
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.gradients import gradients_cost, input_gradients
from mechdecouple.tasks import Task


def rig(n=40, classes=5, groups=None):
    """Classes to choose among; the module has one more, which is never right and so no option."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, classes + 1))
    frame = pd.DataFrame({"id": [str(i) for i in range(n)], "answer": np.arange(n) % classes})
    if groups is not None:
        frame["group"] = groups
    inputs = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    return Rig(wrap(module, name="tanh"), Task.from_frame(frame, performance="class", inputs=inputs))


def jacobian(one):
    """Of the centred logits, by finite differences: [n, classes, 3]."""
    module, x = one.model.module.double(), torch.as_tensor(one.task.inputs).double()
    out = []
    with torch.no_grad():
        for k in range(3):
            step = torch.zeros(3, dtype=torch.float64)
            step[k] = 1e-5
            change = ((module(x + step) - module(x - step)) / 2e-5)[:, :-1]
            out.append((change - change.mean(dim=1, keepdim=True)).numpy())
    module.float()
    return np.stack(out, axis=2)


def test_gradients_are_those_of_centred_logits():
    one = rig()
    found = input_gradients(one)
    by_hand = jacobian(one)
    np.testing.assert_allclose(found.right[:, 0], by_hand[np.arange(40), np.arange(40) % 5], atol=1e-5)
    np.testing.assert_allclose(found.inputs[:, 0], one.task.inputs, atol=1e-6)
    lengths = np.sort((by_hand**2).sum(axis=2), axis=1)
    np.testing.assert_allclose(np.sort(found.dots[:, :, 0, 0], axis=1), lengths, atol=1e-5)
    assert one.passes == 40 + gradients_cost(40, options=5)


def test_a_draw_of_options_has_none_twice():
    one = rig(classes=12)
    lengths = (jacobian(one) ** 2).sum(axis=2)
    found = input_gradients(one, options=4)
    assert found.dots.shape == (40, 4, 1, 1)
    for i in range(40):
        nearest = np.abs(lengths[i] - found.dots[i, :, 0, 0][:, None]).argmin(axis=1)
        assert len(set(nearest.tolist())) == 4


def test_groups_are_drawn_whole_and_the_limit_holds():
    one = rig(groups=[f"g{i // 4}" for i in range(40)])
    found = input_gradients(one, limit=10)
    assert len(found.rows) == 8
    assert (np.bincount(found.rows // 4)[np.unique(found.rows // 4)] == 4).all()


def test_nothing_outside_is_disturbed():
    one = rig()
    before = torch.random.get_rng_state()
    input_gradients(one)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(p.grad is None for p in one.model.module.parameters())


class Deaf(nn.Module):
    """Its logits do not come from its inputs by way of gradients."""

    def __init__(self):
        super().__init__()
        self.part = nn.Identity()
        self.whole = nn.Linear(3, 2)

    def forward(self, x):
        return self.whole(self.part(x).detach()).detach()


def test_a_model_without_gradients_is_refused():
    one = rig(classes=2)
    with torch.random.fork_rng():
        deaf = Rig(wrap(Deaf(), name="deaf"), one.task)
    with pytest.raises(InputError, match="'deaf' do not depend on its inputs by gradients"):
        input_gradients(deaf)
