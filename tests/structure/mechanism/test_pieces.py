"""Wrong options by answer: models that share what the answer fixes, and add noise of their own to every item."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import wrap
from mechdecouple.structure.mechanism._pieces import MANY, by_answer_piece, wrong_options_piece
from mechdecouple.structure.mechanism.portrait import portray
from mechdecouple.tasks import Task

EACH = 12


class Table(nn.Module):
    """The logits of every item, looked up."""

    def __init__(self, logits):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.as_tensor(logits, dtype=torch.float32))
        self.between, self.out = (nn.Linear(logits.shape[1], logits.shape[1], bias=False) for _ in range(2))
        for layer, scale in ((self.between, 2.0), (self.out, 0.5)):
            layer.weight = nn.Parameter(scale * torch.eye(logits.shape[1]))

    def forward(self, x):
        return self.out(self.between(self.table(x[:, 0].long())))


def portrait(profile, seed, noise=1.0):
    answers, m = np.repeat(np.arange(len(profile)), EACH), len(profile)
    logits = profile[answers] + noise * np.random.default_rng(seed).normal(size=(len(answers), m))
    logits[np.arange(len(answers)), answers] = 20.0
    frame = pd.DataFrame({"id": [str(i) for i in range(len(answers))], "answer": answers})
    inputs = np.arange(len(answers), dtype=np.float32)[:, None]
    task = Task.from_frame(frame, performance="class", inputs=inputs)
    return portray(wrap(Table(logits), name=f"table {seed}"), task, limit=32, budget=400)


def profiles(m, seed):
    return np.random.default_rng(seed).normal(size=(m, m))


def test_noise_of_single_items_does_not_hide_what_answers_share():
    a, b = portrait(profiles(20, 0), 1), portrait(profiles(20, 0), 2)
    assert wrong_options_piece(a, b).distance.low > 0.3
    found = by_answer_piece(a, b, "same")
    assert found.distance.value == pytest.approx(0, abs=0.06)
    quiet = portrait(profiles(20, 0), 1, noise=0.3), portrait(profiles(20, 0), 2, noise=0.3)
    assert by_answer_piece(*quiet, "same").says == "same"


def test_other_profiles_say_nothing():
    found = by_answer_piece(portrait(profiles(20, 0), 1), portrait(profiles(20, 5), 2), "same")
    assert found.distance.value == pytest.approx(1, abs=0.2)
    assert found.says == ""


@pytest.mark.parametrize("route", ["other", "cannot tell"])
def test_where_the_route_is_not_the_same_it_is_no_evidence(route):
    a = portrait(profiles(20, 0), 1)
    found = by_answer_piece(a, a, route)
    assert np.isnan(found.distance.value)
    assert "route" in found.distance.reason


def test_few_answers_are_no_evidence():
    a = portrait(profiles(MANY - 1, 0), 1)
    assert f"fewer than {MANY}" in by_answer_piece(a, a, "same").distance.reason
