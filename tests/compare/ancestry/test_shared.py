import copy
import math

import pytest
import torch
from torch import nn

from mechdecouple import load
from mechdecouple.compare.ancestry.shared import ancestry
from mechdecouple.errors import InputError
from mechdecouple.models import build, wrap

HOOKED = {
    "n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 32, "d_vocab": 30, "n_ctx": 6, "act_fn": "relu",
}  # fmt: skip


def net(seed, width=32):
    torch.manual_seed(seed)
    layers = [
        nn.Linear(8, width),
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 3),
    ]
    return nn.Sequential(*layers)


def tuned(module, size):
    other = copy.deepcopy(module)
    torch.manual_seed(9)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(size * p.std() * torch.randn_like(p) if p.numel() > 1 else 0)
    return other


@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_a_tuned_copy_shares_its_ancestor(size):
    base = net(0)
    found = ancestry(wrap(base, name="base"), wrap(tuned(base, size), name="tuned"))
    assert found.shared and not found.declared
    # independent noise of `size` times the weights: cosine 1 / sqrt(1 + size²)
    assert found.cosine == pytest.approx(1 / math.sqrt(1 + size**2), abs=0.1)
    assert "base and tuned share an ancestor: their weights have a cosine" in found.sentence


def test_fresh_seeds_share_none():
    """Layer norms start alike in every model: with them left out, cosines stay at chance."""
    for seed in range(1, 21):
        found = ancestry(wrap(net(0)), wrap(net(seed)))
        assert not found.shared and abs(found.cosine) < 6 * found.chance + 0.05
        assert "1" not in found.cosines, "a layer norm has no matrix"
    a, b = wrap(build(HOOKED, seed=0)), wrap(build(HOOKED, seed=1))
    assert not ancestry(a, b).shared and ancestry(a, a).shared
    assert found.chance == pytest.approx(1 / math.sqrt(8 * 32 + 32 * 32 + 32 * 3))


def test_matrices_that_a_recipe_fixes_are_no_ancestor():
    """Queries and keys of the zoo's twins are set by the recipe, not by the seed."""
    a = load("zoo:factored").module
    b = copy.deepcopy(a)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in b.named_parameters():
            if p.ndim > 1 and not name.endswith(("W_Q", "W_K")):
                p.copy_(p.std() * torch.randn_like(p))
    found = ancestry(wrap(a, name="a"), wrap(b, name="b"))
    assert found.cosines["blocks.0.attn.q"] == pytest.approx(1) and not found.shared


def test_a_new_head_on_an_old_body_shares_its_ancestor():
    base = net(0)
    other = copy.deepcopy(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for name in ("0.weight", "5.weight"):
            p = dict(other.named_parameters())[name]
            p.copy_(p.std() * torch.randn_like(p))
    found = ancestry(wrap(base), wrap(other))
    assert found.shared and found.cosine == pytest.approx(1) and abs(found.cosines["5"]) < 0.5


def test_the_twins_of_the_zoo_start_from_the_same_weights():
    assert ancestry(load("zoo:factored"), load("zoo:fractured")).shared


def test_unlike_architectures_say_what_differs():
    wider = ancestry(wrap(net(0)), wrap(net(0, width=16)))
    assert not wider.shared and "weights '0.weight' have shapes (32, 8) and (16, 8)" in wider.sentence
    other = ancestry(wrap(net(0)), wrap(nn.Sequential(nn.Linear(8, 32))))
    assert not other.shared and "only one of them has weights" in other.sentence and math.isnan(other.cosine)
    assert "there are no weights" in ancestry(wrap(nn.ReLU()), wrap(nn.ReLU())).sentence


def test_what_is_declared_is_believed_where_it_can_be():
    assert ancestry(wrap(net(0)), wrap(net(1)), declared=True).shared
    assert "declared" in ancestry(wrap(net(0)), wrap(net(1)), declared=True).sentence
    assert not ancestry(wrap(net(0)), wrap(tuned(net(0), 0.1)), declared=False).shared
    with pytest.raises(InputError, match=r"are declared to share an ancestor, but weights '0\.weight'"):
        ancestry(wrap(net(0)), wrap(net(0, width=16)), declared=True)
