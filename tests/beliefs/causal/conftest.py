"""A module whose answer depends on one known direction at one known place, and the statements it is asked about."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import wrap
from mechdecouple.tasks import Task

D = 16


class Known(nn.Module):
    """Reads ``axis`` at ``used``; ``idle`` holds the same activations and nothing reads them."""

    def __init__(self, axis, gain, shape):
        super().__init__()
        self.used, self.idle = _copy(shape[-1]), _copy(shape[-1])
        self.register_buffer("axis", torch.as_tensor(axis, dtype=torch.float64))
        self.gain, self.shape = gain, shape

    def forward(self, x):
        x = x.reshape(len(x), *self.shape)
        self.idle(x)
        z = self.gain * self.used(x).flatten(1) @ self.axis
        return torch.stack([torch.zeros_like(z), z], dim=1)


def _copy(d):
    linear = nn.Linear(d, d, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(torch.eye(d))
    return linear


@pytest.fixture(scope="session")
def known_model():
    def make(axes=(0,), gain=1.5, shape=(D,)):
        return wrap(Known(np.eye(D)[list(axes)].sum(axis=0), gain, shape), name="known")

    return make


@pytest.fixture(scope="session")
def statements():
    """Pairs of a false and a true statement that differ by exactly ``2 strength`` along ``axes``; a group each."""

    def make(n_pairs=60, axes=(0,), strength=1.0, noise=0.3, seed=0, **columns):
        base = np.random.default_rng(seed).normal(scale=noise, size=(n_pairs, D))
        move = strength * np.eye(D)[list(axes)].sum(axis=0)
        inputs = np.stack([base - move, base + move], axis=1).reshape(-1, D)
        truth = np.tile([0, 1], n_pairs)
        group = [f"g{i // 2}" for i in range(2 * n_pairs)]
        frame = pd.DataFrame({"id": [f"i{i}" for i in range(2 * n_pairs)], "answer": truth, "group": group})
        frame = frame.assign(**{"truth": truth, **columns})
        honest = "honest" if "condition" in columns else None
        return Task.from_frame(frame, performance="class", inputs=inputs, honest=honest)

    return make
