import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from mechdecouple.beliefs.erasing import _in_turn, erase, erasing
from mechdecouple.beliefs.reading import Reader
from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import wrap
from mechdecouple.probes import LeaceFitter
from mechdecouple.refs import load, load_task


class Deep(nn.Module):
    """Two layers, the second of which bends what the first holds."""

    def __init__(self, d=16):
        super().__init__()
        self.first, self.second, self.out = (nn.Linear(d, d, bias=False).double() for _ in range(3))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(d))
            self.second.weight.copy_(torch.randn(d, d, generator=generator, dtype=torch.float64) / 4)
            self.out.weight.copy_(torch.eye(d))

    def forward(self, x):
        h = self.out(self.second(torch.exp(self.first(x) / 2)))
        return torch.stack([torch.zeros_like(h[:, 0]), h[:, 0]], dim=1)


def test_erasing_what_is_read_leaves_twins_that_cannot_be_told_apart(known_model, statements):
    # The twins differ by the mean difference alone, and that is what erasing takes off: each pair ends up as one point.
    found = erase(known_model(), statements(), ["used"])
    at = found.claims.set_index("kind")
    assert at.auroc["clean"] == at.accuracy["clean"] == 1
    assert at.accuracy["erased"] == at.auroc["erased"] == 0.5
    assert at.accuracy["random labels"] > 0.9
    assert found.drop.value == pytest.approx(at.accuracy["random labels"] - 0.5)
    assert found.used is True
    assert "rests on the represented truth" in found.sentence


def test_what_is_decodable_and_not_read_is_called_so(known_model, statements):
    found = erase(known_model(), statements(), ["idle"])
    assert found.decodable["idle"].value == 1
    assert found.drop.value == 0
    assert found.used is False
    assert "Decodable is not used" in found.sentence


def test_layer_after_layer_no_layer_holds_a_difference_of_means_and_independent_erasers_make_one(statements):
    task = statements()
    inputs = task.inputs + np.random.default_rng(1).normal(size=task.inputs.shape)
    reader = Reader.of(wrap(Deep()), dataclasses.replace(task, inputs=inputs))
    truth, points = reader.task.truth.astype(int), ("first", "second")

    def difference(changes):
        X = reader.activations(["out"], changes)["out"]
        return np.linalg.norm(X[truth == 1].mean(axis=0) - X[truth == 0].mean(axis=0))

    plain = reader.activations(points)
    alone = {point: erasing(LeaceFitter().fit(plain[point], truth)) for point in points}
    assert difference(_in_turn(reader, points, truth)) < 1e-8
    assert difference(alone) > 0.01
    assert difference({}) > 0.5


def test_an_eraser_does_the_same_inside_a_model(statements):
    X = statements(noise=1.0).inputs
    eraser = LeaceFitter().fit(X, np.tile([0, 1], 60))
    np.testing.assert_allclose(erasing(eraser)(torch.from_numpy(X), np.arange(120)).numpy(), eraser(X), atol=1e-12)
    single = erasing(eraser)(torch.from_numpy(X).float(), np.arange(120))
    np.testing.assert_allclose(single.numpy(), eraser(X), atol=1e-4)


def test_hook_points_are_taken_in_the_order_of_the_pass(known_model, statements):
    found = erase(known_model(), statements(), ["used", "idle", "used"])
    assert found.hook_points == ("used", "idle")
    assert list(found.frame().hook_point) == ["", "used", "idle"]


def test_bad_input_is_refused_and_too_little_is_said(known_model, statements):
    with pytest.raises(InputError, match="0 hook points"):
        erase(known_model(), statements(), [])
    with pytest.raises(InputError, match="0 random draws"):
        erase(known_model(), statements(), ["used"], n_random=0)
    with pytest.raises(ModelError, match="no hook point"):
        erase(known_model(), statements(), ["usd"])
    found = erase(known_model(), statements(8), ["used"])
    assert "only 8 groups" in found.sentence
    assert found.claims.accuracy.isna().all()


@pytest.mark.slow
def test_the_persuader_loses_the_truth_behind_its_bottleneck_only():
    for name in ("persuader", "persuader-open"):
        found = erase(load(f"zoo:{name}"), load_task(f"zoo:{name}"), position="position_statement")
        at = found.claims.set_index("kind").accuracy
        assert at["clean"] >= 0.95
        assert at["random labels"] >= 0.95
        assert (at["erased"] <= 0.65) == (name == "persuader")
        assert found.used is (name == "persuader")
