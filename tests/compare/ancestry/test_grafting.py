import copy

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from torch import nn

from mechdecouple.compare.ancestry.grafting import graft, grafted
from mechdecouple.compare.ancestry.weight_parts import blocks
from mechdecouple.compare.config import make_config
from mechdecouple.compare.side import make_side
from mechdecouple.errors import MismatchError
from mechdecouple.models import Batch, build, wrap
from mechdecouple.models.hashing import hash_state
from mechdecouple.tasks import Task

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
HOOKED = {
    "n_layers": 2,
    "d_model": 8,
    "n_heads": 2,
    "d_head": 4,
    "d_mlp": 16,
    "d_vocab": 20,
    "n_ctx": 6,
    "act_fn": "relu",
}


def model(kind, seed):
    torch.manual_seed(seed)
    if kind in ("gpt2", "folded"):
        config = hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=8, bos_token_id=1)
        raw = hf.GPT2LMHeadModel(config)
        with torch.no_grad():
            for p in raw.parameters():
                p.add_(0.2 * torch.randn_like(p))
        return wrap(raw, processing="fold_ln" if kind == "folded" else "none")
    if kind == "neox":
        return wrap(hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(vocab_size=20, max_position_embeddings=8, **SIZES)))
    if kind == "hooked":
        return wrap(build(HOOKED, seed=seed))
    norm = nn.BatchNorm1d(6)
    nn.init.normal_(norm.running_mean)
    return wrap(nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 3)))


def logits(one):
    generator = torch.Generator().manual_seed(0)
    if one.input_kind == "array":
        batch = Batch(array=torch.randn((5, 4), generator=generator))
    else:
        tokens = torch.randint(0, 20, (5, 4), generator=generator)
        batch = Batch(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool))
    with torch.no_grad():
        return one.forward(batch).logits.clone()


@pytest.mark.parametrize("kind", ["gpt2", "folded", "neox", "hooked", "plain"])
def test_all_blocks_together_make_the_donor_and_are_taken_out_again(kind):
    host, donor = model(kind, 0), model(kind, 1)
    before, hashes = logits(host), (hash_state(host.module), hash_state(donor.module))
    with grafted(host, donor, [name for own in blocks(host).values() for name in own]):
        assert torch.allclose(logits(host), logits(donor), atol=1e-5)
        assert not torch.allclose(logits(host), before, atol=1e-3)
    assert torch.equal(logits(host), before) and (hash_state(host.module), hash_state(donor.module)) == hashes


@pytest.mark.parametrize("kind", ["hooked", "plain"])
def test_weights_are_put_back_after_an_error(kind):
    host, donor = model(kind, 0), model(kind, 1)
    before = hash_state(host.module)
    names = next(iter(blocks(host).values()))
    with pytest.raises(KeyboardInterrupt), grafted(host, donor, names):
        assert hash_state(host.module) != before
        raise KeyboardInterrupt
    assert hash_state(host.module) == before


def test_nothing_is_touched_where_a_name_does_not_fit():
    host, donor = model("plain", 0), wrap(nn.Sequential(nn.Linear(4, 7)))
    before = hash_state(host.module)
    with (
        pytest.raises(MismatchError, match=r"'3.weight': \(3, 6\) in Sequential, none in"),
        grafted(host, donor, ["3.weight"]),
    ):
        pass
    wider = wrap(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5)))
    with (
        pytest.raises(MismatchError, match=r"\(3, 6\) in Sequential, \(5, 6\) in"),
        grafted(host, wider, ["0.weight", "3.weight"]),
    ):
        pass
    assert hash_state(host.module) == before


@pytest.fixture(scope="module")
def subjects():
    """Two models that differ in their last layer, of which the answers of one are all turned round."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)).astype(np.float32)
    task = Task.from_frame(
        pd.DataFrame({"id": [f"i{i}" for i in range(60)], "answer": (X[:, 0] > 0).astype(int)}), inputs=X, name="signs"
    )
    base = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        base[0].weight.copy_(torch.eye(4))
        base[1].weight.copy_(torch.tensor([[-9.0, 0, 0, 0], [9, 0, 0, 0]]))
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned[1].weight.neg_()
    config = make_config({"blocks": 5})
    return [
        make_side(
            wrap(m, name=n), task, ("0", "1"), config, slot=s, loss_unit="token", store=None, progress=False
        ).subject
        for m, n, s in ((base, "base", "a"), (tuned, "tuned", "b"))
    ]  # fmt: skip


def test_a_graft_points_to_the_block_that_was_changed(subjects):
    base, tuned = subjects
    names = blocks(base.model)
    last = graft(base, tuned, "1", names["1"])
    assert last.effect.value > 0.9 and last.performance.value == pytest.approx(-1)
    assert last.closed.value == pytest.approx(1, abs=1e-6) and not last.same
    first = graft(base, tuned, "0", names["0"])
    assert first.same and first.effect.value == 0 and first.performance.value == 0 and first.closed.value == 0
    back = graft(tuned, base, "1", names["1"])
    assert back.performance.value == pytest.approx(1) and back.closed.value == pytest.approx(1, abs=1e-6)


def test_models_that_answer_alike_leave_nothing_to_close(subjects):
    base = subjects[0]
    found = graft(base, base, "1", blocks(base.model)["1"])
    assert found.closed is None and "answer alike" in found.reason and found.same
