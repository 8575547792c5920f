import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.weight_noise import (
    NOISE_SIZES,
    WeightNoise,
    filter_scales,
    noisy_losses,
    weight_noise_slope,
)


def regression(n=40, d=5, outputs=2, seed=0):
    """Squared error of a linear map: per item loss, parameters, inputs [n, d]."""
    rng = np.random.default_rng(seed)
    X, W = torch.as_tensor(rng.normal(size=(n, d))), torch.as_tensor(rng.normal(size=(outputs, d)))
    y = X @ W.T + torch.as_tensor(rng.normal(size=(n, outputs)))
    return lambda p: ((X @ p["w"].T - y) ** 2).sum(dim=1), {"w": W}, X.numpy()


def relu_net(seed=0, bias=True):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8, bias), nn.ReLU(), nn.Linear(8, 8, bias), nn.ReLU(), nn.Linear(8, 3)).double()
    X, y = torch.randn(50, 4, dtype=torch.float64), torch.randint(0, 3, (50,))

    def loss(parameters):
        return nn.functional.cross_entropy(functional_call(model, parameters, (X,)), y, reduction="none")

    return loss, dict(model.named_parameters())


def test_scales_are_the_rms_of_each_filter():
    rng = np.random.default_rng(0)
    tensors = {
        "linear": rng.normal(size=(3, 4)), "transposed": rng.normal(size=(4, 3)), "heads": rng.normal(size=(2, 5, 3)),
        "bias": rng.normal(size=4),
    }  # fmt: skip
    parameters = {name: torch.as_tensor(x) for name, x in tensors.items()}
    scales = filter_scales(parameters, {"linear": (0,), "transposed": (1,), "heads": (0, 2)})
    assert list(scales) == ["linear", "transposed", "heads"]
    for j in range(3):
        row, column = tensors["linear"][j], tensors["transposed"][:, j]
        assert scales["linear"][j, 0] == pytest.approx(np.linalg.norm(row) / np.sqrt(4))
        assert scales["transposed"][0, j] == pytest.approx(np.linalg.norm(column) / np.sqrt(4))
        assert scales["heads"][1, 0, j] == pytest.approx(np.linalg.norm(tensors["heads"][1, :, j]) / np.sqrt(5))
    assert list(filter_scales(parameters)) == ["linear", "transposed", "heads"]


def test_missing_connections_do_not_count_among_their_filter():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(4, 3))
    sparse = np.zeros((4, 9))
    sparse[:, [1, 4, 8]] = dense
    scales = [filter_scales({"w": torch.as_tensor(x)})["w"].numpy() for x in (dense, sparse)]
    np.testing.assert_allclose(scales[1][:, [1, 4, 8]], scales[0])
    assert not scales[1][:, [0, 2, 3, 5, 6, 7]].any()


def test_closed_form_of_a_quadratic_loss():
    loss, parameters, X = regression()
    scales = filter_scales(parameters)
    sizes, draws = np.array([0.1, 0.5, 2.0]), 1000
    losses = noisy_losses(loss, parameters, scales, sizes, draws=draws)
    clean = loss(parameters).numpy()
    # Both signs of a draw leave s^2 times the squared output of the noise, whose expectation is this.
    trace = sum(float(r) ** 2 for r in scales["w"][:, 0]) * (X**2).sum(axis=1)
    rise = losses - clean
    np.testing.assert_allclose(rise[:, 2] / 4.0, rise[:, 0] / 0.01, rtol=1e-6)
    error = rise[:, 1].std(axis=0) / np.sqrt(draws) / 0.25
    assert (np.abs(rise[:, 1].mean(axis=0) / 0.25 - trace) < 5 * error).all()
    noise = WeightNoise(sizes, losses, clean)
    slope = trace.mean() * (sizes**3).sum() / (sizes**2).sum()
    assert noise() == pytest.approx(slope, abs=5 * noise.draw_error())
    assert noise.draw_error() < 0.1 * slope


def test_first_order_terms_cancel():
    loss = lambda p: (p["w"] * torch.arange(6.0).reshape(2, 3)).sum(dim=1)  # noqa: E731
    parameters = {"w": torch.ones(2, 3)}
    losses = noisy_losses(loss, parameters, filter_scales(parameters), NOISE_SIZES, draws=1)
    np.testing.assert_allclose(losses[0], np.tile(loss(parameters).numpy(), (len(NOISE_SIZES), 1)), rtol=1e-6)


def test_rescaling_layers_of_a_relu_network_changes_nothing():
    loss, parameters = relu_net()
    other = dict(parameters)
    for name, by in (("0.weight", 7.0), ("0.bias", 7.0), ("2.weight", 1 / 7), ("4.weight", 1.0)):
        other[name] = parameters[name] * by
    torch.testing.assert_close(loss(other), loss(parameters))
    found = [noisy_losses(loss, p, filter_scales(p), NOISE_SIZES, seed=1) for p in (parameters, other)]
    np.testing.assert_allclose(*found, rtol=1e-9)
    # Noise of equal size in every layer, whatever its scale, would tell them apart.
    ones = {name: torch.ones_like(s) for name, s in filter_scales(parameters).items()}
    found = [noisy_losses(loss, p, ones, NOISE_SIZES, seed=1) for p in (parameters, other)]
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_rescaling_single_filters_without_biases_scales_their_noise():
    _, parameters = relu_net(bias=False)
    by = torch.rand(8, 1, dtype=torch.float64) * 9
    scales = filter_scales(parameters)["0.weight"]
    torch.testing.assert_close(filter_scales({"0.weight": parameters["0.weight"] * by})["0.weight"], scales * by)


def test_noise_leaves_biases_and_filters_of_zeros_alone():
    seen = []
    parameters = {"w": torch.tensor([[1.0, 2.0], [0.0, 0.0]]), "b": torch.ones(2)}

    def loss(p):
        seen.append(p)
        return p["w"].sum(dim=1)

    noisy_losses(loss, parameters, filter_scales(parameters), NOISE_SIZES, draws=1)
    assert all(torch.equal(p["b"], parameters["b"]) and not p["w"][1].any() for p in seen)
    assert all((p["w"][0] != parameters["w"][0]).all() for p in seen)


def test_slope_of_known_rises():
    sizes = np.array([0.1, 0.2, 0.3])
    assert weight_noise_slope(sizes, 5 * sizes) == pytest.approx(5)
    assert weight_noise_slope(sizes, -2 * sizes**2) == pytest.approx(-2 * 0.036 / 0.14)
    assert np.isnan(weight_noise_slope(sizes, np.array([0.1, 0.2, np.inf])))


def test_jackknife_over_items():
    loss, parameters, _ = regression()
    clean = loss(parameters).numpy()
    losses = noisy_losses(loss, parameters, filter_scales(parameters), NOISE_SIZES)
    blocks = jackknife_blocks(np.arange(40), 8)
    found = jackknife(WeightNoise(NOISE_SIZES, losses, clean), blocks)
    kept = blocks != 3
    rise = (losses - clean)[:, :, kept].mean(axis=(0, 2))
    assert found.replicates[3] == pytest.approx((NOISE_SIZES * rise).sum() / (NOISE_SIZES**2).sum())
    low, high = found.interval()
    assert low < found.value < high


def test_a_model_that_breaks_is_undefined_with_a_reason():
    noise = WeightNoise(NOISE_SIZES, np.full((2, len(NOISE_SIZES), 4), np.nan), np.zeros(4))
    assert np.isnan(noise()) and "not finite" in noise.reason


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="no parameter has filters"):
        filter_scales({"b": torch.ones(3)})
    with pytest.raises(InputError, match=r"'w' run along axes \(2,\), but it has 2"):
        filter_scales({"w": torch.ones(3, 2)}, {"w": (2,)})
    with pytest.raises(InputError, match="increasing"):
        weight_noise_slope(np.array([0.2, 0.1]), np.ones(2))
    with pytest.raises(InputError, match="2 noise sizes and 3 losses"):
        weight_noise_slope(np.array([0.1, 0.2]), np.ones(3))
