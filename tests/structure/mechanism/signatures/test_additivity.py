import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import wrap
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures._additive import AdditiveFit
from mechdecouple.structure.mechanism.signatures.additivity import additivity
from mechdecouple.tasks import Task


class Terms(nn.Module):
    """Three logits: so much of a sum of the two inputs, so much of their product."""

    def __init__(self, alone, together):
        super().__init__()
        self.read = nn.Linear(2, 3, bias=False)
        self.alone, self.together = alone, together
        with torch.no_grad():
            self.read.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))

    def forward(self, x):
        product = x[:, :1] * x[:, 1:] * torch.tensor([1.0, -1.0, 0.0])
        return self.alone * self.read(x) + self.together * product


def signs(n=64, concepts=True):
    x = np.array(list(itertools.product([-1.0, 1.0], repeat=2)) * (n // 4), dtype=np.float32)
    frame = pd.DataFrame({"id": [str(i) for i in range(len(x))], "answer": np.arange(len(x)) % 3})
    if concepts:
        frame["concept_a"], frame["concept_b"] = x[:, 0], x[:, 1]
    return Task.from_frame(frame, performance="class", inputs=x)


@pytest.mark.parametrize(("alone", "together", "share"), [(1, 0, 1.0), (0, 1, 0.0), (1, 2, 4 / 12)])
def test_sums_add_up_and_products_do_not(alone, together, share):
    """Of two signs a centred sum has variance 1 + 1 + 2, the product 1 + 1."""
    value, reason = additivity(Rig(wrap(Terms(alone, together), name="terms"), signs()))
    assert value.value == pytest.approx(share, abs=0.05) and not reason


def test_inputs_that_do_nothing_explain_nothing():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        fit = AdditiveFit(rng.normal(size=(120, 2)), [rng.integers(0, 20, 120), rng.integers(0, 20, 120)])
        found.append(fit(np.arange(120)))
    assert abs(np.mean(found)) < 0.04


def test_rows_left_out_count_as_if_they_had_never_been():
    rng = np.random.default_rng(0)
    y, factors = rng.normal(size=(80, 3)), [rng.integers(0, 5, 80), rng.integers(0, 4, 80)]
    for kept in (np.arange(80)[rng.random(80) < 0.9], np.arange(30)):
        fresh = AdditiveFit(y[kept], [f[kept] for f in factors])
        assert AdditiveFit(y, factors)(kept) == pytest.approx(fresh(np.arange(len(kept))))


def test_a_factor_that_others_determine_does_no_harm():
    rng = np.random.default_rng(0)
    x, z = rng.integers(0, 4, 90), rng.integers(0, 3, 90)
    y = rng.normal(size=(90, 1)) + x[:, None]
    both = AdditiveFit(y, [x, z])(np.arange(90))
    assert AdditiveFit(y, [x, z, x // 2])(np.arange(90)) == pytest.approx(both, abs=1e-5)


def test_what_cannot_be_told_says_why():
    few = signs(8)
    for task, why in ((signs(concepts=False), "no concepts"), (few.select(np.arange(3)), "only one|3 items|values")):
        value, reason = additivity(Rig(wrap(Terms(1, 1), name="terms"), task))
        assert np.isnan(value.value)
        assert any(part in reason for part in why.split("|"))
    flat, reason = additivity(Rig(wrap(Terms(0, 0), name="flat"), signs()))
    assert np.isnan(flat.value) and "do not differ" in reason
