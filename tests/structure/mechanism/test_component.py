import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import build, wrap
from mechdecouple.structure.mechanism.component import Component, ablating, combined, hook_points, restoring, together
from mechdecouple.structure.mechanism.components import components
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task


def arrays(n=30, d=6, classes=3):
    inputs = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % classes})
    return Task.from_frame(frame, name="arrays", performance="class", inputs=inputs)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Rig(wrap(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), name="net"), arrays())


@pytest.fixture(scope="module")
def stream():
    """One layer without normalisation, tokens 0-4 at two positions, answers 0-4."""
    config = {
        "n_layers": 1, "d_model": 8, "n_ctx": 2, "d_head": 4, "n_heads": 2, "d_mlp": 12, "d_vocab": 5,
        "act_fn": "relu", "normalization_type": None, "attention_dir": "bidirectional",
    }  # fmt: skip
    model = build(config, seed=1)
    with torch.no_grad():
        model.b_U.zero_()
        for parameter in model.parameters():
            parameter.mul_(3.0)
    a, b = np.divmod(np.arange(25), 5)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(25)], "answer": (a + b) % 5})
    frame["tokens"] = [[int(x), int(y)] for x, y in zip(a, b, strict=True)]
    return Rig(wrap(model, name="stream"), Task.from_frame(frame, name="pairs", performance="class"))


def unit(i):
    return Component(f"u{i}", "units", "1", 0.5, index=(i,))


def test_units_taken_out_one_by_one_are_taken_out_together(net):
    tape = net.tape(["1"])
    many = net.read(ablating([unit(i) for i in (4, 0, 5)], tape, "zero"))
    one = net.read(ablating([Component("three", "units", "1", 0.5, index=(0, 4, 5))], tape, "zero"))
    np.testing.assert_allclose(many.values, one.values, atol=1e-12)
    assert np.abs(many.values - net.read(ablating([unit(0)], tape, "zero")).values).max() > 1e-3


def test_parts_at_several_hook_points_go_at_once(net):
    whole = combined("both", "units", [unit(2), Component("first", "module", "0", 0.0)])
    assert whole.hook_points == ("1", "0") and hook_points([whole, unit(1)]) == ("1", "0")
    assert whole.depth == 0.0 and len(whole.leaves) == 2
    tape = net.tape(whole.hook_points)
    np.testing.assert_array_equal(
        net.read(ablating([whole], tape, "mean")).values, net.read(ablating(whole.parts, tape, "mean")).values
    )


def test_directions_leave_what_is_orthogonal_to_them(net):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0].T
    part = Component("plane", "latents", "1", 0.5, basis=basis)
    x, new = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(4, 8)
    put = part.put(x, new).double().numpy()
    np.testing.assert_allclose(put @ basis.T, 0, atol=1e-6)
    rest = np.eye(8) - basis.T @ basis
    np.testing.assert_allclose(put, x.double().numpy() @ rest, atol=1e-6)
    assert part.fine and not Component("all", "module", "1", 0.5).fine


def test_without_the_skip_path_only_the_mlp_reaches_the_answer(stream):
    parts = {c.name: c for c in components(stream)}
    skip, mlp = parts["skip around L0 MLP"], parts["L0 MLP"]
    tape = stream.tape(hook_points([skip, mlp]))
    last = tape.clean("blocks.0.hook_mlp_out", 0)[:, -1]
    logits = (last.numpy() @ stream.model.module.W_U.detach().numpy()).astype(np.float64)
    only_mlp = logits - logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(stream.read(ablating([skip], tape, "zero")).values, only_mlp, atol=1e-4)
    np.testing.assert_allclose(stream.read(ablating([skip, mlp], tape, "zero")).values, 0, atol=1e-4)
    np.testing.assert_allclose(stream.read(ablating([mlp, skip], tape, "zero")).values, 0, atol=1e-4)


def test_a_skip_path_and_its_branch_are_the_whole_stream(stream):
    """Resampled together they give the answers of the items they are drawn from."""
    parts = {c.name: c for c in components(stream)}
    both = [parts["skip around L0 attention"], parts["L0 attention"]]
    tape = stream.tape(hook_points(both))
    drawn = stream.read(ablating(both, tape, "resample"))
    clean, given = tape.clean("blocks.0.hook_resid_pre", 0), tape.reference("blocks.0.hook_resid_pre", "resample", 0)
    chunk = tape.chunks[0]
    donor = [int(np.flatnonzero((clean == row).all(-1).all(-1))[0]) for row in given]
    np.testing.assert_allclose(drawn.values[chunk.items], stream.clean.values[chunk.items[donor]], atol=1e-4)
    assert (np.array(donor) != np.arange(25)).all()


def test_restoring_a_skip_path_undoes_what_came_before_it_alone(stream):
    parts = {c.name: c for c in components(stream)}
    tape = stream.tape(hook_points(parts.values()))
    broken = ablating([parts["embedding"]], tape, "mean")
    held = restoring([parts["skip around L0 attention"], parts["L0 attention"]], tape)
    np.testing.assert_allclose(stream.read(together(broken, held)).values, stream.clean.values, atol=1e-4)
