import pytest
import torch

from mechdecouple.models import build
from mechdecouple.zoo.bottleneck import bar

QUERIES, HIDDEN = (6, 7), (1, 2, 3, 4)


@pytest.fixture
def model():
    config = {
        "n_layers": 3, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 16, "n_ctx": 8, "d_vocab": 20, "act_fn":
        "relu", "normalization_type": "LN", "positional_embedding_type": "shortformer",
    }  # fmt: skip
    model = build(config, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


@pytest.fixture
def tokens():
    return torch.randint(20, (32, 8), generator=torch.Generator().manual_seed(2))


def patterns(model, tokens, hooks=()):
    found = {}
    names = [f"blocks.{i}.attn.hook_pattern" for i in range(3)]
    with torch.no_grad():
        keep = [(name, lambda x, hook: found.__setitem__(hook.name, x.clone())) for name in names]
        model.run_with_hooks(tokens, fwd_hooks=[*hooks, *keep])
    return torch.stack([found[name] for name in names])


def test_barred_positions_give_hidden_ones_exactly_no_attention(model, tokens):
    bar(model, QUERIES, HIDDEN)
    seen = patterns(model, tokens)
    for query in range(8):
        for key in range(8):
            hidden = key > query or (query in QUERIES and key in HIDDEN)
            assert (seen[..., query, key] == 0).all() == hidden


def test_without_positions_attention_is_causal(model, tokens):
    bar(model, (), ())
    seen = patterns(model, tokens)
    assert (seen.tril() == seen).all() and (seen[..., *torch.tril_indices(8, 8)] > 0).all()


def test_it_adds_nothing_elsewhere(model, tokens):
    """Rows without a hidden key are those of the same weights without the bottleneck."""
    bar(model, (), ())
    free = patterns(model, tokens)[0]
    bar(model, QUERIES, HIDDEN)
    torch.testing.assert_close(patterns(model, tokens)[0][..., :6, :], free[..., :6, :], rtol=0, atol=0)


def test_noise_in_the_residual_stream_cannot_open_it(model, tokens):
    bar(model, QUERIES, HIDDEN)
    noise = 100 * torch.randn((32, 8, 16), generator=torch.Generator().manual_seed(3))
    hooks = [(f"blocks.{i}.hook_resid_pre", lambda x, hook: x + noise) for i in range(3)]
    assert (patterns(model, tokens, hooks)[..., list(QUERIES), :][..., list(HIDDEN)] == 0).all()


def test_half_precision_keeps_it(model, tokens):
    bar(model, QUERIES, HIDDEN)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    assert (patterns(model, tokens)[..., list(QUERIES), :][..., list(HIDDEN)] == 0).all()


def test_writing_it_again_changes_nothing(model):
    bar(model, QUERIES, HIDDEN)
    before = {name: p.clone() for name, p in model.named_parameters()}
    bar(model, QUERIES, HIDDEN)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
