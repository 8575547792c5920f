from __future__ import annotations

import pytest
import torch
from torch import nn

from mechdecouple import interventions as iv
from mechdecouple.errors import InputError
from mechdecouple.models import Batch, wrap


@pytest.fixture
def x():
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def batch():
    return Batch(tokens=torch.ones(3, 5, dtype=torch.long))


POSITIONS = [4, 0, 2]
MADE = {
    "zero": lambda p: iv.ablate("zero", positions=p),
    "mean": lambda p: iv.ablate("mean", torch.arange(4.0), positions=p),
    "resample": lambda p: iv.ablate("resample", torch.arange(12.0).reshape(3, 4), positions=p),
    "noise": lambda p: iv.add_noise(0.5, torch.Generator().manual_seed(1), p),
    "patch": lambda p: iv.patch(torch.ones(3, 4), p),
    "steer": lambda p: iv.steer(torch.arange(1.0, 5.0), 2.0, p),
    "splice": lambda p: iv.splice(torch.tanh, p),
    "project": lambda p: iv.project_out(torch.eye(4)[:2], positions=p),
}


@pytest.mark.parametrize("name", MADE)
def test_only_the_named_positions_change(name, x, batch):
    before = x.clone()
    out = MADE[name](POSITIONS)(x, batch)
    here = torch.zeros(3, 5, dtype=torch.bool)
    here[range(3), POSITIONS] = True
    assert torch.equal(out[~here], x[~here])
    assert (out[here] != x[here]).any(-1).all()
    assert torch.equal(x, before)
    masked = MADE[name](here)(x, batch) if name not in ("resample", "patch") else out
    if name != "noise":
        torch.testing.assert_close(masked, out)


@pytest.mark.parametrize("name", MADE)
def test_everywhere_is_every_position_at_once(name, x, batch):
    if name == "noise":
        pytest.skip("other draws")
    everywhere = MADE[name](None)(x, batch)
    for t in range(5):
        torch.testing.assert_close(MADE[name]([t] * 3)(x, batch)[:, t], everywhere[:, t])


def test_values_take_their_place(x, batch):
    donors = torch.arange(12.0).reshape(3, 4)
    out = iv.ablate("resample", donors, positions=POSITIONS)(x, batch)
    assert torch.equal(out[range(3), POSITIONS], donors)
    assert torch.equal(iv.patch(-x)(x, batch), -x)
    torch.testing.assert_close(iv.steer(torch.ones(4), 0.5)(x, batch), x + 0.5)


def test_per_item_values_are_not_mistaken_for_per_token_ones(batch):
    square = torch.randn(4, 4, 6)
    values = torch.arange(24.0).reshape(4, 6)
    out = iv.patch(values)(square, batch)
    assert torch.equal(out, values[:, None].expand(4, 4, 6))


def test_projection_is_idempotent_and_orthogonal_to_the_directions(x, batch):
    directions = torch.tensor([[1.0, 2.0, 0.0, 1.0], [2.0, 4.0, 0.0, 2.0], [0.0, 1.0, 1.0, 0.0]])  # rank 2
    edit = iv.project_out(directions)
    out = edit(x, batch)
    torch.testing.assert_close(out @ directions.T, torch.zeros(3, 5, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(edit(out, batch), out)
    mean = torch.ones(4)
    about = iv.project_out(directions, mean=mean)(x, batch)
    torch.testing.assert_close(about @ directions.T, (mean @ directions.T).expand(3, 5, 3), rtol=0, atol=1e-5)


def test_noise_has_the_asked_scale_and_a_seed(batch):
    x = torch.zeros(3, 5, 20000)
    draw = lambda: iv.add_noise(0.3, torch.Generator().manual_seed(7))(x, batch)  # noqa: E731
    assert torch.equal(draw(), draw())
    assert float(draw().std()) == pytest.approx(0.3, rel=0.02)
    scales = torch.zeros(20000)
    scales[:10] = 1
    out = iv.add_noise(scales, torch.Generator().manual_seed(7))(x, batch)
    assert not out[..., 10:].any() and out[..., :10].all()


def test_plain_module_activations():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(3, 4)
    model = wrap(net)
    out = model.forward(Batch(array=x), edits={"1": iv.ablate("mean", torch.ones(6))}).logits
    torch.testing.assert_close(out, net[2](torch.ones(3, 6)))
    image = torch.randn(3, 2, 4, 4)
    assert not iv.ablate("zero")(image, Batch(array=image)).any()
    assert torch.equal(iv.patch(torch.ones(3, 2, 4, 4))(image, Batch(array=image)), torch.ones(3, 2, 4, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, b: iv.ablate("median"), "unknown ablation 'median'"),
        (lambda x, b: iv.ablate("mean"), "takes values"),
        (lambda x, b: iv.ablate("zero", torch.ones(4)), "takes no values"),
        (lambda x, b: iv.project_out(torch.zeros(4)), "all zero or not finite"),
        (lambda x, b: iv.patch(torch.ones(9))(x, b), "do not fit activations"),
        (lambda x, b: iv.patch(torch.ones(4), [0, 1])(x, b), "one token index for each item"),
        (lambda x, b: iv.patch(torch.ones(4), [0, 1, 5])(x, b), "outside the 5 tokens"),
        (lambda x, b: iv.splice(lambda t: t[..., :2])(x, b), "an edit gave shape"),
    ],
)
def test_refusals(make, message, x, batch):
    with pytest.raises(InputError, match=message):
        make(x, batch)
