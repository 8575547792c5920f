"""Layers of models of unequal depth: paired by depth, or by similarity on items that nothing else is measured on."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.compare import compare
from mechdecouple.errors import InputError
from mechdecouple.tasks import Task


def scale(*sizes):
    layer = nn.Linear(len(sizes), len(sizes), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor(sizes)))
    return layer


class Chain(nn.Module):
    """Layers in turn; read out by the sign of the first two coordinates' sum."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.out = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.out.weight.copy_(torch.tensor([[-1.0, -1, 0, 0], [1, 1, 0, 0]]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


FIRST, SECOND, SAME = (9.0, 1, 1, 1), (1 / 81, 9, 1, 1), (1.0,) * 4


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4)).astype(np.float32)
    table = pd.DataFrame(
        {"answer": (X[:, 0] / 9 + 9 * X[:, 1] > 0).astype(int), "concept_sign": (X[:, 2] > 0).astype(int)}
    )
    task = Task.from_frame(table, inputs=X)
    short = Chain(scale(*FIRST), scale(*SECOND), scale(*SAME))
    long = Chain(scale(*FIRST), *(scale(*SAME) for _ in range(4)), scale(*SECOND))
    points = [f"layers.{i}" for i in range(3)], [f"layers.{i}" for i in range(6)]
    options = {
        "hook_points": points[0][:2], "hook_points_b": points[1], "families": ("structure", "similarity"),
        "progress": False, "permutations": 19, "blocks": 5,
    }  # fmt: skip
    return short, long, task, options


def paired(comparison):
    table = comparison.frame()
    of = table[(table.metric == "participation_ratio") & (table.model_b != "") & (table.hook_point != "")]
    return list(zip(of.hook_point, of.hook_point_b, strict=True)), of.n.unique()


def test_similarity_finds_the_layer_that_depth_misses_and_spends_a_fifth_of_the_groups(made):
    short, long, task, options = made
    by_depth, n = paired(compare(short, long, task, **options))
    assert ("layers.1", "layers.5") not in by_depth and n == [600]
    comparison = compare(short, long, task, alignment="similarity", **options)
    by_similarity, n = paired(comparison)
    assert by_similarity[1] == ("layers.1", "layers.5") and n == [480]
    (note,) = [note for note in comparison.notes if "paired in order by similarity" in note]
    assert "120 of 600 groups" in note and "layers.1 with layers.5" in note


def test_models_of_equal_depth_spend_nothing(made):
    short, _, task, options = made
    same = {**options, "hook_points_b": options["hook_points"]}
    comparison = compare(short, short, task, alignment="similarity", **same)
    assert paired(comparison)[1] == [600]
    assert not any("by similarity" in note for note in comparison.notes)


def test_too_few_groups_to_spend_are_refused(made):
    short, long, task, options = made
    with pytest.raises(InputError, match="12 groups of items: aligning layers by similarity takes at least 16"):
        compare(short, long, task.select(np.arange(12)), alignment="similarity", **options)
