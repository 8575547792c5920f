import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import trapezoid
from torch import nn

from mechdecouple import zoo
from mechdecouple.compare.config import make_config
from mechdecouple.compare.subject import make_subject
from mechdecouple.compare.weights import _set_to_mean, ablation_measurements, weight_measurements
from mechdecouple.extract import extract
from mechdecouple.models import Batch, wrap
from mechdecouple.refs import load
from mechdecouple.tasks import Task


def subject_of(model, task, points=None, position="last"):
    acts = extract(model, task, points or model.layer_points[-1:], position, progress=False)
    return make_subject(model, task, np.arange(len(task)), acts, make_config({"blocks": 10}), "token")


def by_name(rows):
    return {row.metric: row.estimate for row in rows}


@pytest.fixture(scope="module")
def signs():
    """Two bits; each item asks for one, and names which: the class is that bit."""
    rng = np.random.default_rng(0)
    bits, asked = rng.integers(0, 2, size=(160, 2)), np.arange(160) % 2
    X = np.concatenate([2.0 * bits - 1, np.eye(2)[asked]], axis=1).astype(np.float32)
    table = pd.DataFrame(
        {"answer": bits[np.arange(160), asked], "concept_first": bits[:, 0], "concept_second": bits[:, 1]}
    )
    table["asks"] = np.where(asked == 0, "first", "second")
    return Task.from_frame(table, inputs=X, name="signs")


class Gated(nn.Module):
    """Logits ± the asked bit: per bit an amplifier, and a gate that shuts where the other bit is asked for."""

    def __init__(self, mixed: bool) -> None:
        super().__init__()
        self.read, self.gate, self.out = (nn.Linear(2, 2, bias=False) for _ in range(3))
        turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5
        with torch.no_grad():
            self.read.weight.copy_(turn if mixed else torch.eye(2))
            self.back = nn.Linear(2, 2, bias=False)
            self.back.weight.copy_(turn.T if mixed else torch.eye(2))
            self.gate.weight.copy_(torch.eye(2))
            self.out.weight.copy_(torch.tensor([[-2.0, -2.0], [2.0, 2.0]]))

    def forward(self, x):
        return self.out(self.back(self.read(x[:, :2])) * self.gate(x[:, 2:]))


def test_separate_paths_are_modular_weights_and_mixed_ones_are_not(signs):
    apart, mixed = (by_name(weight_measurements(subject_of(wrap(Gated(m), "m"), signs), 0)) for m in (False, True))
    assert apart["weight_modularity"].value == pytest.approx(1, abs=1e-5)
    # Mixed, the weights that read serve both bits alike; those that gate still serve one each.
    assert mixed["weight_modularity"].value < 0.8
    for found in (apart, mixed):
        modularity, excess = found["weight_modularity"], found["weight_modularity_excess"]
        assert excess.value == pytest.approx(modularity.value - modularity.null)
        assert "over 5 draws" in excess.reason and modularity.n == 128


def test_all_measures_on_a_language_model(gpt2_dir, yes_no_items):
    items = yes_no_items.assign(concept_first=[str(i % 2) for i in range(60)], asks=["first", "second"] * 30)[:32]
    found = by_name(weight_measurements(subject_of(load(gpt2_dir), Task.from_frame(items)), 0))
    assert set(found) == {
        "weight_noise_slope", "relative_sharpness", "weight_modularity", "weight_modularity_excess",
    }  # fmt: skip
    for name, estimate in found.items():
        assert estimate.low < estimate.value < estimate.high, name
        assert estimate.n == 16
    assert "6 random draws" in found["weight_noise_slope"].method


def test_the_bottleneck_of_the_zoo_stands_when_its_weights_are_pushed():
    # Its gates are weights of a thousand among zeros: noise on the zeros would open or shut attention at random.
    found = by_name(weight_measurements(subject_of(zoo.load("factored", progress=False), zoo.task("factored", 24)), 0))
    # A bottleneck that opens costs some nats at the least noise, and has a curvature of millions.
    assert 0 < found["weight_noise_slope"].value < 3
    assert abs(found["relative_sharpness"].value) < 10
    assert 0 < found["weight_modularity"].null < 0.5


def test_reasons(gpt2_dir, llama_dir, yes_no_csv, yes_no_items):
    task = Task.from_file(yes_no_csv).select(np.arange(16))
    plain = by_name(weight_measurements(subject_of(load(gpt2_dir), task), 0))
    assert "no column asks" in plain["weight_modularity"].reason and np.isfinite(plain["relative_sharpness"].value)
    folded = by_name(weight_measurements(subject_of(load(llama_dir, fold_ln=True), task), 0))
    assert all("folded weights" in estimate.reason and np.isnan(estimate.value) for estimate in folded.values())
    one = Task.from_frame(yes_no_items.assign(asks="second")).select(np.arange(16))
    found = by_name(weight_measurements(subject_of(load(gpt2_dir), one), 0))
    assert found["weight_modularity"].reason == "all sampled items ask for one concept (second)"


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


def test_a_model_without_second_derivative_says_so(signs):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    module.forward = lambda x: module[1](Once.apply(module[0](x)))
    found = by_name(weight_measurements(subject_of(wrap(module, "m"), signs), 0))
    assert "differentiated only once" in found["relative_sharpness"].reason
    assert np.isfinite(found["weight_noise_slope"].value)


class Copies(nn.Module):
    """One bit held by m of six units and read by their sum; the rest are busy with what nobody reads."""

    def __init__(self, m: int) -> None:
        super().__init__()
        self.code, self.out = nn.Linear(6, 6, bias=False), nn.Linear(6, 2, bias=False)
        with torch.no_grad():
            self.code.weight.copy_(torch.eye(6))
            self.code.weight[:m] = torch.eye(6)[0]
            self.out.weight.zero_()
            self.out.weight[1, :m] = 1.0

    def forward(self, x):
        return self.out(self.code(x))


@pytest.fixture(scope="module")
def bit():
    X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    X[:, 0] = np.repeat([-1.0, 1.0], 100)
    return Task.from_frame(pd.DataFrame({"answer": (X[:, 0] > 0).astype(int)}), inputs=X, name="bit")


def test_copies_of_a_unit_bear_more_ablation_and_principal_axes_count_them_as_one(bit):
    areas = {}
    for m in (1, 3):
        subject = subject_of(wrap(Copies(m), "m"), bit, ["code"])
        rows = ablation_measurements(subject, ["code"], "last", seed=0)
        areas[m] = {row.context: row.estimate for row in rows}
        assert {row.metric for row in rows} == {"ablation_area"} and {row.hook_point for row in rows} == {"code"}
    # At 1/3, 2/3 and all of six units: the mean over orders of P(a copy is left), from the hypergeometric law.
    for m, left in ((1, [4 / 6, 2 / 6, 0]), (3, [1, 1 - 4 / 20, 0])):
        expected = trapezoid([1, *left], [0, 1 / 3, 2 / 3, 1])
        estimate = areas[m]["coordinates"]
        assert estimate.low - 1e-6 <= expected <= estimate.high + 1e-6
    assert areas[3]["coordinates"].low > areas[1]["coordinates"].value
    assert areas[3]["principal axes"].value == pytest.approx(0.5, abs=0.1)


def test_units_are_set_to_their_mean_at_the_token_that_is_read_alone():
    x, mean = torch.randn(2, 3, 2, 2), np.array([1.0, 2.0, 3.0, 4.0])
    edited = _set_to_mean(np.eye(4)[:, [0, 3]], mean, np.array([0, 2]))(x, Batch(tokens=torch.zeros(2, 3).long()))
    expected = x.clone()
    for item, token in ((0, 0), (1, 2)):
        expected[item, token, 0, 0], expected[item, token, 1, 1] = 1.0, 4.0
    torch.testing.assert_close(edited, expected)


def test_units_that_do_not_vary_are_no_units(bit):
    module = Copies(1)
    with torch.no_grad():
        module.code.weight[3:] = 0.0
    subject = subject_of(wrap(module, "m"), bit, ["code"])
    three = ablation_measurements(subject, ["code"], "last", seed=0)[0].estimate
    assert three.value == pytest.approx(trapezoid([1, 2 / 3, 1 / 3, 0], dx=1 / 3), abs=0.2)
    with torch.no_grad():
        module.code.weight[:] = 0.0
    subject = subject_of(wrap(module, "m"), bit, ["code"])
    assert "constant" in ablation_measurements(subject, ["code"], "last", seed=0)[0].estimate.reason


def test_ablation_of_heads_and_of_every_token(gpt2_dir, yes_no_csv):
    model, task = load(gpt2_dir), Task.from_file(yes_no_csv)
    subject = subject_of(model, task, ["blocks.0.attn.hook_z", "blocks.1.hook_resid_post"])
    rows = ablation_measurements(subject, subject.acts.hook_points, "last", seed=0)
    assert len(rows) == 4
    whole = subject_of(model, task, ["blocks.1.hook_resid_post"], "mean")
    rows = ablation_measurements(whole, whole.acts.hook_points, "mean", seed=0)
    assert all(np.isfinite(r.estimate.value) or "not above chance" in r.estimate.reason for r in rows)
    text = Task.from_frame(pd.DataFrame({"prompt": task.prompts}))
    (row, _) = ablation_measurements(subject_of(model, text), ["blocks.1.hook_resid_post"], "last", seed=0)
    assert "loss" in row.estimate.reason
