"""Picker: hand-indexed rows of a padded batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mechdecouple.errors import InputError
from mechdecouple.extract.pick import Picker, check_position, pick_array, picked_tokens
from mechdecouple.models import Encoded

SPECIAL = [np.array([True, False, False, True]), np.array([True, False, True])]
TOKENS = [np.arange(4), np.arange(3)]
ENCODED = Encoded(["a", "b"], TOKENS, SPECIAL)


def test_special_tokens_are_left_out_unless_asked_for(task):
    assert [t.tolist() for t in picked_tokens(ENCODED, task, "last", False)] == [[2], [1]]
    assert [t.tolist() for t in picked_tokens(ENCODED, task, "all", False)] == [[1, 2], [1]]
    assert [t.tolist() for t in picked_tokens(ENCODED, task, "mean", False)] == [[1, 2], [1]]
    assert [t.tolist() for t in picked_tokens(ENCODED, task, "last", True)] == [[3], [2]]
    assert [t.tolist() for t in picked_tokens(ENCODED, task, "all", True)] == [[0, 1, 2, 3], [0, 1, 2]]


def test_rows_are_those_indexed_by_hand():
    values = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    cpu, kept = torch.device("cpu"), [np.array([1, 2]), np.array([1])]
    last = Picker([np.array([2]), np.array([1])], 4, "last", cpu)(values, "h")
    assert torch.equal(last, torch.stack([values[0, 2], values[1, 1]]))
    every = Picker(kept, 4, "all", cpu)(values, "h")
    assert torch.equal(every, torch.stack([values[0, 1], values[0, 2], values[1, 1]]))
    mean = Picker(kept, 4, "mean", cpu)(values, "h")
    torch.testing.assert_close(mean, torch.stack([(values[0, 1] + values[0, 2]) / 2, values[1, 1]]))


def test_heads_are_flattened_and_patterns_refused():
    pick = Picker([np.array([0])], 4, "last", torch.device("cpu"))
    values = torch.arange(24.0).reshape(1, 4, 2, 3)
    assert pick(values, "h").tolist() == [values[0, 0].flatten().tolist()]
    with pytest.raises(InputError, match=r"'pattern' has shape \(1, 2, 4, 4\)"):
        pick(torch.zeros(1, 2, 4, 4), "pattern")


def test_arrays_are_flattened_or_averaged_over_space():
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(pick_array(values, "last"), values.reshape(2, 12))
    assert torch.equal(pick_array(values, "mean"), values.mean(dim=(2, 3)))
    assert pick_array(values[:, :, 0, 0], "mean").shape == (2, 3)
    assert pick_array(torch.zeros(2), "last").shape == (2, 1)


def test_unknown_position_is_named_with_the_known_ones(task_of):
    task = task_of(2, position_noun=[0, 0])
    check_position(task, "position_noun")
    with pytest.raises(InputError, match="'first' is unknown; expected last, mean, all, position_noun"):
        check_position(task, "first")
