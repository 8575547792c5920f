from __future__ import annotations

import pytest
import torch
from torch import nn

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, wrap


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3))


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU())
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.pool(self.features(x)).flatten(1))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU()

    def forward(self, x):
        return self.b(self.act(self.a(self.act(x))))


def test_hook_points_are_the_named_submodules(mlp):
    model = wrap(mlp, "mlp")
    assert model.hook_points == ("0", "1", "2", "3")
    assert model.layer_points == ("0", "1", "3")
    assert (model.input_kind, model.head, model.architecture) == ("array", "class", "Sequential")
    assert [model.depth(p) for p in model.hook_points] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_children_come_before_what_contains_them():
    model = wrap(Conv())
    assert model.hook_points == ("features.0", "features.1", "features", "pool", "head")
    assert model.layer_points == ("features.0", "features.1", "head")


def test_activations_and_logits_are_the_modules_own(mlp):
    x = torch.randn(6, 5)
    got = wrap(mlp).forward(Batch(array=x), capture=["0", "1"])
    torch.testing.assert_close(got.activations["0"], mlp[0](x))
    torch.testing.assert_close(got.activations["1"], mlp[0](x).relu())
    torch.testing.assert_close(got.logits, mlp[3](mlp[0](x).relu()))  # in eval mode: no dropout


def test_images_keep_their_shape_and_width_counts_all_features():
    model, x = wrap(Conv()), torch.randn(2, 1, 8, 8)
    with pytest.raises(ModelError, match="after the first forward"):
        model.width("features.0")
    got = model.forward(Batch(array=x), capture=["features.0"], logits=False)
    assert got.activations["features.0"].shape == (2, 4, 6, 6)
    assert model.width("features.0") == 4 * 6 * 6


def test_edits_and_early_stop(mlp):
    x, ran = torch.randn(6, 5), []
    model = wrap(mlp)
    zeroed = model.forward(Batch(array=x), edits={"1": lambda t, b: torch.zeros_like(t)}).logits
    torch.testing.assert_close(zeroed, mlp[3].bias.expand(6, 3))
    handle = mlp[3].register_forward_pre_hook(lambda m, a: ran.append(1))
    model.forward(Batch(array=x), capture=["1"], logits=False)
    handle.remove()
    assert ran == []


def test_a_submodule_used_twice_is_refused_only_where_it_is_asked_for():
    model, x = wrap(Twice()), torch.randn(3, 4)
    model.forward(Batch(array=x), capture=["a", "b"])
    with pytest.raises(ModelError, match="'act' runs more than once"):
        model.forward(Batch(array=x), capture=["act"])


def test_bad_input_is_refused_in_one_line(mlp):
    model = wrap(mlp, "mlp")
    with pytest.raises(ModelError, match="takes array, not tokens"):
        model.forward(Batch(tokens=torch.zeros(1, 2, dtype=torch.long)))
    with pytest.raises(ModelError, match="plain module: use 'none'"):
        wrap(mlp, processing="fold_ln")
    with pytest.raises(ModelError, match="returned shape"):
        model.forward(Batch(array=torch.randn(2, 5)), edits={"1": lambda t, b: t[:1]})
    with pytest.raises(ModelError, match="cannot wrap dict"):
        wrap({})
    with pytest.raises(ModelError, match="was not reached"):
        wrap(_Idle()).forward(Batch(array=torch.randn(1, 4)), capture=["spare"])


class _Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)
