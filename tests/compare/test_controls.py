from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.compare import controls
from mechdecouple.compare.config import make_config
from mechdecouple.compare.controls import control_measurements, control_rows
from mechdecouple.compare.pairing import pair
from mechdecouple.compare.side import Pair, make_side
from mechdecouple.errors import ModelError
from mechdecouple.models import load_pretrained, wrap
from mechdecouple.results import frame
from mechdecouple.tasks import Task

N = 480


def xor_task(n=N, groups=120):
    """Normal inputs; ``first`` is the sign of one of them, ``product`` that of a product, which no single layer has."""
    X = np.random.default_rng(0).standard_normal((n, 12)).astype(np.float32)
    table = pd.DataFrame({
        "id": [f"x{i}" for i in range(n)], "answer": (X[:, 0] > 0).astype(int),
        "group": [f"g{i % groups}" for i in range(n)],
        "concept_first": (X[:, 0] > 0).astype(int), "concept_product": (X[:, 0] * X[:, 1] > 0).astype(int),
    })  # fmt: skip
    return Task.from_frame(table, inputs=X, name="products")


def solver():
    """|x0 + x1| and |x0 - x1| after a layer that changes nothing: their difference has the sign of the product."""
    module = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        for layer in (module[0], module[1], module[3]):
            layer.weight.zero_(), layer.bias.zero_()
        module[0].weight.copy_(torch.eye(12))
        module[1].weight[:, :2] = torch.tensor([[1.0, 1], [-1, -1], [1, -1], [-1, 1]])
        module[3].weight[1] = torch.tensor([1.0, 1, -1, -1])
    # Zeros are kept where a module is drawn anew, and here they are no mask.
    for p in module.parameters():
        p.data += 1e-6 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    return module


def side_of(model, task, points=None, **options):
    config = make_config({"blocks": 10, "permutations": 19, "bootstrap": 200, **options})
    return make_side(
        model, task, points or model.layer_points, config, slot="a", loss_unit="token", store=None,
        progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def solved():
    return side_of(wrap(solver(), "solver"), xor_task())


@pytest.fixture(scope="module")
def table(solved):
    return frame(control_measurements(solved)).set_index(["metric", "hook_point", "concept"])


def test_what_the_layers_add_is_told_from_what_was_there(table):
    value = table["value"]
    assert value["probe_accuracy_held_out", "2", "product"] > 0.95
    assert value["probe_accuracy_embedding", "2", "product"] == pytest.approx(0.5, abs=0.08)
    assert table["low"]["probe_accuracy_above_baseline", "2", "product"] > 0.1
    assert value["probe_accuracy_held_out", "2", "first"] > 0.7
    assert value["probe_accuracy_embedding", "2", "first"] > 0.95
    assert value["probe_accuracy_above_baseline", "2", "first"] <= 0.01


def test_the_gain_is_over_the_larger_baseline(table):
    value = table["value"]
    for concept in ("first", "product"):
        for point in ("1", "2", "3"):
            own, fresh, embedding, above = (
                value[f"probe_accuracy_{kind}", point, concept]
                for kind in ("held_out", "untrained", "embedding", "above_baseline")
            )
            assert above == pytest.approx(own - max(fresh, embedding))


def test_the_first_hook_point_is_a_baseline_and_has_none(table):
    reason = table["reason"]["probe_accuracy_above_baseline", "0", "first"]
    assert reason == "this hook point is the baseline itself"
    value = table["value"]
    assert value["probe_accuracy_embedding", "0", "first"] == value["probe_accuracy_held_out", "0", "first"]


def test_lengths_are_positive_and_fit_together(table):
    for point, concept in (("2", "product"), ("0", "first"), ("0", "product")):
        length, compression = (table.loc[(m, point, concept)] for m in ("description_length", "probe_compression"))
        assert length["value"] * compression["value"] == pytest.approx(1)
        assert 0 < length["low"] < length["value"] < length["high"]
        assert length["high"] * compression["low"] == pytest.approx(1)
        assert compression["null"] == pytest.approx(1, abs=0.1)
    assert table["value"]["probe_compression", "2", "product"] > 3
    assert table["value"]["probe_compression", "0", "product"] < 1.05


def test_every_row_says_its_place(solved, table):
    assert set(table["family"]) == {"controls"} and set(table["model"]) == {"solver"}
    assert set(table["position"]) == {"last"} and not table["model_b"].any()
    assert len(table) == 7 * len(solved.points) * 2
    assert not table.index.duplicated().any()
    undefined = table["value"].isna()
    assert table["reason"][undefined].all()
    selective = table.loc["probe_selectivity"]
    assert (selective["n"] == 120).all() and (selective["low"] < selective["high"]).all()


def test_a_pair_gives_rows_of_both():
    one, other = (side_of(wrap(solver(), name), xor_task(), points=("0", "2"), probe_items=120) for name in "ab")
    found = control_rows(Pair(one, other, pair(one.model, one.points, other.model, other.points)), False)
    both = frame(found)
    a, b = (both[both["model"] == name].reset_index(drop=True) for name in "ab")
    pd.testing.assert_series_equal(a["value"], b["value"])


def test_token_models_and_few_hook_points(gpt2_dir, yes_no_csv):
    model = load_pretrained(gpt2_dir)
    task = Task.from_file(yes_no_csv)
    last = model.layer_points[-1:]
    side = side_of(model, task, points=last)
    before = model.weight_hash
    found = frame(control_measurements(side)).set_index(["metric", "concept"])
    # The first hook point was not among those looked at, and is read for its baseline.
    assert np.isfinite(found["value"]["probe_accuracy_embedding", "truth"])
    assert np.isfinite(found["value"]["probe_accuracy_above_baseline", "second"])
    assert set(found["hook_point"]) == set(last)
    assert load_pretrained(gpt2_dir).weight_hash == before


def test_token_by_token_rows_stay_aligned(gpt2_dir, yes_no_csv):
    side = side_of(load_pretrained(gpt2_dir), Task.from_file(yes_no_csv), position="all", probe_items=64)
    found = frame(control_measurements(side)).set_index(["metric", "hook_point", "concept"])
    assert np.isfinite(found["value"]["probe_accuracy_untrained", side.points[-1], "truth"])


def test_a_model_that_cannot_be_drawn_anew_leaves_a_reason(solved, monkeypatch):
    def refuse(model, seed):
        raise ModelError("no such luck")

    monkeypatch.setattr(controls, "untrained", refuse)
    monkeypatch.setattr(controls, "POINTS", 2)
    found = frame(control_measurements(solved)).set_index(["metric", "hook_point", "concept"])
    for metric in ("probe_accuracy_untrained", "probe_accuracy_above_baseline"):
        assert found["reason"][metric, "3", "product"] == "no such luck"
    assert found["value"]["probe_accuracy_held_out", "3", "product"] > 0.8


def test_too_few_groups_and_no_concepts_at_all():
    few = side_of(wrap(solver(), "few"), xor_task(groups=2))
    found = frame(control_measurements(few))
    assert found["value"][found["metric"].str.startswith("probe_accuracy")].isna().all()
    assert found["reason"][found["value"].isna()].str.len().min() > 10
    task = xor_task()
    bare = Task.from_frame(task.frame[["id", "answer", "group"]], inputs=task.inputs, name="bare")
    assert control_measurements(side_of(wrap(solver(), "bare"), bare)) == []


def test_samples_hold_whole_groups():
    groups = np.repeat(np.arange(90).astype(str), 7)[np.random.default_rng(0).permutation(630)]
    rows = controls._whole_groups(groups, 200, seed=1)
    assert len(rows) == 28 * 7 and (np.diff(rows) > 0).all()
    assert all((groups[rows] == g).sum() == 7 for g in np.unique(groups[rows]))
    np.testing.assert_array_equal(controls._whole_groups(groups, 630, 0), np.arange(630))
    assert len(np.unique(groups[controls._whole_groups(groups, 20, 0)])) == 10
