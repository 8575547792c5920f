import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import ModelError
from mechdecouple.models import build, load_pretrained, wrap
from mechdecouple.structure.mechanism.attribution import PASSES, attribution
from mechdecouple.structure.mechanism.component import Component, combined
from mechdecouple.structure.mechanism.components import components
from mechdecouple.structure.mechanism.profile import causal_profile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task


def arrays(n=30, d=6, classes=3):
    inputs = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % classes})
    return Task.from_frame(frame, name="arrays", performance="class", inputs=inputs)


def net(classes=3, act=None):
    torch.manual_seed(0)
    modules = nn.Sequential(nn.Linear(6, 8), act or nn.ReLU(), nn.Linear(8, 3))
    return Rig(wrap(modules, name="net"), arrays(classes=classes))


@pytest.fixture(scope="module")
def stream():
    config = {
        "n_layers": 1, "d_model": 8, "n_ctx": 2, "d_head": 4, "n_heads": 2, "d_mlp": 12, "d_vocab": 5,
        "act_fn": "relu", "normalization_type": None, "attention_dir": "bidirectional",
    }  # fmt: skip
    model = build(config, seed=1)
    a, b = np.divmod(np.arange(25), 5)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(25)], "answer": (a + b) % 5})
    frame["tokens"] = [[int(x), int(y)] for x, y in zip(a, b, strict=True)]
    return Rig(wrap(model, name="stream"), Task.from_frame(frame, name="pairs", performance="class"))


@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
def test_attribution_is_exact_where_the_logits_are_linear_in_the_part(ablation, stream):
    rig = net()
    units = [Component(f"u{i}", "units", "1", 0.5, index=(i,)) for i in range(8)]
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 2)))[0].T
    parts = [*units, Component("plane", "latents", "1", 0.5, basis=basis), combined("three", "units", units[:3])]
    exact = causal_profile(rig, parts, ablations=[ablation], limit=30).effect[:, 0]
    found = attribution(rig, parts, ablation=ablation)
    np.testing.assert_allclose(found, exact, atol=1e-5)
    np.testing.assert_allclose(found[-1], found[:3].sum(axis=0), atol=1e-6)
    # Of a transformer: what the MLP puts out, and what goes past it.
    last = [c for c in components(stream) if c.name in ("L0 MLP", "skip around L0 MLP")]
    exact = causal_profile(stream, last, ablations=[ablation], limit=25).effect[:, 0]
    np.testing.assert_allclose(attribution(stream, last, ablation=ablation), exact, atol=1e-5)
    assert len(last) == 2 and np.abs(exact).max() > 1e-3


class Saturated(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.squash, self.out = nn.Linear(6, 3), nn.Hardtanh(), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.inner.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))

    def forward(self, x):
        return self.out(self.squash(self.inner(x)))


def test_attribution_is_blind_where_the_slope_is_flat():
    torch.manual_seed(0)
    rig = Rig(wrap(Saturated(), name="flat"), arrays())
    part = [Component("first", "units", "inner", 0.0, index=(0,))]
    assert not attribution(rig, part, ablation="zero").any()
    assert np.abs(causal_profile(rig, part, ablations=["zero"], limit=30).effect).min() > 1e-3


def test_attribution_counts_its_passes_and_needs_no_trainable_weights():
    rig = net()
    free = attribution(rig, components(rig))
    assert rig.passes == PASSES * 30
    for parameter in rig.model.module.parameters():
        parameter.requires_grad_(False)
    np.testing.assert_allclose(attribution(rig, components(rig)), free, atol=1e-7)


def test_classes_that_are_never_right_do_not_count():
    rig = net(classes=2)
    part = [Component("hidden", "module", "1", 0.5)]
    exact = causal_profile(rig, part, ablations=["zero"], limit=30).effect[:, 0]
    np.testing.assert_allclose(attribution(rig, part, ablation="zero"), exact, atol=1e-5)


def test_options_in_words_are_attributed(gpt2_dir, yes_no_items):
    rig = Rig(load_pretrained(str(gpt2_dir)), Task.from_frame(yes_no_items.head(20), name="words"))
    parts = [c for c in components(rig) if c.name in ("L1 MLP", "L0H1", "L1 patterns", "skip around L1 MLP")]
    found = attribution(rig, parts, ablation="mean")
    exact = causal_profile(rig, parts, ablations=["mean"], limit=20).effect[:, 0]
    assert len(parts) == 4
    for one, other in zip(found, exact, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.8


def test_parts_that_no_gradient_reaches_are_refused():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.out = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.inner(x).detach())

    rig = Rig(wrap(Cut(), name="cut"), arrays())
    with pytest.raises(ModelError, match="no gradient reaches"):
        attribution(rig, [Component("inner", "module", "inner", 0.0)])
