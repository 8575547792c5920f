import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError, MismatchError, ModelError
from mechdecouple.models import build, wrap
from mechdecouple.structure.mechanism.components import components
from mechdecouple.structure.mechanism.profile import causal_profile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.contrast import contrast
from mechdecouple.structure.mechanism.signatures.signature import signature, signature_cost
from mechdecouple.tasks import Task

P = 7
CONFIG = {"d_model": 12, "n_layers": 2, "n_heads": 2, "d_head": 6, "d_mlp": 10, "n_ctx": 2, "d_vocab": P,
          "act_fn": "relu", "normalization_type": None, "attention_dir": "bidirectional"}  # fmt: skip


def net(seed=0):
    model = build(CONFIG, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    return model


def altered(change, seed=0, **config):
    """The model with its weights changed, by name."""
    model = build({**CONFIG, **config})
    model.load_state_dict({**model.state_dict(), **change({k: v.clone() for k, v in net(seed).state_dict().items()})})
    return model


def rotated(state):
    """Another basis of the stream: what writes is turned, what reads is turned back."""
    q = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
    for key, value in state.items():
        if key.endswith(("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out")):
            state[key] = value @ q
        elif key.endswith(("W_Q", "W_K", "W_V", "W_in", "W_U")):
            state[key] = q.T @ value
    return state


def permuted(state):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    for i in range(2):
        for key in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            state[f"blocks.{i}.attn.{key}"] = state[f"blocks.{i}.attn.{key}"].flip(0)
        state[f"blocks.{i}.mlp.W_in"] = state[f"blocks.{i}.mlp.W_in"][:, order]
        state[f"blocks.{i}.mlp.b_in"] = state[f"blocks.{i}.mlp.b_in"][order]
        state[f"blocks.{i}.mlp.W_out"] = state[f"blocks.{i}.mlp.W_out"][order]
    return state


def duplicated(state):
    for i in range(2):
        for key in ("W_in", "b_in", "W_out"):
            value = state[f"blocks.{i}.mlp.{key}"]
            state[f"blocks.{i}.mlp.{key}"] = torch.cat([value, value], dim=-1 if key != "W_out" else 0)
        state[f"blocks.{i}.mlp.W_out"] /= 2
    return state


def shifted(state):
    """A constant on all logits of an item, which depends on the item."""
    state["unembed.W_U"] = state["unembed.W_U"] + torch.randn(12, 1, generator=torch.Generator().manual_seed(1))
    return state


COPIES = {
    "rotated": lambda: altered(rotated),
    "permuted": lambda: altered(permuted),
    "duplicated": lambda: altered(duplicated, d_mlp=20),
    "shifted": lambda: altered(shifted),
}


def grid():
    pairs = list(itertools.product(range(P), range(P)))
    frame = pd.DataFrame(
        {
            "id": [f"{a}+{b}" for a, b in pairs],
            "tokens": [[a, b] for a, b in pairs],
            "choices": [tuple(map(str, range(P)))] * len(pairs),
            "answer": [str((a + b) % P) for a, b in pairs],
            "concept_small": [float(a < 3) for a, _ in pairs],
        }
    )
    return Task.from_frame(frame, name="sums")


def measured(model, name):
    rig = Rig(wrap(model, name=name), grid())
    parts = [c for c in components(rig, heads=False) if c.kind in ("attention", "mlp") and not c.parts]
    return signature(rig, causal_profile(rig, parts, ablations=("resample",)))


@pytest.fixture(scope="module")
def original():
    return measured(net(), "original")


@pytest.mark.parametrize("copy", COPIES)
def test_copies_have_the_same_signature(original, copy):
    other = measured(COPIES[copy](), copy)
    np.testing.assert_allclose(other.values.value, original.values.value, atol=2e-4)
    np.testing.assert_allclose((original - other).replicates, 0, atol=2e-4)
    both = contrast(original, other, permutations=20)
    assert both.wrong_options.agreement.value == pytest.approx(1, abs=1e-5)
    assert both.influence.value.value == pytest.approx(1, abs=0.01)
    assert both.components.value.value == pytest.approx(1, abs=0.01)
    assert both.overlap.value == pytest.approx(1, abs=1e-5)


def test_another_model_has_another_signature(original):
    both = contrast(original, measured(net(3), "other"), permutations=50)
    assert abs(both.wrong_options.agreement.value) < 0.6
    assert abs(both.influence.value.value) < 0.6
    assert both.overlap.value < 0.99
    frame = both.frame().set_index("metric")
    assert frame.loc["influence_agreement", "p"] > 0
    assert frame["value"].notna().all() or frame.loc[frame["value"].isna(), "reason"].str.len().gt(0).all()


def test_it_costs_what_it_says_and_says_what_it_measured():
    rig = Rig(wrap(net(), name="original"), grid())
    found = signature(rig, limit=20)
    assert rig.passes == signature_cost(len(rig), limit=20, options=P)
    assert "answer_variance_share: small" in found.names and "answer_variance_share: a-b" in found.names
    assert found["gradient_symmetry"].value == found.values.value[found.names.index("gradient_symmetry")]
    assert found.counts[found.names.index("gradient_symmetry")] == 20
    table = found.frame()
    assert len(table) == len(found) == len(found.names)
    assert "no causal profile" in table.set_index("metric").loc["effective_components", "reason"]
    assert found.model in found._repr_html_()
    with pytest.raises(InputError, match="no 'gradient'"):
        found["gradient"]


def test_signatures_of_other_items_do_not_pair(original):
    rig = Rig(wrap(net(), name="part"), grid().select(np.arange(40)))
    with pytest.raises(MismatchError, match="'original' and 'part' do not pair"):
        contrast(original, signature(rig))
    with pytest.raises(MismatchError, match="item '5\\+5'"):
        signature(rig, original.profile)


class Blocks(nn.Module):
    """Logits [b, classes] of [b, 4] inputs, through one hidden layer."""

    def __init__(self, classes):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 16), nn.Linear(16, classes)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def tensors(classes, n=120, answer=None):
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(n, 4)).astype(np.float32)
    frame = pd.DataFrame(
        {
            "id": [f"i{i}" for i in range(n)],
            "answer": np.arange(n) % classes if answer is None else answer,
            "concept_first": x[:, 0],
            "concept_second": np.where(x[:, 1] > 0, "up", "down"),
        }
    )
    return Task.from_frame(frame, name="tensors", performance="class", inputs=x)


def plain(classes=3, seed=0):
    torch.manual_seed(seed)
    return wrap(Blocks(classes), name=f"plain{seed}")


def test_tensor_inputs_and_classes():
    with torch.random.fork_rng():
        a, b = (signature(Rig(plain(seed=s), tensors(3))) for s in (0, 1))
    for name in ("answer_variance_share: first", "input_additivity", "wrong_option_consistency", "effective_inputs"):
        assert np.isfinite(a[name].value)
    assert "tensors" in a.reasons["gradient_symmetry"] and a.reasons["group_sparsity"]
    both = contrast(a, b, permutations=20)
    assert -1 <= both.influence.value.value <= 1
    assert np.isnan(both.overlap.value) and both.overlap_reason


def test_two_options_have_no_profile_of_wrong_ones():
    with torch.random.fork_rng():
        found = signature(Rig(plain(2), tensors(2)))
    assert np.isnan(found["wrong_option_consistency"].value)
    assert "two options" in found.reasons["wrong_option_consistency"]
    assert np.isfinite(found["input_additivity"].value)


def test_bad_input():
    with torch.random.fork_rng():
        one = Rig(plain(), tensors(3, answer=np.zeros(120, int)))
        with pytest.raises(InputError, match="one class"):
            signature(one)
        dead = plain()
        with torch.no_grad():
            dead.module.hidden.weight.zero_()
        flat = signature(Rig(dead, tensors(3)))
        assert "no input has influence" in flat.reasons["effective_inputs"]
        assert set(flat.reasons) >= {name for name in flat.names if np.isnan(flat[name].value)}
        assert flat.frame().loc[lambda t: t["value"].isna(), "reason"].str.len().gt(0).all()
        with torch.no_grad():
            dead.module.hidden.weight.fill_(torch.nan)
        with pytest.raises(ModelError):
            signature(Rig(dead, tensors(3)))


def test_one_position_and_prompts_of_different_length():
    frame = grid().frame
    one = Task.from_frame(
        pd.DataFrame({"id": list("abcdefg"), "tokens": [[i, 0] for i in range(P)],
                      "choices": [tuple(map(str, range(P)))] * P, "answer": list("0123456")}),
    )  # fmt: skip
    found = signature(Rig(wrap(net(), name="one"), one))
    assert "one position" in found.reasons["gradient_symmetry"]
    assert "one input" in found.reasons["input_additivity"] or "values" in found.reasons["input_additivity"]
    ragged = frame[["id", "tokens", "choices", "answer"]].copy()
    ragged["tokens"] = [t.tolist()[: 1 + i % 2] for i, t in enumerate(ragged["tokens"])]
    found = signature(Rig(wrap(net(), name="ragged"), Task.from_frame(ragged)))
    for name in ("gradient_symmetry", "input_additivity", "effective_inputs"):
        assert "length" in found.reasons[name]
    assert np.isfinite(found["wrong_option_consistency"].value)
