import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.sharpness import RelativeSharpness
from mechdecouple.structure.weight_noise import filter_scales


def quadratic(eigenvalues, n=6, seed=0, dtype=torch.float64):
    """Items whose losses have Hessians that average to one of these eigenvalues."""
    rng = np.random.default_rng(seed)
    d = len(eigenvalues)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    mean = basis @ np.diag(eigenvalues) @ basis.T
    parts = rng.normal(size=(n, d, d))
    parts = torch.as_tensor(mean + parts + parts.transpose(0, 2, 1) - (parts + parts.transpose(0, 2, 1)).mean(axis=0))
    parts = parts.to(dtype)

    def loss(p):
        w = torch.cat([p["a"].flatten(), p["b"].flatten()])
        return 0.5 * torch.einsum("i,nij,j->n", w, parts, w) + w.sum()

    w = torch.as_tensor(rng.normal(size=d)).to(dtype)
    return loss, {"a": w[:4].reshape(2, 2), "b": w[4:].reshape(1, -1)}, parts.numpy()


def ones(parameters):
    return {name: torch.ones_like(p) for name, p in parameters.items()}


@pytest.mark.parametrize("eigenvalues", [[9, 4, 4, 1, 0, -2, -30], [5, 5, 5, 1, 1, 1], [-1, -2, -3, -4, -5]])
def test_largest_eigenvalue_of_a_quadratic(eigenvalues):
    loss, parameters, parts = quadratic(np.array(eigenvalues, float))
    found = RelativeSharpness(loss, parameters, ones(parameters))
    assert found.value == pytest.approx(max(eigenvalues), rel=1e-4)
    v = found.directions
    np.testing.assert_allclose(v @ v.T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(found.curvature, np.einsum("ai,nij,bj->nab", v, parts, v), rtol=1e-6, atol=1e-9)


def test_scales_weigh_the_hessian():
    loss, parameters, parts = quadratic(np.linspace(-3, 8, 10))
    scales = {"a": torch.tensor([[2.0], [0.5]]).double(), "b": torch.tensor([[3.0]]).double()}
    s = np.array([2, 2, 0.5, 0.5] + [3.0] * 6)
    expected = np.linalg.eigvalsh(parts.mean(axis=0) * np.outer(s, s))[-1]
    assert RelativeSharpness(loss, parameters, scales).value == pytest.approx(expected, rel=1e-4)
    # Tensors without a scale stay where they are.
    expected = np.linalg.eigvalsh(parts.mean(axis=0)[:4, :4] * np.outer(s, s)[:4, :4])[-1]
    assert RelativeSharpness(loss, parameters, {"a": scales["a"]}).value == pytest.approx(expected, rel=1e-4)


def network(seed=0, dtype=torch.float64, act=nn.Tanh):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), act(), nn.LayerNorm(6), nn.Linear(6, 3)).to(dtype)
    X, y = torch.randn(40, 4, dtype=dtype), torch.randint(0, 3, (40,))

    def loss(parameters):
        return nn.functional.cross_entropy(functional_call(model, parameters, (X,)), y, reduction="none")

    return loss, {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_full_hessian_of_a_small_network(dtype, tolerance):
    loss, parameters = network(dtype=dtype)
    scales = filter_scales(parameters)
    blocks = hessian(lambda moved: loss({**parameters, **moved}).mean())({n: parameters[n] for n in scales})
    full = torch.cat(
        [torch.cat([blocks[a][b].reshape(parameters[a].numel(), -1) for b in scales], dim=1) for a in scales]
    )
    s = torch.cat([scales[n].expand_as(parameters[n]).flatten() for n in scales])
    expected = torch.linalg.eigvalsh((full * s * s[:, None]).double())[-1]
    assert RelativeSharpness(loss, parameters, scales).value == pytest.approx(float(expected), rel=tolerance)


def test_rescaling_layers_of_a_relu_network_changes_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    X, y = torch.randn(50, 4, dtype=torch.float64), torch.randint(0, 3, (50,))

    def loss(p):
        return nn.functional.cross_entropy(functional_call(model, p, (X,)), y, reduction="none")

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    by = {"0.weight": 5.0, "0.bias": 5.0, "2.weight": 0.2, "2.bias": 1.0}
    other = {name: parameters[name] * by[name] for name in parameters}
    relative = [RelativeSharpness(loss, p, filter_scales(p)).value for p in (parameters, other)]
    assert relative[1] == pytest.approx(relative[0], rel=1e-6)
    plain = [RelativeSharpness(loss, p, ones(p)).value for p in (parameters, other)]
    assert plain[1] > 2 * plain[0]


def test_jackknife_is_close_to_doing_it_again():
    loss, parameters = network()
    found = RelativeSharpness(loss, parameters, filter_scales(parameters))
    blocks = jackknife_blocks(np.arange(40), 10)
    resampled = jackknife(found, blocks)
    assert resampled.value == found.value
    exact = np.array(
        [
            RelativeSharpness(lambda p, b=b: loss(p)[blocks != b], parameters, filter_scales(parameters)).value
            for b in range(10)
        ]
    )
    # Within a subspace there can only be less curvature.
    assert (resampled.replicates <= exact + 1e-6).all()
    assert np.corrcoef(resampled.replicates, exact)[0, 1] > 0.95
    assert resampled.standard_error() == pytest.approx(np.sqrt(9 / 10 * ((exact - exact.mean()) ** 2).sum()), rel=0.2)


def test_a_flat_or_a_linear_loss_has_no_sharpness():
    parameters = {"w": torch.ones(2, 3)}
    assert RelativeSharpness(lambda p: p["w"].sum(dim=1), parameters, filter_scales(parameters)).value == 0
    many = RelativeSharpness(lambda p: (0 * p["w"] ** 2).sum(dim=1), parameters, filter_scales(parameters))
    assert many.value == 0 and many.reason == ""


def test_one_weight_and_two():
    loss = lambda p: (p["w"] ** 2).sum(dim=1) * 3  # noqa: E731
    for width in (1, 2):
        parameters = {"w": torch.full((1, width), 2.0)}
        assert RelativeSharpness(loss, parameters, filter_scales(parameters)).value == pytest.approx(24, rel=1e-5)


def test_no_convergence_and_no_numbers_are_undefined_with_a_reason():
    loss, parameters, _ = quadratic(np.r_[1 + 1e-9 * np.arange(200), np.linspace(-1, 0.999, 200)])
    found = RelativeSharpness(loss, parameters, ones(parameters), tolerance=1e-14, most=1)
    assert np.isnan(found.value) and np.isnan(found()) and "did not converge in 1 restart" in found.reason
    broken = RelativeSharpness(lambda p: loss(p) * torch.inf, parameters, ones(parameters))
    assert np.isnan(broken.value) and "not finite" in broken.reason


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


def test_an_operation_with_one_derivative_is_undefined_and_not_passed_over():
    parameters = {"w": torch.ones(2, 3)}
    found = RelativeSharpness(lambda p: Cube.apply(p["w"]).sum(dim=1) ** 2, parameters, filter_scales(parameters))
    assert np.isnan(found.value) and "only once" in found.reason
    smooth = RelativeSharpness(lambda p: (p["w"] ** 3).sum(dim=1) ** 2, parameters, filter_scales(parameters))
    assert smooth.value > 0


def test_unusable_losses_are_refused():
    parameters = {"w": torch.ones(2, 3)}
    with pytest.raises(InputError, match="one an item"):
        RelativeSharpness(lambda p: p["w"].sum(), parameters, filter_scales(parameters))
    with pytest.raises(InputError, match="depends on the parameters"):
        RelativeSharpness(lambda p: torch.ones(4), parameters, filter_scales(parameters))
