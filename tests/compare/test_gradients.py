import numpy as np
import pytest
import torch
from torch import nn

import mechdecouple as md
from mechdecouple.compare.config import make_config
from mechdecouple.compare.gradients import answer_gradients
from mechdecouple.compare.side import make_side
from mechdecouple.interventions import steer
from mechdecouple.zoo import planted_task

OPTIONS = {"loss_unit": "token", "store": None, "progress": False}


def side(model, task, points, **options):
    return make_side(model, task, points, make_config({"probe_items": 64, **options}), slot="a", **OPTIONS)


def test_gradients_of_a_linear_readout_are_its_weights():
    model, task = md.load("zoo:planted-oblique"), planted_task(200)
    subject = side(model, task, ("representation", "readout")).subject
    found = answer_gradients(subject, ("representation", "readout"))
    weights = model.module.readout.weight.detach().numpy()
    asked = subject.task.inputs[found.items, -6:].argmax(1)
    sign = 2.0 * subject.task.answers[found.items] - 1
    # logits are (-z, z): centred, the right one is +z where the class is 1
    np.testing.assert_allclose(found.answer["representation"], sign[:, None] * weights[asked], atol=1e-12)
    np.testing.assert_allclose(found.answer["readout"], sign[:, None] * np.eye(6)[asked], atol=1e-12)
    assert found.outputs["representation"].shape == (64, 1, 128)
    np.testing.assert_allclose(np.abs(found.outputs["readout"][:, 0]), np.eye(6)[asked], atol=1e-12)


def test_gradients_of_a_transformer_agree_with_finite_differences_at_every_hook_point():
    model = md.load("zoo:factored")
    task = md.load_task("zoo:factored").select(np.arange(0, 1536, 48))
    points = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    one = side(model, task, points, position="position_statement")
    found = one.gradients
    step, rng = 0.02, np.random.default_rng(0)
    for point in points:
        vector = torch.tensor(rng.normal(size=model.width(point)), dtype=torch.float32)
        ends = [
            one.subject.answers(point, lambda _, at, v=v: steer(v, 1.0, at)).margin
            for v in (step * vector, -step * vector)
        ]
        # two options: the margin is twice the right answer's centred logit
        slope = (ends[0] - ends[1]) / (4 * step)
        expected = found.answer[point] @ vector.double().numpy()
        np.testing.assert_allclose(slope[found.items], expected, atol=0.05 * np.abs(expected).max())


def test_what_nothing_reads_has_no_gradient():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 4)

        def forward(self, x):
            self.unused(x)
            return self.used(x)

    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    import pandas as pd

    task = md.Task.from_frame(pd.DataFrame({"answer": (X[:, 0] > 0).astype(int)}), inputs=X)
    subject = side(md.load(Dead()), task, ("used", "unused")).subject
    found = answer_gradients(subject, ("used", "unused"))
    assert not found.outputs["unused"].any()
    assert found.answer["used"] == pytest.approx(np.where(task.answers[:, None] == [0, 1], 0.5, -0.5))
