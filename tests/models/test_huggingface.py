from __future__ import annotations

import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, wrap
from mechdecouple.models.huggingface import HuggingFaceModel


@pytest.fixture
def model(hf_model, family):
    return wrap(hf_model, family)


def test_residual_stream_is_what_transformers_calls_hidden_states(model, hf_model, padded):
    with torch.no_grad():
        hidden = hf_model(padded.tokens, attention_mask=padded.mask.long(), output_hidden_states=True).hidden_states
        got = model.forward(padded, capture=model.layer_points, logits=False).activations
    assert len(hidden) == len(model.layer_points) == 4
    final = {"bert": "blocks.2.hook_resid_post"}.get(model.name.split("_")[0], "ln_final.hook_out")
    for point, expected in zip(model.layer_points[:-1], hidden, strict=False):
        torch.testing.assert_close(got[point][padded.mask], expected[padded.mask], rtol=0, atol=1e-5)
    with torch.no_grad():
        last = model.forward(padded, capture=[final], logits=False).activations[final]
    torch.testing.assert_close(last[padded.mask], hidden[-1][padded.mask], rtol=0, atol=1e-5)


def test_logits_are_those_of_transformers(model, hf_model, padded):
    if model.head is None:
        pytest.skip("no head")
    with torch.no_grad():
        expected = hf_model(padded.tokens, attention_mask=padded.mask.long()).logits
        got = model.forward(padded).logits
    torch.testing.assert_close(got[padded.mask], expected[padded.mask], rtol=0, atol=1e-5)


def test_batched_equals_one_by_one(model, padded):
    points = [p for p in model.hook_points if "pattern" not in p and "scores" not in p]
    with torch.no_grad():
        batched = model.forward(padded, capture=points, logits=False).activations
        for i, n in enumerate(padded.mask.sum(1).tolist()):
            alone = model.forward(Batch(padded.tokens[i : i + 1, :n]), capture=points, logits=False).activations
            for point in points:
                torch.testing.assert_close(batched[point][i, :n], alone[point][0], rtol=0, atol=1e-5)


def test_plain_hooks_and_the_bridge_agree(model, padded):
    points = [p for p in model.hook_points if p in model._places]
    assert set(model.hook_points) <= set(model.inner.hook_points)
    with torch.no_grad():
        plain = model.forward(padded, capture=points, logits=model.head is not None)
        bridge = model.inner.forward(padded, capture=points, logits=model.head is not None)
    for point in points:
        torch.testing.assert_close(
            plain.activations[point][padded.mask], bridge.activations[point][padded.mask], rtol=0, atol=1e-5
        )
    if model.head is not None:
        torch.testing.assert_close(plain.logits[padded.mask], bridge.logits[padded.mask], rtol=0, atol=1e-5)


def test_widths_are_the_shapes_that_come_out(model, padded):
    points = [p for p in model.hook_points if "pattern" not in p and "scores" not in p]
    with torch.no_grad():
        got = model.forward(padded, capture=points, logits=False).activations
    assert {p: got[p].shape[2:].numel() for p in points} == {p: model.width(p) for p in points}
    with pytest.raises(ModelError, match="pairs of tokens"):
        model.width("blocks.0.attn.hook_pattern")


def test_early_stop_runs_nothing_deeper(model, hf_model, padded):
    def hooks():
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in hf_model.modules()]

    ran, before = [], hooks()
    blocks = next(m for m in hf_model.modules() if isinstance(m, torch.nn.ModuleList))
    handles = [b.register_forward_pre_hook(lambda m, a, i=i: ran.append(i)) for i, b in enumerate(blocks)]
    with torch.no_grad():
        model.forward(padded, capture=["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"], logits=False)
    for handle in handles:
        handle.remove()
    assert ran == [0, 1]
    assert hooks() == before


def test_patching_a_models_own_activations_changes_nothing(model, padded):
    if model.head is None:
        pytest.skip("no head")
    for point in ("hook_embed", "blocks.1.hook_attn_out", "blocks.1.mlp.hook_post", "blocks.2.hook_resid_post"):
        with torch.no_grad():
            clean = model.forward(padded, capture=[point])
            own = clean.activations[point]
            again = model.forward(padded, edits={point: lambda x, b, own=own: own})
        torch.testing.assert_close(again.logits[padded.mask], clean.logits[padded.mask], rtol=0, atol=1e-6)


def test_zero_at_the_last_residual_is_the_head_of_zero(model, hf_model, padded):
    if model.head is None:
        pytest.skip("no head")
    heads = {
        "gpt2": lambda z: hf_model.lm_head(hf_model.transformer.ln_f(z)),
        "llama": lambda z: hf_model.lm_head(hf_model.model.norm(z)),
        "neox": lambda z: hf_model.get_output_embeddings()(hf_model.gpt_neox.final_layer_norm(z)),
        "bert": lambda z: hf_model.cls(z),
    }
    with torch.no_grad():
        got = model.forward(padded, edits={"blocks.2.hook_resid_post": lambda x, b: torch.zeros_like(x)}).logits
        expected = heads[model.name](torch.zeros(3, 6, 32))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_edits_are_seen_by_captures_and_by_what_lies_deeper(model, padded):
    point, deeper = "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"
    with torch.no_grad():
        clean = model.forward(padded, capture=[point, deeper], logits=False).activations
        edited = model.forward(
            padded, capture=[point, deeper], edits={point: lambda x, b: 2 * x}, logits=False
        ).activations
    torch.testing.assert_close(edited[point], 2 * clean[point])
    assert (edited[deeper] - clean[deeper]).abs().max() > 0.01


def test_attention_patterns_sum_to_one(model, padded):
    with torch.no_grad():
        pattern = model.forward(padded, capture=["blocks.1.attn.hook_pattern"], logits=False).activations
    sums = pattern["blocks.1.attn.hook_pattern"].sum(-1)
    torch.testing.assert_close(sums[0], torch.ones(4, 6))


def test_a_body_without_head_expresses_nothing(hf_models, padded):
    body = wrap(hf_models["bert_body"], "body")
    assert body.head is None
    assert body.forward(padded, capture=["hook_embed"]).logits is None
    with pytest.raises(ModelError, match="no head"):
        body.forward(padded)


def test_heads(hf_models):
    assert {f: wrap(m, f).head for f, m in hf_models.items()} == {
        "gpt2": "lm", "llama": "lm", "neox": "lm", "bert": "mlm", "bert_body": None,
    }  # fmt: skip


def test_gradients_flow(hf_models, padded):
    model = wrap(hf_models["gpt2"], "gpt2")
    out = model.forward(padded, capture=["blocks.0.hook_resid_post"])
    (grad,) = torch.autograd.grad(out.logits.sum(), out.activations["blocks.0.hook_resid_post"])
    assert grad.abs().max() > 0


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_folding_keeps_the_function_and_takes_the_gain_out_of_the_norms(hf_models, name, padded):
    plain, folded = wrap(hf_models[name], name), wrap(hf_models[name], name, processing="fold_ln")
    assert (plain.processing, folded.processing) == ("none", "fold_ln")
    assert plain.weight_hash == folded.weight_hash
    with torch.no_grad():
        a = plain.forward(padded, capture=plain.layer_points)
        b = folded.forward(padded, capture=[*plain.layer_points, "blocks.1.ln1.hook_out"])
    torch.testing.assert_close(a.logits[padded.mask], b.logits[padded.mask], rtol=0, atol=1e-4)
    for point in plain.layer_points:
        torch.testing.assert_close(
            a.activations[point][padded.mask], b.activations[point][padded.mask], rtol=0, atol=1e-4
        )
    normed = b.activations["blocks.1.ln1.hook_out"][padded.mask]
    torch.testing.assert_close(normed.square().mean(-1), torch.ones(len(normed)), rtol=0, atol=1e-2)


def test_norms_behind_the_layer_cannot_be_folded(hf_models):
    with pytest.raises(ModelError, match="cannot be folded"):
        wrap(hf_models["bert"], "bert", processing="fold_ln")


def test_encoder_decoders_and_unknown_architectures_are_refused(hf_models):
    import transformers

    config = transformers.T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8, vocab_size=10)
    with pytest.raises(ModelError, match="encoder-decoder"):
        wrap(transformers.T5ForConditionalGeneration(config))


def test_the_wrapped_model_is_left_alone(hf_models, padded):
    source = hf_models["gpt2"]
    before = {k: v.clone() for k, v in source.state_dict().items()}
    classes = [type(m).__name__ for m in source.modules()]
    model = wrap(source, "gpt2")
    assert isinstance(model, HuggingFaceModel)
    model.forward(padded, capture=["blocks.0.attn.hook_z"], logits=False)
    assert [type(m).__name__ for m in source.modules()] == classes
    assert all(torch.equal(before[k], v) for k, v in source.state_dict().items())
