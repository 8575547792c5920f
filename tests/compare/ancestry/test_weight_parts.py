import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn

from mechdecouple.compare.ancestry.weight_parts import blocks, weights
from mechdecouple.models import build, wrap

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
HOOKED = {
    "n_layers": 2,
    "d_model": 8,
    "n_heads": 2,
    "d_head": 4,
    "d_mlp": 16,
    "d_vocab": 11,
    "n_ctx": 6,
    "act_fn": "relu",
}


def model(kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=8, bos_token_id=1)
        return wrap(hf.GPT2LMHeadModel(config))
    if kind == "folded":
        return wrap(model("gpt2").module, processing="fold_ln")
    if kind == "llama":
        config = hf.LlamaConfig(vocab_size=20, num_key_value_heads=1, max_position_embeddings=8, **SIZES)
        return wrap(hf.LlamaForCausalLM(config))
    if kind == "neox":
        return wrap(hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(vocab_size=20, max_position_embeddings=8, **SIZES)))
    if kind == "bert":
        return wrap(hf.BertModel(hf.BertConfig(vocab_size=20, max_position_embeddings=8, **SIZES)))
    if kind == "hooked":
        return wrap(build(HOOKED))
    return wrap(nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Conv1d(4, 2, 3), nn.BatchNorm1d(2)), nn.ReLU()))


KINDS = ("gpt2", "folded", "llama", "neox", "bert", "hooked", "plain")
ATTENTION = {f"blocks.{i}.attn.{x}" for i in (0, 1) for x in "qkvo"}


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "plain"])
def test_components_have_the_names_of_transformer_lens(kind):
    parts = weights(model(kind))
    assert ATTENTION | {f"blocks.{i}.mlp.{x}" for i in (0, 1) for x in ("in", "out")} | {"embed"} <= set(parts)
    assert ("blocks.0.mlp.gate" in parts) == (kind == "llama")
    assert ("unembed" in parts) == (kind in ("llama", "neox", "hooked", "folded")), "tied with the embedding, or none"


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_in_one_part_and_one_block(kind):
    one = model(kind)
    count = sum(t.numel() for own in weights(one).values() for t in own)
    assert count == sum(p.numel() for p in one.module.parameters())
    assert all(t.ndim <= 2 for own in weights(one).values() for t in own)
    names = [name for own in blocks(one).values() for name in own]
    assert len(names) == len(set(names)) and set(dict(one.module.named_parameters())) <= set(names)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("plain", "bert")])
def test_blocks_of_a_transformer(kind):
    assert list(blocks(model(kind))) == ["embed", "blocks.0", "blocks.1", "unembed"]


def test_blocks_of_a_plain_module_are_the_submodules_that_own_weights():
    found = blocks(model("plain"))
    assert list(found) == ["0", "1.0", "1.1"]
    assert set(found["1.1"]) == {"1.1.weight", "1.1.bias", "1.1.running_mean", "1.1.running_var"}
    assert [tuple(t.shape) for t in weights(model("plain"))["1.0"]] == [(2, 12), (2,)]


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_fused_queries_are_those_that_a_bridge_takes_apart(kind):
    one = model(kind)
    inner = one.inner
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 20, (2, 4), generator=generator)
    from mechdecouple.models import Batch

    with torch.no_grad():
        points = ["blocks.0.ln1.hook_out", "blocks.0.attn.hook_v"]
        found = inner.forward(Batch(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool)), capture=points)
    captured = found.activations
    weight, bias = weights(one)["blocks.0.attn.v"]
    expected = captured["blocks.0.ln1.hook_out"] @ weight.T + bias
    assert np.allclose(captured["blocks.0.attn.hook_v"].flatten(2), expected, atol=1e-5)


def test_heads_are_flattened_beside_the_stream():
    one = model("hooked")
    q, o = weights(one)["blocks.0.attn.q"][0], weights(one)["blocks.0.attn.o"][0]
    attn = one.module.blocks[0].attn
    assert torch.equal(q[:, 4:], attn.W_Q[1]) and torch.equal(o[4:], attn.W_O[1])
    assert [t.ndim for t in weights(one)["blocks.0.attn.q"]] == [2, 1]
