import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import build, load_pretrained, wrap
from mechdecouple.structure.mechanism.components import components, latent, units
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task


def arrays(n=20, d=6):
    inputs = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % 3})
    return Task.from_frame(frame, name="arrays", performance="class", inputs=inputs)


def tokens(n=20, t=3, vocabulary=30, constant=(), lengths=None):
    rng = np.random.default_rng(0)
    rows = [rng.integers(4, vocabulary, t if lengths is None else lengths[i]) for i in range(n)]
    for row in rows:
        row[list(constant)] = 5
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % 3})
    frame["tokens"] = [row.tolist() for row in rows]
    return Task.from_frame(frame, name="tokens", performance="class")


def transformer(seed=0, **config):
    fields = {
        "n_layers": 2, "d_model": 8, "n_ctx": 4, "d_head": 4, "n_heads": 2, "d_mlp": 12, "d_vocab": 30,
        "act_fn": "relu", "normalization_type": "LN", **config,
    }  # fmt: skip
    return wrap(build(fields, seed=seed), name="small")


def names(rig, **options):
    return [c.name for c in components(rig, **options)]


LAYER = ["patterns", "attention", "MLP", "skip around {} attention", "skip around {} MLP"]


def layer(i):
    return [name.format(f"L{i}") if "{}" in name else f"L{i} {name}" for name in LAYER]


def test_a_transformer_has_coarse_parts_then_heads():
    found = components(Rig(transformer(), tokens()))
    coarse = ["embedding", "token 0", "token 1", "token 2", *layer(0), *layer(1)]
    coarse += ["all patterns", "all attention", "all MLPs"]
    assert [c.name for c in found if not c.fine] == coarse == [c.name for c in found[: len(coarse)]]
    assert {c.kind for c in found if c.fine} == {"head", "head pattern"} and sum(c.kind == "head" for c in found) == 4
    depth = {c.name: c.depth for c in found}
    assert (depth["embedding"], depth["L0 MLP"], depth["L1 attention"], depth["L1H0"]) == (0.0, 0.25, 0.5, 0.5)
    assert names(Rig(transformer(), tokens()), heads=False) == coarse


def test_layers_without_mlp_have_a_skip_path_around_attention():
    found = names(Rig(transformer(n_layers=1, attn_only=True), tokens()), heads=False)
    assert found[-3:] == ["L0 patterns", "L0 attention", "skip around L0 attention"]


def test_parallel_layers_have_one_skip_path_around_both():
    found = names(Rig(transformer(n_layers=1, parallel_attn_mlp=True), tokens()), heads=False)
    assert [n for n in found if n.startswith("skip")] == ["skip around L0"]


def test_tokens_are_parts_where_they_vary_and_prompts_have_one_length():
    assert [n for n in names(Rig(transformer(), tokens(constant=[1]))) if "token" in n] == ["token 0", "token 2"]
    ragged = tokens(lengths=[2 + i % 2 for i in range(20)])
    assert not [n for n in names(Rig(transformer(), ragged)) if "token" in n]
    assert not [n for n in names(Rig(transformer(), tokens(t=1))) if "token" in n]


@pytest.mark.parametrize("kind", ["gpt2_dir", "llama_dir"])
def test_hugging_face_models_have_the_same_parts_as_behind_a_bridge(kind, request, yes_no_items):
    task = Task.from_frame(yes_no_items.head(8), name="words")
    ref = str(request.getfixturevalue(kind))
    raw, bridge = (Rig(load_pretrained(ref, processing=p), task) for p in ("none", "fold_ln"))
    found = names(raw)
    assert found == names(bridge)
    expected = ["embedding", *layer(0), *layer(1), "all patterns", "all attention", "all MLPs"]
    assert [c.name for c in components(raw) if not c.fine] == expected
    assert "L1H1" in found and "L1H1 pattern" in found


def test_hook_points_that_only_the_bridge_reaches_may_be_missing(gpt2_dir, yes_no_items, monkeypatch):
    model = load_pretrained(str(gpt2_dir))
    boundary = tuple(p for p in model.hook_points if ".attn." not in p)
    monkeypatch.setattr(model, "hook_points", boundary)
    found = names(Rig(model, Task.from_frame(yes_no_items.head(8), name="words")))
    assert "L0 patterns" not in found and "L0H0" not in found and "skip around L1 MLP" in found


def test_streams_normalised_after_the_sum_have_no_skip_paths():
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    config = OPTConfig(
        hidden_size=8, ffn_dim=12, num_hidden_layers=1, num_attention_heads=2, vocab_size=30, word_embed_proj_dim=8,
        max_position_embeddings=8, do_layer_norm_before=False,
    )  # fmt: skip
    found = names(Rig(wrap(OPTForCausalLM(config), name="after"), tokens()))
    # TransformerLens cannot follow this one inside, so it has neither heads nor, as OPT has no module for it, an MLP.
    assert found == ["embedding", "token 0", "token 1", "token 2", "L0 attention"]


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
        self.twice = nn.Linear(4, 4)
        self.flat = nn.Flatten()
        self.unused = nn.Linear(2, 2)
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        x = self.flat(self.twice(self.twice(self.body(x))))
        return self.out(self.one(x) + self.two(x))


def test_submodules_that_pass_on_or_run_twice_or_answer_are_left_out():
    net = Branches()
    # Two parts of their own, though they say the same.
    net.two.load_state_dict(net.one.state_dict())
    found = components(Rig(wrap(net, name="branches"), arrays()))
    assert [c.name for c in found] == ["body.0", "body.1", "flat", "one", "two"]
    assert {c.kind for c in found} == {"module"}


def test_a_model_of_the_answer_alone_has_no_parts():
    with pytest.raises(InputError, match="has no parts to take out"):
        components(Rig(wrap(nn.Sequential(nn.Linear(6, 3)), name="line"), arrays()))


def test_units_are_the_last_axis():
    rig = Rig(transformer(), tokens())
    hidden = units(rig, "blocks.1.mlp.hook_post", per_group=5)
    assert [c.index for c in hidden] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (10, 11)]
    assert hidden[2].name == "blocks.1.mlp.hook_post 10-11" and hidden[0].fine
    with pytest.raises(InputError, match="has no units"):
        units(rig, "blocks.0.attn.hook_pattern")
    with pytest.raises(InputError, match="expected at least 1"):
        units(rig, "blocks.1.mlp.hook_post", per_group=0)
    with pytest.raises(ModelError, match="no hook point"):
        units(rig, "blocks.7.mlp.hook_post")


def test_a_latent_spans_its_directions():
    part = latent("three", "0", np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 3.0]]), 0.0)
    assert part.basis.shape == (2, 3)
    np.testing.assert_allclose(part.basis.T @ part.basis, [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-12)
    for wrong in (np.zeros(3), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="finite numbers other than zero"):
            latent("none", "0", wrong, 0.0)
