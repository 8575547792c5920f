from __future__ import annotations

import pytest
import torch
from torch import nn

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, wrap
from mechdecouple.models.hashing import hash_state
from mechdecouple.models.untrained import untrained


def weights(model):
    return dict(model.module.state_dict())


def same_shapes(a, b):
    return {k: v.shape for k, v in weights(a).items()} == {k: v.shape for k, v in weights(b).items()}


def check(model):
    before, state = hash_state(model.module), torch.random.get_rng_state()
    one, again, other = untrained(model, 0), untrained(model, 0), untrained(model, 1)
    assert hash_state(model.module) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(one) is type(model)
    assert one.weight_hash == again.weight_hash != other.weight_hash
    assert one.weight_hash != hash_state(model.module)
    assert (one.hook_points, one.layer_points, one.head, one.processing, one.architecture) == (
        model.hook_points, model.layer_points, model.head, model.processing, model.architecture,
    )  # fmt: skip
    assert (one.dtype, one.device, one.tokenizer is model.tokenizer) == (model.dtype, model.device, True)
    assert one.name == f"{model.name} (untrained)"
    assert same_shapes(one, model)
    return one


def test_hugging_face_models_start_as_their_config_says(hf_model, tokenizer):
    model = wrap(hf_model, tokenizer=tokenizer)
    fresh = check(model)
    # The conftest adds noise of .15 to every weight; the initialisation of all these families has spread .02.
    for name, p in fresh.module.named_parameters():
        if p.ndim == 2:
            assert 0.0 < p.std() < 0.03, name
        elif name.endswith("bias"):
            assert not p.any(), name


@pytest.mark.parametrize("processing", ["none", "fold_ln"])
def test_hooked_transformers_start_as_transformer_lens_says(hooked, tokenizer, processing):
    fresh = check(wrap(hooked, "tl", tokenizer=tokenizer, processing=processing))
    for name, p in fresh.module.named_parameters():
        if name.rpartition(".")[2].startswith("b_"):
            assert not p.any(), name
        elif ".ln" in name and name.endswith("w"):
            assert (p == 1).all(), name


def test_folded_hugging_face_models(hf_models, tokenizer):
    check(wrap(hf_models["gpt2"], tokenizer=tokenizer, processing="fold_ln"))


def test_fresh_models_run(hooked, hf_models, padded):
    for model in (wrap(hooked), wrap(hf_models["llama"])):
        fresh = untrained(model)
        batch = Batch(padded.tokens % 20, padded.mask)
        ours, theirs = (m.forward(batch, capture=m.layer_points).activations for m in (fresh, model))
        assert ours.keys() == theirs.keys()
        assert all(torch.isfinite(ours[p]).all() and not torch.allclose(ours[p], theirs[p]) for p in ours)


class Gated(nn.Module):
    """A module with parameters of its own: a masked weight, a constant gain, a zero bias."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.weight = nn.Parameter(3.0 * torch.randn(64, 64) * (torch.rand(64, 64) < 0.5))
        self.gain = nn.Parameter(torch.full((64,), 2.0))
        self.bias = nn.Parameter(torch.zeros(64))
        self.norm = nn.BatchNorm1d(64)

    def forward(self, x):
        return self.norm(self.gain * (self.first(x) @ self.weight) + self.bias)


def test_plain_modules_are_redrawn_part_by_part():
    torch.manual_seed(3)
    module = Gated()
    with torch.no_grad():
        module.first.weight[0] = 0.0
        module.first.weight.mul_(9)
        module.norm.running_mean.fill_(5.0)
    fresh = check(wrap(module, "gated")).module
    assert isinstance(fresh, Gated)
    # nn.Linear's own initialisation lies within 1/sqrt(64); a row of zeros is part of the architecture.
    assert fresh.first.weight.abs().max() <= 1 / 8
    assert not fresh.first.weight[0].any() and fresh.first.weight[1:].all()
    assert torch.equal(fresh.weight != 0, module.weight != 0)
    assert fresh.weight[fresh.weight != 0].std().item() == pytest.approx(3.0, rel=0.1)
    same = torch.stack([fresh.weight.detach().flatten(), module.weight.detach().flatten()])
    assert abs(float(torch.corrcoef(same)[0, 1])) < 0.1
    assert torch.equal(fresh.gain, module.gain) and not fresh.bias.any()
    assert not fresh.norm.running_mean.any()


def test_attention_modules_are_redrawn():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    fresh = untrained(wrap(layer)).module
    assert not torch.allclose(fresh.self_attn.in_proj_weight, layer.self_attn.in_proj_weight)


def test_unknown_kinds_and_configs_that_build_nothing_are_refused(hf_models):
    class Strange(type(wrap(nn.Linear(2, 2))).__mro__[1]):
        name = "strange"
        module = None
        _run = _width = None

    with pytest.raises(ModelError, match="'strange' is a Strange"):
        untrained(Strange())

    class Picky(type(hf_models["gpt2"])):
        def __init__(self, config, extra):
            super().__init__(config)

    picky = wrap(Picky(hf_models["gpt2"].config, 1), head="lm")
    with pytest.raises(ModelError, match="Picky cannot be built from its config") as caught:
        untrained(picky)
    assert "\n" not in str(caught.value)
