from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, build, wrap

CONFIG = dict(n_layers=4, d_model=8, d_head=4, n_heads=2, d_vocab=9, n_ctx=6, act_fn="relu", normalization_type="LN")


@pytest.fixture
def model():
    return wrap(build(CONFIG), "toy", ref="here")


def test_importing_the_package_does_not_import_transformer_lens():
    code = (
        "import sys, mechdecouple.models; print([m for m in ('transformer_lens', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_depth_counts_the_layers_that_lie_before(model):
    assert model.depth("hook_embed") == model.depth("blocks.0.hook_resid_pre") == 0
    assert [model.depth(f"blocks.{i}.hook_resid_post") for i in range(4)] == [0.25, 0.5, 0.75, 1]
    assert model.depth("ln_final.hook_normalized") == 1
    inside = [model.depth(p) for p in model.hook_points]
    assert inside == sorted(inside)
    assert 0.25 < model.depth("blocks.1.attn.hook_z") < model.depth("blocks.1.mlp.hook_post") < 0.5


def test_a_batch_holds_one_kind_of_input():
    with pytest.raises(ModelError, match="exactly one"):
        Batch()
    assert Batch(torch.zeros(2, 3, dtype=torch.long)).mask.all()


def test_nothing_asked_for_runs_nothing(model):
    got = model.forward(Batch(torch.zeros(1, 2, dtype=torch.long)), logits=False)
    assert got.activations == {} and got.logits is None


def test_provenance_is_plain_data(model):
    import json

    facts = json.loads(json.dumps(model.provenance()))
    assert facts["ref"] == "here" and facts["n_params"] == sum(p.numel() for p in model.module.parameters())
    # what was installed may leave out which processor it was built for
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert facts["dtype"] == "float32"


def test_weight_hash_knows_names_shapes_and_bytes():
    a, b, c = (wrap(build(CONFIG, seed=s)) for s in (0, 0, 1))
    assert a.weight_hash == b.weight_hash != c.weight_hash


def test_tokenizer_hash(tokenizer, encoder_tokenizer):
    import copy

    hashes = [wrap(build(CONFIG), tokenizer=t).tokenizer_hash for t in (None, tokenizer, encoder_tokenizer)]
    assert hashes[0] == "" and len(set(hashes)) == 3
    assert wrap(build(CONFIG), tokenizer=copy.deepcopy(tokenizer)).tokenizer_hash == hashes[1]


def test_build_is_seeded_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build(CONFIG, seed=1)
    assert torch.equal(torch.rand(1), expected)
    with pytest.raises(ModelError, match="not a HookedTransformer config"):
        build({**CONFIG, "depth": 3})
    with pytest.raises(ModelError, match="no d_vocab"):
        build({k: v for k, v in CONFIG.items() if k != "d_vocab"})


def test_wrapping_again_renames(model):
    other = wrap(model, "other")
    assert (model.name, other.name, other.ref) == ("toy", "other", "here")
    with pytest.raises(ModelError, match="unknown processing 'fold'"):
        wrap(model, processing="fold")
