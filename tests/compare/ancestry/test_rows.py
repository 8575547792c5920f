import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.compare.ancestry.rows import ancestry_rows, ancestry_verdict
from mechdecouple.compare.config import make_config
from mechdecouple.compare.pairing import pair
from mechdecouple.compare.side import Pair, make_side
from mechdecouple.models import wrap
from mechdecouple.models.hashing import hash_state
from mechdecouple.results import frame
from mechdecouple.tasks import Task

WIDTH, N = 24, 120
LAYERS = ("0", "2", "4")


def base_model(seed=0):
    """Three layers of which the first hands its inputs on, so that the answers are right."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Linear(12, WIDTH), nn.Identity(), nn.Linear(WIDTH, WIDTH), nn.Identity(), nn.Linear(WIDTH, 2)
    )
    with torch.no_grad():
        layers[4].weight.copy_(torch.linalg.pinv(layers[2].weight @ layers[0].weight)[:1].repeat(2, 1))
        layers[4].weight[0].neg_()
        layers[4].weight.mul_(6)
        layers[4].bias.zero_()
        for layer in (layers[0], layers[2]):
            layer.bias.zero_()
    return layers


@pytest.fixture(scope="module")
def task():
    X = np.random.default_rng(0).standard_normal((N, 12)).astype(np.float32)
    table = pd.DataFrame(
        {
            "id": [f"i{i}" for i in range(N)],
            "group": [f"g{i // 2}" for i in range(N)],
            "answer": (X[:, 0] > 0).astype(int),
        }
    )
    return Task.from_frame(table, inputs=X, name="signs")


def paired(task, a, b):
    config = make_config({"blocks": 8})
    models = wrap(a, name="base"), wrap(b, name="tuned")
    sides = [
        make_side(m, task, LAYERS, config, slot=s, loss_unit="token", store=None, progress=False)
        for m, s in zip(models, "ab", strict=True)
    ]
    return Pair(*sides, pair(models[0], LAYERS, models[1], LAYERS))


@pytest.fixture(scope="module")
def table(task):
    """The second layer of the tuned model has a rank-1 update that turns the answers of half the inputs round."""
    base = base_model()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        write = torch.linalg.pinv(tuned[4].weight[1:])[:, 0]
        read = torch.linalg.pinv(tuned[0].weight)[1]
        tuned[2].weight.add_(3 * torch.outer(write, read))
    both = paired(task, base, tuned)
    before = [hash_state(side.model.module) for side in (both.a, both.b)]
    rows = ancestry_rows(both, False)
    assert [hash_state(side.model.module) for side in (both.a, both.b)] == before
    return frame(rows), rows


def values(table, metric, model="base"):
    found = table[(table.metric == metric) & (table.model == model)]
    return dict(zip(found.hook_point, found.value, strict=True))


def test_the_change_is_where_it_was_planted_and_of_rank_one(table):
    table = table[0]
    change = values(table, "weight_change")
    assert change["2"] > 0.05 and change["0"] == change["4"] == 0
    assert values(table, "weight_change_rank")["2"] == pytest.approx(1, rel=1e-4)
    assert values(table, "weight_change_spikes")["2"] == 1
    undefined = table[(table.metric == "weight_change_rank") & (table.hook_point == "0")].iloc[0]
    assert np.isnan(undefined.value) and undefined.reason == "its matrix did not change"


def test_grafting_points_to_the_changed_block_in_both_directions(table):
    table = table[0]
    for model in ("base", "tuned"):
        effect, closed = values(table, "graft_effect", model), values(table, "graft_closed", model)
        assert effect["2"] > 0.1 and effect["0"] == effect["4"] == 0
        assert closed["2"] == pytest.approx(1, abs=1e-4) and closed["0"] == 0
    worse, better = values(table, "graft_performance"), values(table, "graft_performance", "tuned")
    assert worse["2"] < -0.1 and better["2"] == pytest.approx(-worse["2"])
    row = table[(table.metric == "graft_performance") & (table.hook_point == "2") & (table.model == "base")].iloc[0]
    assert row.high < 0 and row.p < 0.01 and row.unit == "groups" and row.n == N // 2


def test_states_differ_from_the_changed_layer_on(table):
    shift = values(table[0], "mean_shift")
    assert shift["0"] == 0 and abs(shift["2"]) < 1
    assert list(shift) == list(LAYERS)


def test_a_shifted_bias_is_seen_where_it_acts(task):
    base = base_model()
    with torch.no_grad():
        base[0].bias.add_(0.5)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned[2].bias.add_(1.0)
    both = paired(task, base, tuned)
    table = frame(ancestry_rows(both, False))
    shift = table[table.metric == "mean_shift"].set_index("hook_point")
    X = both.a.structural["2"].astype(float)
    expected = np.sqrt(WIDTH) / np.sqrt(((X - X.mean(axis=0)) ** 2).sum() / (len(X) - 1))
    assert shift.loc["2", "value"] == pytest.approx(expected, rel=1e-4) and shift.loc["2", "p"] == pytest.approx(0.001)
    assert shift.loc["0", "value"] == 0
    cosine = table[table.metric == "mean_cosine"].set_index("hook_point").value
    assert cosine["0"] == pytest.approx(1) and cosine["2"] < 0.99


def test_the_verdict_says_where_the_change_lives(table):
    verdict = ancestry_verdict(table[1])
    assert verdict.family == "ancestry" and verdict.flagged is False
    assert verdict.sentence.startswith("base and tuned share an ancestor")
    assert "changed most in 2" in verdict.sentence and "over 1.0 directions" in verdict.sentence
    assert "Of tuned's blocks in base, 2 moves the answers most" in verdict.sentence
    assert "100% of the way to tuned" in verdict.sentence


def test_no_rows_without_a_shared_ancestor(task):
    both = paired(task, base_model(0), base_model(1))
    assert ancestry_rows(both, False) == [] and ancestry_verdict([]) is None


def test_the_same_model_twice_changed_nowhere(task):
    base = base_model()
    table = frame(ancestry_rows(paired(task, base, copy.deepcopy(base)), False))
    assert (table[table.metric == "weight_change"].value == 0).all()
    assert (table[table.metric == "graft_effect"].value == 0).all()
    assert (table[table.metric == "mean_shift"].value == 0).all()
    assert table[table.metric == "graft_closed"].reason.str.contains("answer alike").all()
