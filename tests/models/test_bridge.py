from __future__ import annotations

import copy

import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.models import wrap


@pytest.fixture
def bridge(hf_models):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    source = copy.deepcopy(hf_models["gpt2"])
    return build_bridge_from_module(source, "GPT2LMHeadModel", hf_config=source.config)


def test_a_bridge_of_the_users_own_runs_as_it_is(bridge, hf_models, padded):
    model, plain = wrap(bridge, "bridge"), wrap(hf_models["gpt2"], "plain")
    assert set(plain.hook_points) <= set(model.hook_points) and model.layer_points == plain.layer_points
    with torch.no_grad():
        a = model.forward(padded, capture=model.layer_points)
        b = plain.forward(padded, capture=model.layer_points)
    torch.testing.assert_close(a.logits[padded.mask], b.logits[padded.mask], rtol=0, atol=1e-5)
    for point in model.layer_points:
        torch.testing.assert_close(
            a.activations[point][padded.mask], b.activations[point][padded.mask], rtol=0, atol=1e-5
        )
    with pytest.raises(ModelError, match="taken as it is"):
        wrap(bridge, processing="fold_ln")


def test_compatibility_mode_calls_each_hook_once_and_is_recorded(bridge, padded):
    bridge.enable_compatibility_mode(disable_warnings=True)
    model, seen = wrap(bridge, "bridge"), []
    assert model.processing == "fold_ln"

    def edit(tensor, batch):
        seen.append(tensor.shape)
        return tensor

    model.forward(padded, edits={"blocks.1.hook_resid_post": edit})
    assert seen == [(3, 6, 32)]


def test_edits_inside_attention(bridge, padded):
    model, point = wrap(bridge, "bridge"), "blocks.2.attn.hook_z"
    with torch.no_grad():
        got = model.forward(padded, capture=["blocks.2.hook_attn_out"], edits={point: lambda z, b: torch.zeros_like(z)})
    bias = model.module.transformer.h[2].attn.original_component.c_proj.bias
    torch.testing.assert_close(got.activations["blocks.2.hook_attn_out"], bias.expand(3, 6, 32), rtol=0, atol=1e-6)
