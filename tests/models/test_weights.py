import pytest
import torch
from torch import nn

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, build, wrap
from mechdecouple.models.weights import filter_axes, named_weights, replaced

CONFIG = dict(n_layers=2, d_model=8, d_head=4, n_heads=2, d_vocab=9, n_ctx=6, act_fn="relu", normalization_type="LN")


def same_after(model, batch):
    """A check that the model is what it was, weight by weight and in what it says."""
    before = {name: id(p) for name, p in model.module.named_parameters(remove_duplicate=False)}
    with torch.no_grad():
        said = model.forward(batch).logits

    def check():
        assert {name: id(p) for name, p in model.module.named_parameters(remove_duplicate=False)} == before
        with torch.no_grad():
            torch.testing.assert_close(model.forward(batch).logits, said, rtol=0, atol=0)

    return check


def models(hf_models):
    yield wrap(build(CONFIG), "hooked"), Batch(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    plain = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    yield wrap(plain, "plain"), Batch(array=torch.randn(2, 5, generator=torch.Generator().manual_seed(0)))
    for family in ("gpt2", "llama", "neox", "bert"):
        head = wrap(hf_models[family], family)
        batch = Batch(torch.tensor([[6, 7, 8, 9], [9, 8, 7, 6]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool())
        yield head, batch
        yield head.inner, batch


def test_the_logits_are_those_of_a_model_with_these_weights(hf_models):
    for model, batch in models(hf_models):
        check = same_after(model, batch)
        # A bridge keeps the joint matrix of queries, keys and values beside the three parts that it reads.
        weights = {n: p for n, p in model.named_parameters().items() if ".qkv." not in n}
        generator = torch.Generator().manual_seed(1)
        other = {n: p.detach() + 0.1 * torch.randn(p.shape, generator=generator) for n, p in weights.items()}
        with torch.no_grad():
            got = model.logits_with(other, batch)
            check()
            kept = {name: p.clone() for name, p in weights.items()}
            for name, p in weights.items():
                p.copy_(other[name])
            expected = model.forward(batch).logits
            for name, p in weights.items():
                p.copy_(kept[name])
        real = slice(None) if batch.mask is None else batch.mask
        torch.testing.assert_close(got[real], expected[real])
        check()


def test_gradients_reach_the_weights_given_and_not_those_of_the_model(hf_models):
    for model, batch in models(hf_models):
        leaves = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters().items()}
        model.logits_with(leaves, batch)[0].sum().backward()
        given = [n for n, leaf in leaves.items() if leaf.grad is not None]
        assert len(given) >= 0.8 * len(leaves), model.name
        assert all(p.grad is None for p in model.module.parameters())


def test_tied_weights_are_replaced_together(hf_models):
    model = wrap(hf_models["gpt2"], "gpt2")
    assert "lm_head.weight" not in model.named_parameters()
    batch = Batch(torch.tensor([[6, 7, 8]]))
    zeros = {"transformer.wte.weight": torch.zeros_like(model.module.transformer.wte.weight)}
    # Without embeddings in and out nothing is said; untied, the second would still be read.
    assert not model.logits_with(zeros, batch).any()


def test_a_failing_pass_leaves_the_model_as_it_was():
    model, batch = wrap(build(CONFIG), "m"), Batch(torch.tensor([[1, 2, 3]]))
    check = same_after(model, batch)
    with pytest.raises(RuntimeError, match="broken"), replaced(model.module, named_weights(build(CONFIG, seed=1))):
        raise RuntimeError("broken")
    check()


def test_what_cannot_be_replaced_is_refused(hf_models):
    model, batch = wrap(build(CONFIG), "m"), Batch(torch.tensor([[1, 2, 3]]))
    with pytest.raises(ModelError, match=r"no parameter 'embed.W_F': did you mean 'embed.W_E'\?"):
        model.logits_with({"embed.W_F": torch.zeros(9, 8)}, batch)
    with pytest.raises(ModelError, match=r"'embed.W_E': given shape \(8, 9\), expected \(9, 8\)"):
        model.logits_with({"embed.W_E": torch.zeros(8, 9)}, batch)
    folded = wrap(hf_models["llama"], "folded", processing="fold_ln")
    with pytest.raises(ModelError, match="folded weights of LlamaForCausalLM"):
        folded.logits_with({}, batch)
    recurrent = wrap(nn.Sequential(nn.Linear(3, 2), nn.LSTM(2, 2)), "recurrent")
    with pytest.raises(ModelError, match="recurrent layer"), replaced(recurrent.module, {}):
        pass


def test_filters_are_the_weights_into_one_output_unit(hf_models):
    """Changing one filter by its axes changes one unit of the layer's output, in every way of storing weights."""
    hooked = build(CONFIG)
    axes = filter_axes(hooked)
    assert axes["embed.W_E"] == axes["pos_embed.W_pos"] == (0,)
    assert not any(name.split(".")[-1].startswith("b") for name in axes)
    block, x = hooked.blocks[0], torch.randn(1, 3, 8)
    outputs = {
        "blocks.0.attn.W_V": lambda: hooked.run_with_cache(torch.tensor([[1, 2, 3]]))[1]["blocks.0.attn.hook_v"],
        "blocks.0.mlp.W_in": lambda: x @ block.mlp.W_in,
        "blocks.0.mlp.W_out": lambda: block.mlp(x),
        "unembed.W_U": lambda: hooked.unembed(x),
    }
    parameters = dict(hooked.named_parameters())
    for name, output in outputs.items():
        where = tuple(1 if axis in axes[name] else slice(None) for axis in range(parameters[name].ndim))
        with torch.no_grad():
            before = output().clone()
            parameters[name][where] += 1.0
            changed = (output() != before).flatten(0, 1).any(dim=0)
            parameters[name][where] -= 1.0
        assert changed.sum() == 1, name
    gpt2, llama = filter_axes(hf_models["gpt2"]), filter_axes(hf_models["llama"])
    assert gpt2["transformer.h.0.mlp.c_fc.weight"] == (1,) and gpt2["transformer.wte.weight"] == (0,)
    assert llama["model.layers.0.mlp.up_proj.weight"] == (0,)
    assert not any(name.endswith(("bias", "norm.weight", "ln_f.weight")) for name in {**gpt2, **llama})
    assert filter_axes(nn.ConvTranspose2d(2, 3, 2)) == {"weight": (1,)}
    assert filter_axes(nn.Conv2d(2, 3, 2)) == {"weight": (0,)}
