import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.models import build, wrap
from mechdecouple.results import frame
from mechdecouple.structure.mechanism.component import Component, combined
from mechdecouple.structure.mechanism.components import components
from mechdecouple.structure.mechanism.paths import paths, paths_cost
from mechdecouple.structure.mechanism.profile import causal_profile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task


class Routes(nn.Module):
    """a -> b -> answer, a -> answer, c -> answer; b does not read c. All linear."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        a, c = self.a(x), self.c(x)
        return self.b(a) + 2 * a + c


def task(n=40):
    inputs = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    items = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % 3})
    return Task.from_frame(items, name="routes", performance="class", inputs=inputs)


@pytest.fixture
def rig():
    torch.manual_seed(0)
    return Rig(wrap(Routes(), name="routes"), task())


def part(name):
    return Component(name, "module", name, 0.0)


def said(rig, *modules, gain=1.0):
    """Centred logit of the right option from a chain of linear modules."""
    x = torch.as_tensor(rig.task.inputs)
    with torch.no_grad():
        for name in modules:
            x = getattr(rig.model.module, name)(x)
    x = gain * x.double().numpy()
    return (x - x.mean(axis=1, keepdims=True))[np.arange(len(x)), rig.task.answers]


def test_paths_of_a_linear_model_are_products_of_its_weights(rig):
    found = paths(rig, ablation="zero")
    effect = dict(zip(found.names, found.effect, strict=True))
    expected = {
        ("a", "answer"): said(rig, "a", gain=2.0), ("a", "b"): said(rig, "a", "b"),
        ("b", "answer"): said(rig, "a", "b"), ("c", "answer"): said(rig, "c"),
    }  # fmt: skip
    for path, value in expected.items():
        np.testing.assert_allclose(effect[path], value, atol=1e-5)
    others = [path for path in effect if path not in expected]
    assert others and all(np.abs(effect[path]).max() < 1e-6 for path in others)
    share = dict(zip(found.names, found.share.value, strict=True))
    assert share["c", "b"] == pytest.approx(0, abs=1e-9) and share["a", "b"] == pytest.approx(share["b", "answer"])
    # All paths from a part together are its effect.
    whole = causal_profile(rig, [part("a")], ablations=["zero"], limit=40).effect[0, 0]
    np.testing.assert_allclose(effect["a", "answer"] + effect["a", "b"], whole, atol=1e-5)


def test_cost_is_stated_and_kept(rig):
    found = paths(rig)
    # tape, three straight ones, and a -> b, c -> b, a -> c or c -> a by their order
    assert found.passes == paths_cost(rig) == 40 * (1 + 3 + 3)
    assert found.exact.all() and found.attributed is None


def test_a_short_budget_goes_to_the_paths_with_the_largest_attributed_effect():
    torch.manual_seed(0)
    layers = [module for _ in range(4) for module in (nn.Linear(4, 4), nn.Tanh())]
    deep = Rig(wrap(nn.Sequential(*layers, nn.Linear(4, 3)), name="deep"), task())
    budget = 40 * 25
    found = paths(deep, budget=budget)
    assert found.passes <= budget == paths_cost(deep, budget=budget)
    straight = np.array([to == "answer" for _, to in found.names])
    # A tape, gradients, two readings for each of eight parts: five are left.
    assert found.exact[straight].all() and found.exact.sum() == 8 + 5
    size = (found.attributed**2).mean(axis=1)
    assert size[found.exact & ~straight].min() >= size[~found.exact].max()
    rows = frame(found.measurements())
    assert rows.reason.str.contains("budget was spent").sum() == (~found.exact).sum() == 28 - 5
    whole = paths(deep)
    np.testing.assert_array_equal(found.effect[found.exact], whole.effect[found.exact])
    # The last part is read by a linear layer: its attribution is exact.
    last = [i for i, (_, to) in enumerate(found.names) if to == "7"]
    np.testing.assert_allclose(found.attributed[last], whole.effect[last], atol=1e-5)
    with pytest.raises(InputError, match="holds no paths among 8 parts on 40 items: give 800 or more"):
        paths(deep, budget=40 * 19)


def test_a_transformer_has_paths_along_its_stream():
    config = {
        "n_layers": 2, "d_model": 8, "n_ctx": 2, "d_head": 4, "n_heads": 2, "d_mlp": 12, "d_vocab": 5,
        "act_fn": "relu", "normalization_type": None,
    }  # fmt: skip
    model = build(config, seed=1)
    with torch.no_grad():
        model.blocks[1].attn.W_Q.zero_()
        model.blocks[1].mlp.W_in.zero_()
    a, b = np.divmod(np.arange(25), 5)
    items = pd.DataFrame({"id": [f"i{i}" for i in range(25)], "answer": (a + b) % 5})
    items["tokens"] = [[int(x), int(y)] for x, y in zip(a, b, strict=True)]
    rig = Rig(wrap(model, name="stream"), Task.from_frame(items, name="pairs", performance="class"))
    found = paths(rig)
    share = dict(zip(found.names, found.share.value, strict=True))
    assert {first for first, _ in found.names} == {
        "embedding",
        *(f"L{i} {p}" for i in (0, 1) for p in ("attention", "MLP")),
    }
    # The second MLP reads nothing; the first reads the embedding.
    assert all(share[path] == 0 for path in share if path[1] == "L1 MLP")
    assert share["embedding", "L0 MLP"] > 0 and share["L0 MLP", "L1 attention"] > 0
    assert found.frame().share.is_monotonic_decreasing and "answer" in found._repr_html_()


def test_parts_that_are_no_ends_of_paths_are_refused(rig):
    with pytest.raises(InputError, match="at least two parts"):
        paths(rig, [part("a")])
    with pytest.raises(InputError, match="among them 'both'"):
        paths(rig, [combined("both", "module", [part("a"), part("b")]), part("c")])
    skip = Component("past b", "skip", "b", 0.0, source="a")
    with pytest.raises(InputError, match="among them 'past b'"):
        paths(rig, [skip, part("c")])
    assert len(components(rig)) == 3
