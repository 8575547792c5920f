from __future__ import annotations

import itertools
import json
import math
import pickle
from pathlib import Path

import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, build, load_pretrained, save_hooked

DATA = Path(__file__).parents[3] / "shared" / "data"
CONFIG = dict(n_layers=1, d_model=8, d_head=4, n_heads=2, d_vocab=9, n_ctx=6, act_fn="relu", normalization_type=None)


def accuracy(model, modulus, tail=()):
    pairs = torch.tensor([(*p, *tail) for p in itertools.product(range(modulus), repeat=2)])
    with torch.no_grad():
        guess = model.forward(Batch(pairs)).logits[:, -1, :modulus].argmax(-1)
    return float((guess == pairs[:, :2].sum(1) % modulus).double().mean())


@pytest.mark.skipif(not (DATA / "pizza").is_dir(), reason="the published models are not here")
@pytest.mark.parametrize("run", ["p99zdpze5l", "l8k1hzciux"])
def test_published_models_without_mask_or_norm_are_right_on_every_item(run, tmp_path):
    model = load_pretrained(DATA / "pizza" / f"model_{run}.pt")
    assert accuracy(model, 59) == 1.0
    save_hooked(model, tmp_path)
    assert accuracy(load_pretrained(tmp_path), 59) == 1.0


@pytest.mark.skipif(not (DATA / "rib").is_dir(), reason="the published models are not here")
@pytest.mark.parametrize("seed", [0, 1])
def test_published_transformer_lens_models_are_right_on_nearly_every_item(seed):
    assert accuracy(load_pretrained(DATA / "rib" / f"seed{seed}"), 113, tail=(113,)) > 0.999


def _old_format(coefficient, seed=0):
    """A random model in the old shapes, and what its authors' equations make of two tokens."""
    g = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float32) / 3  # noqa: E731
    d, v, h, k, m = 8, 7, 2, 4, 16
    state = {
        "embed.W_E": rand(d, v), "pos_embed.W_pos": rand(2, d), "unembed.W_U": rand(d, v),
        "blocks.0.attn.W_K": rand(h, k, d), "blocks.0.attn.W_Q": rand(h, k, d), "blocks.0.attn.W_V": rand(h, k, d),
        "blocks.0.attn.W_O": rand(d, h * k), "blocks.0.attn.mask": torch.tril(torch.ones(2, 2)),
        "blocks.0.mlp.W_in": rand(m, d), "blocks.0.mlp.b_in": rand(m),
        "blocks.0.mlp.W_out": rand(d, m), "blocks.0.mlp.b_out": rand(d),
    }  # fmt: skip

    def forward(tokens):
        s = {n.rpartition(".")[2]: t for n, t in state.items()}
        x = s["W_E"].T[tokens] + s["W_pos"][: tokens.shape[1]]
        q, key, value = (torch.einsum("ihd,bpd->biph", s[n], x) for n in ("W_Q", "W_K", "W_V"))
        pattern = torch.softmax(torch.einsum("biqh,biph->biqp", q, key) / math.sqrt(k), -1)
        z = torch.einsum("biph,biqp->biqh", value, coefficient * pattern + 1 - coefficient)
        x = x + z.permute(0, 2, 1, 3).flatten(2) @ s["W_O"].T
        return (x + torch.relu(x @ s["W_in"].T + s["b_in"]) @ s["W_out"].T + s["b_out"]) @ s["W_U"]

    return state, forward


@pytest.mark.parametrize("coefficient", [0, 0.3, 1])
def test_the_old_format_computes_what_its_equations_say(coefficient, tmp_path):
    state, forward = _old_format(coefficient)
    torch.save(state, tmp_path / "model_abc.pt")
    (tmp_path / "config_abc.json").write_text(json.dumps({"attn_coeff": coefficient, "act_fn": "ReLU"}))
    model = load_pretrained(tmp_path / "model_abc.pt")
    tokens = torch.tensor([[1, 2], [3, 4], [6, 0]])
    torch.testing.assert_close(model.forward(Batch(tokens)).logits, forward(tokens), rtol=1e-5, atol=1e-5)
    padded = Batch(tokens, torch.tensor([[True, True], [True, False], [True, True]]))
    torch.testing.assert_close(model.forward(padded).logits[1, :1], forward(tokens[1:2, :1])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", ["config.yaml", "toy.json", "config_toy.yml"])
def test_configs_are_found_beside_the_weights(config, tmp_path):
    toy = build(CONFIG)
    torch.save({"state_dict": toy.state_dict()}, tmp_path / "toy.pt")
    (tmp_path / config).write_text(json.dumps({"model": CONFIG, "seed": 3}))
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(load_pretrained(tmp_path / "toy.pt").forward(Batch(tokens)).logits, toy(tokens))


@pytest.fixture
def files(tmp_path):
    def write(state=None, config=CONFIG, raw=None):
        path = tmp_path / "toy.pt"
        torch.save(build(CONFIG).state_dict() if state is None else state, path)
        if raw is not None:
            path.write_bytes(raw)
        if config is not None:
            (tmp_path / "config.json").write_text(json.dumps(config))
        return path

    return write


def _changed(**changes):
    return {k: v for k, v in {**build(CONFIG).state_dict(), **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"config": None}, "no config beside it"),
        ({"config": [1]}, "a config is a mapping"),
        ({"config": {"d_model": 8}}, "not a HookedTransformer config, 'n_layers' is missing"),
        ({"config": {**CONFIG, "depth": 3}}, "unknown field 'depth'"),
        ({"config": {**CONFIG, "d_vocab": 10}}, r"'embed.W_E' has shape \(9, 8\); the config asks for \(10, 8\)"),
        ({"config": {**CONFIG, "n_layers": 2}}, "'blocks.1.attn.W_K' is missing"),
        ({"state": {"a": torch.ones(2), "b": "text"}}, "expected a state dict"),
        ({"raw": b"\x00\x01"}, "not a readable state dict"),
        ({"raw": pickle.dumps(Path("x"))}, "not a readable state dict"),
        ({"config": {"attn_coeff": 0}, "state": {"x": torch.ones(2)}}, "expected a transformer state dict"),
    ],
)
def test_wrong_files_are_refused_in_one_line(files, kwargs, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_pretrained(files(**kwargs))
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused_by_name(files):
    with pytest.raises(ModelError, match=r"'blocks\.0\.mlp\.W_in' holds infinity"):
        load_pretrained(files(_changed(**{"blocks.0.mlp.W_in": torch.full((8, 32), torch.inf)})))
    with pytest.raises(ModelError, match=r"'blocks\.0\.mlp\.b_in' is missing"):
        load_pretrained(files(_changed(**{"blocks.0.mlp.b_in": None})))
    with pytest.raises(ModelError, match=r"'blocks\.7\.x' is not in the config's model"):
        load_pretrained(files(_changed(**{"blocks.7.x": torch.ones(1)})))
