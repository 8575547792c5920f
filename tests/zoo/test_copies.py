import numpy as np
import pytest
import torch

from mechdecouple import zoo
from mechdecouple.errors import ModelError
from mechdecouple.models import build
from mechdecouple.zoo.copies import KINDS, copied

NAMES = ("clock", "pizza", "group-1-3", "through", "around", "direct", "relay")


@pytest.fixture(scope="module")
def models():
    """Models as they are before training, with biases that are not zero; nothing has to be trained."""
    out = {}
    for name in NAMES:
        model = zoo.recipes.find(name).blank(3)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim < 3 or name != "pizza":
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        out[name] = model
    return out


def inputs(name):
    task = zoo.task(name, n=40)
    return torch.tensor(np.stack(task.tokens)) if task.inputs is None else torch.from_numpy(task.inputs).float()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_copies_answer_alike(models, name, kind):
    model, x = models[name], inputs(name)
    before = [p.clone() for p in model.parameters()]
    with torch.no_grad():
        logits, again = model(x), copied(model, kind, seed=1)(x)
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-5 * float(logits.std()))
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["clock", "through"])
def test_what_each_kind_changes(models, name):
    """Rotated: no number of the stream is where it was. Permuted: the same numbers elsewhere. Duplicated: twice as
    many units."""
    point = "blocks.0.hook_resid_post" if name == "clock" else "stream"
    units = "blocks.0.mlp.hook_post" if name == "clock" else "act"

    def read(model):
        from mechdecouple.models import Batch, wrap

        x = inputs(name)
        batch = Batch(tokens=x) if name == "clock" else Batch(array=x)
        with torch.no_grad():
            return wrap(model).forward(batch, capture=[point, units]).activations

    own = read(models[name])
    turned, moved, twice = (read(copied(models[name], kind, seed=2)) for kind in KINDS)
    for other in (turned, moved):
        assert not torch.allclose(other[point], own[point], atol=1e-3)
    assert torch.allclose(turned[point].norm(dim=-1), own[point].norm(dim=-1), rtol=1e-4)
    assert not torch.allclose(turned[point].sort(dim=-1).values, own[point].sort(dim=-1).values, atol=1e-3)
    torch.testing.assert_close(moved[point].sort(dim=-1).values, own[point].sort(dim=-1).values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moved[units].sort(dim=-1).values, own[units].sort(dim=-1).values, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(moved[units], own[units], atol=1e-3)
    assert twice[units].shape[-1] == 2 * own[units].shape[-1] and twice[point].shape == own[point].shape


def test_seeds_differ(models):
    first, again, other = (copied(models["clock"], "rotated", seed=s).embed.W_E for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)


def test_masks_and_held_readouts_are_kept(models):
    """The relay sees symbols that the place of the answer does not, in copies too."""
    for kind in KINDS:
        out = copied(models["relay"], kind)
        tokens = inputs("relay")
        _, cache = out.run_with_cache(tokens)
        for layer in range(2):
            assert (cache["pattern", layer][:, :, 3, :2] == 0).all()
        assert torch.allclose(cache["pattern", 0][:, :, 2, :2].sum(-1), torch.ones(()))


def test_models_that_cannot_be_copied_are_refused():
    with pytest.raises(ModelError, match="got Linear"):
        copied(torch.nn.Linear(2, 2), "rotated")
    normed = {"n_layers": 1, "d_model": 4, "n_heads": 1, "d_head": 4, "n_ctx": 2, "d_vocab": 3, "act_fn": "relu"}
    with pytest.raises(ModelError, match="without normalisation"):
        copied(build(normed), "permuted")
    gated = {**normed, "normalization_type": None, "gated_mlp": True, "d_mlp": 4}
    with pytest.raises(ModelError, match=r"know nothing of parameter 'blocks.0.mlp.W_gate'"):
        copied(build(gated), "permuted")
