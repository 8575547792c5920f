import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.models import build, wrap
from mechdecouple.structure.mechanism.cost import BUDGET, mechanism_cost, stitched_points
from mechdecouple.tasks import Task


def transformer(layers=2, d=16):
    config = dict(
        n_layers=layers, d_model=d, n_heads=2, d_head=d // 2, d_mlp=32, n_ctx=16, d_vocab=40, act_fn="relu",
        normalization_type="LN", model_name="tiny",
    )  # fmt: skip
    return wrap(build(config), name=f"{layers} layers")


def items(n=60, length=4):
    rng = np.random.default_rng(0)
    tokens = [row.tolist() for row in rng.integers(0, 40, size=(n, length))]
    choices = [["0", "1", "2"]] * n
    frame = pd.DataFrame(
        {"tokens": tokens, "choices": choices, "answer": [c[t[0] % 3] for c, t in zip(choices, tokens, strict=True)]}
    )
    return Task.from_frame(frame, name="tokens")


def test_the_whole_of_a_pair_stays_within_its_budget():
    cost = mechanism_cost(transformer(6), transformer(6), items(300, 16), timed=False)
    assert cost.total <= 1.25 * BUDGET
    assert set(cost.left_out) == {"interchange"}


def test_answers_without_options_are_refused():
    task = Task.from_frame(pd.DataFrame({"tokens": [[1, 2, 3], [4, 5, 6]]}), name="text", performance="loss")
    with pytest.raises(InputError, match="options or classes"):
        mechanism_cost(transformer(), transformer(), task)


def test_a_smaller_budget_costs_less_and_too_small_a_one_is_refused():
    pair, task = (transformer(), transformer()), items()
    whole, part = (mechanism_cost(*pair, task, budget=b, timed=False).total for b in (BUDGET, 12_000))
    assert part < whole
    with pytest.raises(InputError):
        mechanism_cost(*pair, task, budget=10, timed=False)
    with pytest.raises(InputError, match="expected item passes"):
        mechanism_cost(*pair, task, budget=0, timed=False)


def test_each_seed_adds_to_it():
    pair, task = (transformer(), transformer()), items()
    costs = [
        mechanism_cost(*pair, task, seeds_a=[transformer()] * n, timed=False).passes.get("seeds", 0) for n in range(3)
    ]
    assert 0 == costs[0] < costs[1] < costs[2]


def test_time_is_told_from_a_few_items():
    cost = mechanism_cost(transformer(), transformer(), items())
    assert 0 < cost.seconds < 600
    assert "item passes at most, about" in cost.sentence
    assert "stitching" in set(cost.frame().part)
    assert "about" not in mechanism_cost(transformer(), transformer(), items(), timed=False).sentence


def test_models_are_stitched_where_they_hold_all_they_know():
    points = stitched_points(transformer(6))
    assert len(points) == 5
    assert all("resid" in p or "embed" in p for p in points)
    with torch.no_grad():
        plain = wrap(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), name="plain")
    assert stitched_points(plain) == ("0", "1")
