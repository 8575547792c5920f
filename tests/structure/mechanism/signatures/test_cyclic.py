import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import build, wrap
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.cyclic import cyclic
from mechdecouple.structure.mechanism.signatures.factors import declared, inputs, levels, population, varying_positions
from mechdecouple.structure.mechanism.signatures.group_basis import task_basis
from mechdecouple.structure.mechanism.signatures.shared import shared_options
from mechdecouple.tasks import Task

P = 6


def token_rig(answer, p=P, rows=None, choices=None):
    model = build(
        {"d_model": 4, "n_layers": 1, "n_heads": 1, "d_head": 4, "n_ctx": 3, "d_vocab": p + 1, "attn_only": True,
         "normalization_type": None}
    )  # fmt: skip
    pairs = [(a, b) for a in range(p) for b in range(p)]
    frame = pd.DataFrame(
        {"id": [f"{a},{b}" for a, b in pairs], "tokens": [[a, b, p] for a, b in pairs],
         "choices": choices or [tuple(map(str, range(p)))] * len(pairs),
         "answer": [str(answer(a, b)) for a, b in pairs]}
    )  # fmt: skip
    task = Task.from_frame(frame)
    return Rig(wrap(model, name="any"), task if rows is None else task.select(rows))


@pytest.mark.parametrize(
    "answer", [lambda a, b: (a + b) % P, lambda a, b: (a - b) % P, lambda a, b: (b - a) % P], ids=["a+b", "a-b", "b-a"]
)
def test_sums_and_differences_are_found(answer):
    rig = token_rig(answer)
    grid = cyclic(rig)
    assert grid.p == P
    np.testing.assert_array_equal(grid.a, np.arange(P * P) // P)
    np.testing.assert_array_equal(grid.factors()["a-b"], (np.arange(P * P) // P - np.arange(P * P)) % P)
    assert population(rig) == P * P
    part = token_rig(answer, rows=np.arange(0, P * P, 2))
    assert cyclic(part).p == P
    assert task_basis(part)[0].sizes.tolist() == [2, 2, 1]


def test_other_answers_are_not():
    assert cyclic(token_rig(lambda a, b: (a * b) % P)) is None
    assert "table" in task_basis(token_rig(lambda a, b: (a * b) % P))
    assert cyclic(token_rig(lambda a, b: a)) is None


def test_options_in_another_order_in_each_item():
    rng = np.random.default_rng(0)
    shuffled = [tuple(map(str, rng.permutation(P))) for _ in range(P * P)]
    rig = token_rig(lambda a, b: (a + b) % P, choices=shuffled)
    options = shared_options(rig)
    assert cyclic(rig).p == P
    values = options.of(rig.clean)
    for i in range(P * P):
        for j, name in enumerate(options.names):
            assert values[i, j] == rig.clean.values[i, shuffled[i].index(name)]
        assert options.names[options.right[i]] == rig.task.answers[i]


def test_a_group_that_is_not_cyclic_is_found_by_its_table():
    """Addition of two bits twice: four elements, each its own inverse."""
    rig = token_rig(lambda a, b: a ^ b, p=4)
    assert cyclic(rig) is None
    basis, _ = task_basis(rig)
    assert basis.sizes.tolist() == [1, 1, 1]
    assert isinstance(task_basis(token_rig(lambda a, b: a ^ b, p=4, rows=np.arange(15))), str)


def test_levels_of_numbers_and_names():
    assert levels(np.array([2.0, 1.0, 2.0, 5.0])).tolist() == [1, 0, 1, 2]
    assert levels(np.array(["b", "a"])).tolist() == [1, 0]
    many = levels(np.random.default_rng(0).normal(size=400))
    assert np.bincount(many).tolist() == [50] * 8


def test_inputs_are_tokens_that_vary_or_declared_concepts():
    rig = token_rig(lambda a, b: (a + b) % P)
    assert list(inputs(rig)[0]) == ["token 0", "token 1"]
    assert varying_positions(rig)[0].tolist() == [0, 1]
    frame = pd.DataFrame(
        {"id": list("abcd"), "answer": [0, 1, 0, 1], "concept_x": [1.0, 1.0, 2.0, 2.0], "concept_c": [3.0] * 4}
    )
    task = Task.from_frame(frame, performance="class", inputs=np.eye(4, dtype=np.float32))
    with torch.random.fork_rng():
        plain = Rig(wrap(nn.Linear(4, 2), name="plain"), task)
    assert list(declared(task)) == ["x"]
    assert list(inputs(plain)[0]) == ["x"]
    assert "no positions" in varying_positions(plain)[1]
