import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.models import build, wrap
from mechdecouple.results import frame
from mechdecouple.structure.mechanism.component import Component
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.units import census, census_cost, hidden_units, states
from mechdecouple.tasks import Task


class Hidden(nn.Module):
    """Hidden units: 0 and 1 stand in for one another, 2 and 3 add up, 4 is not read, 5 never fires."""

    def __init__(self):
        super().__init__()
        self.inner, self.act, self.out = nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 3, bias=False)
        with torch.no_grad():
            self.inner.weight[1] = self.inner.weight[0]
            self.inner.bias[1] = self.inner.bias[0]
            self.inner.bias[5] = -100.0
            self.out.weight[:, 3] = 0.0
            self.out.weight *= 4

    def forward(self, x):
        h = self.act(self.inner(x))
        return self.out(torch.cat([h[:, :2].max(dim=1, keepdim=True).values, h[:, 2:]], dim=1))


def task(n=32):
    inputs = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    items = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % 3})
    return Task.from_frame(items, name="hidden", performance="class", inputs=inputs)


@pytest.fixture
def rig():
    torch.manual_seed(0)
    return Rig(wrap(Hidden(), name="hidden"), task())


KNOWN = ["redundant", "redundant", "working", "working", "dead", "never active"]


@pytest.mark.parametrize("ablation", ["zero", "resample"])
def test_planted_units_are_told_apart(rig, ablation):
    found = census(rig, splits=6, ablation=ablation)
    if ablation == "resample":
        # Of two copies drawn from one item neither is taken out alone without the larger one showing.
        assert found.state.tolist()[2:] == KNOWN[2:]
        return
    assert found.state.tolist() == KNOWN
    assert found.counts == {"never active": 1, "dead": 1, "redundant": 2, "working": 2, "untested": 0}
    assert found.share("redundant").value == pytest.approx(1 / 3) and found.share("dead").reason
    np.testing.assert_allclose(found.alone[:2], 0, atol=1e-12)
    # What adds up has the same effect whoever else is there.
    np.testing.assert_allclose(found.without[2:4], found.alone[2:4], rtol=1e-4)


def test_the_backed_up_effect_is_that_of_the_pair(rig):
    found = census(rig, splits=6)
    x = torch.as_tensor(rig.task.inputs)
    with torch.no_grad():
        h = torch.relu(rig.model.module.inner(x))[:, :1]
        said = (h @ rig.model.module.out.weight[:, :1].T).double().numpy()
    said = said - said.mean(axis=1, keepdims=True)
    clean = rig.clean.values
    scale = ((clean - clean.mean(axis=0)) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(found.without[:2], (said**2).sum(axis=1).mean() / scale, rtol=1e-4)


def test_one_split_finds_a_pair_half_of_the_time(rig):
    seen = [census(rig, splits=1, seed=seed, limit=12).counts["redundant"] for seed in range(8)]
    assert set(seen) == {0, 2} and 0.3 < np.mean(np.array(seen) == 2) < 0.9


def test_cost_is_stated_and_kept(rig):
    found = census(rig)
    assert found.passes <= census_cost(rig) == 32 * (1 + 2 * 3 + 4 * 6)
    assert found.passes == 32 * (1 + 2 * 3 + 4 * 5)
    some = census(rig, budget=32 * 16)
    assert some.passes <= 32 * 16 == census_cost(rig, budget=32 * 16) + 32
    assert some.counts["untested"] == 3 and some.counts["never active"] == 1
    estimate = some.share("dead")
    assert estimate.n == 2 and 0 <= estimate.low <= estimate.value <= estimate.high <= 5 / 6
    with pytest.raises(InputError, match="holds no unit on 32 items: give 352 or more"):
        census(rig, budget=32 * 11 - 1)
    assert census(rig, budget=32 * 11).passes <= 32 * 11


def test_states_follow_the_rule():
    active = np.array([False, True, True, True, True])
    alone = np.array([np.nan, np.nan, 0.001, 0.1, 0.1])
    without = np.array([np.nan, np.nan, 0.005, 0.5, 0.2])
    expected = ["never active", "untested", "dead", "redundant", "working"]
    assert states(active, alone, without, floor=0.01, rise=4.0).tolist() == expected


def test_units_of_a_transformer_are_those_of_its_mlps():
    config = {
        "n_layers": 2, "d_model": 8, "n_ctx": 3, "d_head": 4, "n_heads": 2, "d_mlp": 6, "d_vocab": 5,
        "act_fn": "relu", "normalization_type": "LN",
    }  # fmt: skip
    model = build(config, seed=1)
    with torch.no_grad():
        model.blocks[0].mlp.b_in[2] = -100.0
        model.blocks[1].mlp.W_out[4] = 0.0
    rows = [[int(x) for x in np.random.default_rng(i).integers(0, 5, 2 + i % 2)] for i in range(24)]
    items = pd.DataFrame({"id": [f"i{i}" for i in range(24)], "answer": np.arange(24) % 5, "tokens": rows})
    rig = Rig(wrap(model, name="small"), Task.from_frame(items, name="rows", performance="class"))
    found = census(rig, splits=1)
    assert [c.hook_point for c in hidden_units(rig)] == [f"blocks.{i}.mlp.hook_post" for i in (0, 1) for _ in range(6)]
    state = dict(zip([c.name for c in found.components], found.state, strict=True))
    assert state["blocks.0.mlp.hook_post 2"] == "never active" and state["blocks.1.mlp.hook_post 4"] == "dead"
    heads = [Component(f"H{h}", "head", "blocks.0.attn.hook_z", 0.0, -2, (h,)) for h in (0, 1)]
    patterns = [Component(f"P{h}", "head pattern", "blocks.0.attn.hook_pattern", 0.0, -3, (h,)) for h in (0, 1)]
    assert "never active" not in census(rig, [*heads, *patterns], splits=1).state


def test_results_answer_as_tables(rig):
    found = census(rig)
    rows = frame(found.measurements())
    assert rows.metric.tolist() == ["never_active_units", "dead_units", "redundant_units"]
    assert rows.hook_point.eq("act").all() and rows.unit.eq("units").all()
    assert len(found.frame()) == len(found) == 6 and "1 dead" in found._repr_html_()
    with pytest.raises(InputError, match="expected one of never active, dead, redundant"):
        found.share("working")


def test_bad_input_is_named(rig):
    line = Rig(wrap(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), name="line"), task())
    with pytest.raises(InputError, match="no hook points behind activation functions"):
        census(line)
    with pytest.raises(InputError, match="at least one of each"):
        census(rig, splits=0)
    with torch.no_grad():
        rig.model.module.out.weight.zero_()
    with pytest.raises(InputError, match="do not vary over the items"):
        census(rig)
