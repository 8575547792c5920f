"""Comparisons of what can hardly be compared end in a line that says why, or in values that are explained."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.compare import compare
from mechdecouple.errors import InputError
from mechdecouple.tasks import Task


def network(seed, bias=None, weight=None):
    """Two layers; ``bias`` and ``weight`` overwrite what the first has."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        if bias is not None:
            made[0].weight.zero_()
            made[0].bias.fill_(bias)
        if weight is not None:
            made[0].weight[0, 0] = weight
    return made


class Patched(nn.Module):
    """Some items have a value that is not finite inside; the answers do not show it."""

    def __init__(self, value):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4).double(), nn.Linear(4, 2).double()
        self.value = value

    def forward(self, x):
        hidden = self.first(torch.where(x[:, :1] > 1, torch.full_like(x, self.value), x))
        return self.second(torch.nan_to_num(hidden, posinf=0, neginf=0))


def task(n=90, width=4, **columns):
    X = np.random.default_rng(0).normal(size=(n, width))
    table = {
        "answer": (X[:, 0] + X[:, 1] > 0).astype(int), "concept_a": (X[:, 0] > 0).astype(int),
        "concept_b": (X[:, 1] > 0).astype(int), "context": np.where(np.arange(n) % 2, "p", "q"),
        "asks": np.where(np.arange(n) % 3, "a", "b"),
    }  # fmt: skip
    table |= {name: values(X) if callable(values) else values for name, values in columns.items()}
    return Task.from_frame(pd.DataFrame(table), inputs=X)


def run(a, b, items, **options):
    given = {
        "progress": False, "permutations": 19, "blocks": 5, "probe_items": 60, "bootstrap": 200,
        "families": ("structure", "controls", "similarity", "weights"), "hook_points": ["1"],
    }  # fmt: skip
    return compare(a, b, items, **given | options)


def undefined(comparison, metric, concept=""):
    table = comparison.frame()
    rows = table[(table.metric == metric) & (table.concept == concept) & (table.model_b == "")]
    assert len(rows)
    return rows.value.isna()


CASES = {
    "a concept with one level": (lambda: (network(0), network(1), task(concept_a=1)), ("coding_overlap", "")),
    "contexts of one class each": (
        lambda: (network(0), network(1), task(context=lambda X: np.where(X[:, 0] > 0, "p", "q"))),
        ("ccgp", "a"),
    ),
    "six items": (lambda: (network(0), network(1), task(6)), ("intrinsic_dimension", "")),
    "constant activations": (lambda: (network(0, bias=-1.0), network(1, bias=-1.0), task()), ("parallelism", "a")),
    "two groups": (
        lambda: (network(0), network(1), task(group=lambda X: np.where(X[:, 2] > 0, "g", "h"))),
        ("intrinsic_dimension", ""),
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_cannot_be_measured_is_explained(what):
    (a, b, items), nothing = CASES[what][0](), CASES[what][1]
    comparison = run(a, b, items)
    table = comparison.frame()
    assert (table.reason[table.value.isna()] != "").all() and not np.isinf(table.value).any()
    assert undefined(comparison, *nothing).all()
    assert comparison.summary()


REFUSED = {
    "one group": (lambda: (network(0), network(1), task(group="g")), {}, "1 group"),
    "weights that are not finite": (lambda: (network(0), network(1, weight=np.nan), task()), {}, "NaN or infinite"),
    "activations that are not finite": (
        lambda: (Patched(1.0), Patched(np.inf), task()),
        {"hook_points": ["first"]},
        "finite",
    ),
    "inputs of another width": (lambda: (network(0), network(1), task(width=5)), {}, r"cannot take .*\(5,\)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_compared_is_refused_in_a_line(what):
    (a, b, items), options, match = REFUSED[what][0](), REFUSED[what][1], REFUSED[what][2]
    with pytest.raises(InputError, match=match) as error:
        run(a, b, items, **options)
    assert "\n" not in str(error.value)
