import numpy as np
import pytest
import torch

from mechdecouple import zoo
from mechdecouple.errors import ModelError
from mechdecouple.models import Batch
from mechdecouple.zoo.routes import ASK, OPTIONS, RELAY, PathRecipe, V, WayRecipe, mask, points_task, readout, totals

MLPS, TRANSFORMERS = ("through", "around"), ("direct", "early", "relay")


@pytest.fixture(scope="module")
def models():
    return {name: zoo.load(name) for name in (*MLPS, *TRANSFORMERS)}


def batch(name):
    task = zoo.task(name)
    if task.inputs is None:
        return Batch(tokens=torch.tensor(np.stack(task.tokens)))
    return Batch(array=torch.from_numpy(task.inputs).float())


@torch.no_grad()
def logits(model, edits=None):
    out = model.forward(batch(model.name), edits=edits).logits
    return out if out.ndim == 2 else out[:, -1]


def test_the_task_is_the_totals():
    for task in (points_task(), points_task(tensors=True)):
        red, blue = task.concepts["red"], task.concepts["blue"]
        np.testing.assert_array_equal(task.answers.astype(int), 5 * red + blue)
        for colour in ("red", "blue"):
            parts = task.concepts[f"{colour}_a"] + task.concepts[f"{colour}_b"]
            np.testing.assert_array_equal(task.concepts[colour], parts)
        assert len(task) == V * V and set(red) == set(blue) == set(range(5))
    tokens, inputs = np.stack(points_task().tokens), points_task(tensors=True).inputs
    assert (tokens[:, 2:] == (RELAY, ASK)).all()
    np.testing.assert_array_equal(inputs.reshape(-1, 2, V).argmax(axis=2), tokens[:, :2])
    worth = {tuple(totals()[x, x] / 2) for x in range(V)}
    assert len(worth) == 9


def test_the_readout_takes_the_nearest_totals():
    """From two orthonormal directions, which the seed draws."""
    weight, bias = (x.numpy() for x in readout(24, seed=3))
    weight_2, bias_2 = (x.numpy() for x in readout(24, seed=4))
    assert weight.shape == (24, OPTIONS) and np.linalg.matrix_rank(weight, tol=1e-3) == 2
    np.testing.assert_allclose(weight.T @ weight, weight_2.T @ weight_2, rtol=1e-4, atol=1e-4)
    assert not np.allclose(weight, weight_2, atol=0.1) and np.array_equal(bias, bias_2)
    options = np.stack(np.divmod(np.arange(OPTIONS), 5), axis=1)
    basis = np.linalg.lstsq(options.astype(float), weight.T, rcond=None)[0]  # [2, 24]
    np.testing.assert_allclose(basis @ basis.T, basis[0] @ basis[0] * np.eye(2), atol=1e-4)
    stream = np.array([3.2, 0.9]) @ basis / np.linalg.norm(basis[0])
    assert (stream @ weight + bias).argmax() == 5 * 3 + 1


@pytest.mark.parametrize("name", (*MLPS, *TRANSFORMERS))
def test_all_answer_alike_whatever_the_route(models, name):
    """They are right, and their logits are those of the exact totals."""
    found, task = logits(models[name]), zoo.task(name)
    np.testing.assert_array_equal(found.argmax(dim=1).numpy(), task.answers.astype(int))
    red, blue = totals().reshape(-1, 2).T[:, :, None]
    options = np.divmod(np.arange(OPTIONS), 5)
    exact = -2 * (np.square(red - options[0]) + np.square(blue - options[1]))
    centred = found.numpy() - found.numpy().mean(axis=1, keepdims=True)
    exact -= exact.mean(axis=1, keepdims=True)
    assert np.square(centred - exact).mean() < 1e-3 * exact.var()


@pytest.mark.parametrize(("name", "shut", "used"), [("through", "skip", "act"), ("around", "act", "skip")])
def test_mlps_use_the_way_that_is_open(models, name, shut, used):
    clean = logits(models[name])
    without = {point: logits(models[name], {point: lambda x, b: torch.zeros_like(x)}) for point in (shut, used)}
    assert torch.equal(without[shut], clean)
    assert without[used].std(dim=0).max() < 1e-5 and clean.std(dim=0).max() > 1


@pytest.mark.parametrize(
    ("name", "carry", "idle"),
    [
        ("direct", ((1, 3),), ((0, 2), (0, 3))),
        ("early", ((0, 3),), ((1, 3), (0, 2))),
        ("relay", ((0, 2), (1, 3)), ((0, 3),)),
    ],
)
def test_transformers_use_the_path_that_the_mask_leaves(models, name, carry, idle):
    """What attention puts out at a place, exchanged between items: the answer goes along, or not at all."""
    clean = logits(models[name])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(clean)))

    def exchanged(layer, position):
        def edit(x, b):
            x = x.clone()
            x[:, position] = x[order, position]
            return x

        return logits(models[name], {f"blocks.{layer}.hook_attn_out": edit})

    for place in carry:
        torch.testing.assert_close(exchanged(*place), clean[order], rtol=1e-4, atol=1e-3)
    for place in idle:
        torch.testing.assert_close(exchanged(*place), clean, rtol=1e-5, atol=1e-4)


def test_masks_show_the_symbols_to_one_place():
    for path, place in (("direct", (1, 3)), ("early", (0, 3)), ("relay", (0, 2))):
        seen = mask(path)
        assert {tuple(x) for x in np.argwhere(seen[:, :, :2].any(axis=2))} == {place} and seen.any(axis=2).all()


@pytest.mark.parametrize("recipe", [WayRecipe("x", "", steps=3), PathRecipe("x", "", steps=3)])
def test_the_readout_is_never_trained(recipe):
    before, after = dict(recipe.blank(5).named_parameters()), dict(recipe.train(5, progress=False).named_parameters())
    held = {"readout.weight", "readout.bias", "unembed.W_U", "unembed.b_U"} & set(before)
    assert len(held) == 2
    for name in before:
        moved = (before[name] - after[name]).abs().max() > 2e-2
        assert not (moved and name in held)
    assert any(not torch.equal(before[n].half().float(), after[n]) for n in set(before) - held)


def test_what_is_more_than_weights_is_not_exported(tmp_path):
    for name, reason in (("through", "cannot save Routed"), ("relay", "permanent hook at 'blocks.0.attn.hook_attn_")):
        with pytest.raises(ModelError, match=reason):
            zoo.export(name, tmp_path / name)
        assert not (tmp_path / name).exists()
