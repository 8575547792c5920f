import itertools
import os
import pickletools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife_blocks
from mechdecouple.structure.weight_sweep import fresh_weights, weight_effects, weight_modularity, weight_sweep

K = 3


def mlp(sizes, seed=0, act=nn.Tanh):
    torch.manual_seed(seed)
    layers = [x for a, b in itertools.pairwise(sizes) for x in (nn.Linear(a, b), act())][:-1]
    return nn.Sequential(*layers).double()


def task(model, n=60, seed=1):
    """Items that each ask for one output of the model."""
    rng = np.random.default_rng(seed)
    X = torch.as_tensor(rng.normal(size=(n, model[0].in_features)))
    asks = rng.permutation(np.arange(n) % K)

    def outputs(parameters, rows):
        return functional_call(model, parameters, (X[rows],))[torch.arange(len(rows)), torch.as_tensor(asks[rows])]

    return outputs, dict(model.named_parameters()), asks


def disjoint(leak, seed=0):
    """Three networks of four neurons side by side; weights between them are ``leak`` times as large as those within."""
    model = mlp([6, 12, 12, K], seed)
    with torch.no_grad():
        for layer in model[::2]:
            out, into = (torch.arange(m) * K // m for m in layer.weight.shape)
            layer.weight.mul_(torch.where(out[:, None] == into, 1.0, leak))
    return model


def test_disjoint_sub_networks_are_modular_and_so_is_their_topology():
    found = weight_sweep(*task(disjoint(0.0)), jackknife_blocks(np.arange(60), 10))
    assert found.modularity.value == pytest.approx(1, abs=1e-12)
    assert found.fresh == pytest.approx(np.ones(5), abs=1e-12)
    assert found.excess.value == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.z)


def test_modules_held_by_the_size_of_weights_are_more_than_topology():
    found = weight_sweep(*task(disjoint(1e-3)), jackknife_blocks(np.arange(60), 10))
    assert found.modularity.value > 0.98
    assert found.fresh.max() < 0.9
    assert found.z > 3
    assert found.modularity.interval()[0] > found.fresh.max()


def test_a_dense_random_network_is_like_its_control():
    z = [
        weight_sweep(*task(mlp([6, 16, 16, K], seed), n=40), jackknife_blocks(np.arange(40), 10), seed=seed, draws=8).z
        for seed in range(12)
    ]
    # Shuffling redraws a random network from its own recipe: z is a draw of t with 7 degrees, times sqrt(1 + 1/8).
    assert abs(np.mean(z)) < 1.2
    assert max(np.abs(z)) < 6


def test_effects_are_those_of_finite_sweeps():
    # A network that is linear in each weight, so that a sweep of half the weight moves the output by half the effect.
    model = mlp([4, 5, K], act=nn.Identity)
    outputs, parameters, asks = task(model, n=30)
    effects = weight_effects(outputs, parameters, asks)
    swept = []
    for name, tensor in parameters.items():
        for i in range(tensor.numel()):
            moved = []
            for by in (0.5, 1.5):
                changed = tensor.detach().clone().flatten()
                changed[i] *= by
                moved.append(outputs({**parameters, name: changed.reshape(tensor.shape)}, np.arange(30)))
            delta = (moved[1] - moved[0]).abs().detach().numpy()
            swept.append([delta[asks == f].mean() for f in range(K)])
    np.testing.assert_allclose(effects, swept, atol=1e-12)


def test_finite_sweeps_of_a_bent_network_tell_the_same():
    outputs, parameters, asks = task(mlp([6, 8, K], act=nn.ReLU), n=60)
    effects, swept = weight_effects(outputs, parameters, asks), []
    with torch.no_grad():
        clean = outputs(parameters, np.arange(60))
        for name, tensor in parameters.items():
            for i in range(tensor.numel()):
                delta = 0
                for by in (0.5, 1.5):
                    changed = tensor.clone().flatten()
                    changed[i] *= by
                    out = outputs({**parameters, name: changed.reshape(tensor.shape)}, np.arange(60))
                    delta = delta + (out - clean).abs().numpy()
                swept.append([delta[asks == f].mean() for f in range(K)])
    assert weight_modularity(np.array(swept)) == pytest.approx(weight_modularity(effects), abs=0.02)
    assert np.corrcoef(np.ravel(swept), effects.ravel())[0, 1] > 0.99


def test_modularity_of_known_effects():
    assert weight_modularity(np.eye(4)) == 1
    assert weight_modularity(np.ones((7, 4))) == pytest.approx(0)
    # Half the effects on weights of one concept, half on weights that serve two of four alike.
    effects = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], float)
    assert weight_modularity(effects) == pytest.approx(0.5 * 1 + 0.5 * (1 - np.log(2) / np.log(4)))
    rng = np.random.default_rng(0)
    effects = rng.exponential(size=(50, 4))
    assert weight_modularity(effects * np.array([1, 10, 100, 0.1])) == pytest.approx(weight_modularity(effects))
    assert weight_modularity(rng.permutation(effects)) == pytest.approx(weight_modularity(effects))
    assert weight_modularity(np.vstack([effects, np.zeros((9, 4))])) == pytest.approx(weight_modularity(effects))
    assert np.isnan(weight_modularity(np.array([[1.0, 0.0], [2.0, 0.0]])))


def test_rescaling_neurons_changes_nothing():
    model = mlp([6, 8, K], act=nn.ReLU)
    outputs, parameters, asks = task(model)
    scale = torch.rand(8, dtype=torch.float64) * 5 + 0.1
    other = {
        "0.weight": parameters["0.weight"] * scale[:, None], "0.bias": parameters["0.bias"] * scale,
        "2.weight": parameters["2.weight"] / scale, "2.bias": parameters["2.bias"],
    }  # fmt: skip
    np.testing.assert_allclose(weight_effects(outputs, other, asks), weight_effects(outputs, parameters, asks))


def test_fresh_weights_keep_zeros_and_values():
    tensor = torch.tensor([[0.0, 1, 2, 0], [3, 0, 4, 5]])
    fresh = fresh_weights({"w": tensor, "none": torch.zeros(3)}, seed=3)
    assert torch.equal(fresh["w"] == 0, tensor == 0)
    assert torch.equal(fresh["w"].flatten().sort().values, tensor.flatten().sort().values)
    assert not torch.equal(fresh["w"], tensor)
    assert torch.equal(fresh_weights({"w": tensor}, seed=3)["w"], fresh["w"])
    assert not fresh["none"].any()


def test_what_has_no_effect_stays_as_it_is_in_the_control():
    tensor = torch.arange(1.0, 9.0).reshape(2, 4)
    live = {"w": torch.tensor([[True, True, True, True], [False, True, False, True]])}
    fresh = fresh_weights({"w": tensor}, seed=1, live=live)["w"]
    assert torch.equal(fresh[~live["w"]], tensor[~live["w"]])
    assert torch.equal(fresh[live["w"]].sort().values, tensor[live["w"]])
    assert not torch.equal(fresh, tensor)
    # A neuron that never fires holds weights like no other; in the control it does not fire either.
    model = mlp([6, 8, K], act=nn.ReLU)
    with torch.no_grad():
        model[0].weight[3] = 1e-6
        model[0].bias[3] = -100.0
    outputs, parameters, asks = task(model)
    blocks = jackknife_blocks(np.arange(60), 5)
    with_it = weight_sweep(outputs, parameters, asks, blocks)
    parts = {"0.weight": 0, "0.bias": 0, "2.weight": 1}
    without = dict(parameters)
    for name, axis in parts.items():
        without[name] = parameters[name].detach().index_select(axis, torch.tensor([0, 1, 2, 4, 5, 6, 7]))
    small = weight_sweep(outputs, without, asks, blocks)
    assert with_it.modularity.value == pytest.approx(small.modularity.value)
    assert with_it.fresh == pytest.approx(small.fresh)


def test_jackknife_replicates_leave_the_block_out():
    outputs, parameters, asks = task(mlp([6, 8, K]))
    blocks = jackknife_blocks(np.arange(60), 6)
    found = weight_sweep(outputs, parameters, asks, blocks, draws=2)
    kept = np.where(blocks == 4, -1, asks)
    assert found.modularity.replicates[4] == pytest.approx(weight_modularity(weight_effects(outputs, parameters, kept)))
    assert found.modularity.value == pytest.approx(weight_modularity(weight_effects(outputs, parameters, asks)))


def test_large_models_average_over_a_draw_of_weights(monkeypatch):
    model = mlp([6, 64, 64, K])
    outputs, parameters, asks = task(model)
    blocks = jackknife_blocks(np.arange(60), 5)
    whole = weight_sweep(outputs, parameters, asks, blocks, draws=2).modularity.value
    monkeypatch.setattr(sys.modules[fresh_weights.__module__], "_SUMS", 2000 * 5 * K)
    part = weight_sweep(outputs, parameters, asks, blocks, draws=2)
    assert part.modularity.value == pytest.approx(whole, abs=0.02) and part.modularity.value != whole


def test_a_block_that_holds_all_items_of_a_concept_leaves_no_interval():
    outputs, parameters, asks = task(mlp([6, 8, K]))
    found = weight_sweep(outputs, parameters, asks, asks, draws=2)
    assert np.isfinite(found.modularity.value)
    assert np.isnan(found.modularity.interval()[0])


def test_unusable_input_is_refused():
    outputs, parameters, asks = task(mlp([6, 8, K]))
    with pytest.raises(InputError, match="1 concept:"):
        weight_effects(outputs, parameters, np.zeros(60, int))
    with pytest.raises(InputError, match="concept 1:"):
        weight_effects(outputs, parameters, np.where(asks == 1, 2, asks))
    with pytest.raises(InputError, match="at least 2"):
        weight_sweep(outputs, parameters, asks, np.arange(60), draws=1)
    with pytest.raises(InputError, match="5 blocks for 60 items"):
        weight_sweep(outputs, parameters, asks, np.arange(5))
    with pytest.raises(InputError, match="not depend"):
        weight_effects(lambda p, rows: torch.zeros(len(rows)), parameters, asks)
    with pytest.raises(InputError, match="not finite"):
        weight_effects(lambda p, rows: outputs(p, rows) * torch.nan, parameters, asks)
    with pytest.raises(InputError, match=r"effect -1 of weight 1 on concept 0"):
        weight_modularity(np.array([[1.0, 1.0], [-1.0, 1.0]]))
    with pytest.raises(InputError, match="two concepts"):
        weight_modularity(np.ones((3, 1)))


SKULLS = os.environ.get("MECHDECOUPLE_FER", "")
"""A checkout of the published networks of arXiv:2505.11581 that draw one skull, evolved and trained."""


def cppn(name):
    """Its weights: 12 layers of 15 linear, 4 Gaussian, 2 linear and 1 sine unit, then hue, saturation, value."""
    opcodes = pickletools.genops((Path(SKULLS) / name / "params.pkl").read_bytes())
    data = next(argument for opcode, argument, _ in opcodes if opcode.name == "BINBYTES")
    flat = torch.as_tensor(np.frombuffer(data, "<f4").astype(np.float64))
    shapes = [(4, 22), *[(22, 22)] * 11, (22, 3)]
    order = sorted(range(13), key=str)
    parts = flat.split([int(np.prod(shapes[i])) for i in order])
    return {f"w{i}": part.reshape(shapes[i]) for i, part in sorted(zip(order, parts, strict=True))}


def value(parameters, pixels):
    x = pixels
    for i in range(12):
        x = x @ parameters[f"w{i}"]
        x = torch.cat([x[:, :15], 2 * torch.exp(-(x[:, 15:19] ** 2)) - 1, x[:, 19:21], torch.sin(x[:, 21:])], dim=1)
    return (x @ parameters["w12"])[:, 2]


@pytest.mark.skipif(not SKULLS, reason="MECHDECOUPLE_FER names no checkout of the published networks")
def test_the_evolved_skull_is_no_more_modular_than_its_topology():
    grid = torch.linspace(-1, 1, 256, dtype=torch.float64)
    down, across = torch.meshgrid(grid, grid, indexing="ij")
    pixels = torch.stack([across, down, 1.4 * torch.hypot(down, across), torch.ones_like(down)], -1).reshape(-1, 4)
    image = pytest.importorskip("PIL.Image")
    part = np.full((256, 256), -1)  # forehead, eyes, nose, mouth, jaw, background
    part[40:90, 80:180], part[105:140, 70:110], part[105:140, 150:195], part[125:165, 112:145] = 0, 1, 1, 2
    part[170:190, 85:180], part[215:245, 90:180], part[140:220, :35], part[140:220, 235:] = 3, 4, 5, 5
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.choice(np.flatnonzero(part == f), 60, replace=False) for f in range(6)])
    asks, blocks, found = np.repeat(np.arange(6), 60), jackknife_blocks(np.arange(360), 10), {}
    for name in ("picbreeder_skull", "sgd_skull"):
        parameters = cppn(name)
        drawn = value(parameters, pixels).abs().clip(0, 1).numpy().reshape(256, 256)
        shown = np.asarray(image.open(Path(SKULLS) / name / "img.png").convert("L")) / 255
        assert np.abs(drawn - shown).mean() < 0.01
        found[name] = weight_sweep(lambda p, rows: value(p, pixels[items[rows]]), parameters, asks, blocks, draws=10)
    evolved, trained = found["picbreeder_skull"], found["sgd_skull"]
    assert evolved.modularity.value > trained.modularity.value
    assert evolved.z < 2
