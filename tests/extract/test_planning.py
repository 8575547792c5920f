"""Plan: what an extraction costs, before it runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.activations import store
from mechdecouple.errors import InputError, ModelError
from mechdecouple.extract import extract, plan, planning
from mechdecouple.models import wrap
from mechdecouple.tasks import Task


@pytest.mark.parametrize("position", ["last", "mean", "all"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_are_what_the_store_takes(hooked, task, tmp_path, position, dtype):
    todo = plan(hooked, task, position=position, dtype=dtype, batch_tokens=64)
    extract(hooked, task, position=position, dtype=dtype, batch_tokens=64, out=tmp_path / "out")
    taken = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert todo.row_bytes * todo.rows < taken <= todo.bytes <= taken + 6000


def test_each_item_is_in_one_batch_and_each_batch_in_one_shard(hooked, task):
    todo = plan(hooked, task, batch_tokens=40)
    assert sorted(np.concatenate(todo.batches).tolist()) == list(range(len(task)))
    assert [b for shard in todo.shards for b in shard] == list(range(len(todo.batches)))
    lengths = todo.items.lengths
    assert todo.work.sum() == lengths.sum()
    assert all(len(b) * lengths[b].max() <= 40 or len(b) == 1 for b in todo.batches)


def test_shards_end_by_size_and_by_number_of_batches(hooked, task, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 1000)
    todo = plan(hooked, task, batch_tokens=40)
    sizes = [sum(len(todo.batches[b]) for b in shard) * todo.row_bytes for shard in todo.shards]
    assert len(sizes) > 2 and all(s <= 1000 or len(shard) == 1 for s, shard in zip(sizes, todo.shards, strict=True))
    monkeypatch.undo()
    monkeypatch.setattr(planning, "_BATCHES_A_SHARD", 3)
    assert {len(shard) for shard in plan(hooked, task, batch_tokens=40).shards[:-1]} == {3}


def test_widths_of_heads_and_of_space(hooked, task):
    names = ("blocks.0.attn.hook_z", "blocks.1.mlp.hook_post")
    assert plan(hooked, task, names).hook_points == dict(zip(names, (16, 32), strict=True))
    module = wrap(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(36, 2)), name="cnn")
    images = Task.from_frame(pd.DataFrame({"answer": [0, 1]}), inputs=np.zeros((2, 1, 5, 5), np.float32))
    assert plan(module, images, ("0", "2")).hook_points == {"0": 36, "2": 2}
    assert plan(module, images, ("0",), "mean").hook_points == {"0": 4}
    with pytest.raises(InputError, match="position 'all' needs tokens"):
        plan(module, images, position="all")
    with pytest.raises(InputError, match="takes tensors, and task 'task' has none"):
        plan(module, task)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"dtype": "float64"}, InputError, "dtype 'float64' is unknown"),
        ({"batch_tokens": 0}, InputError, "batch_tokens is 0"),
        ({"hook_points": []}, InputError, "no hook point"),
        ({"hook_points": ["hook_embed", "hook_embed"]}, InputError, "'hook_embed' is asked for twice"),
        ({"hook_points": ["hook_embd"]}, ModelError, "did you mean hook_embed"),
        ({"hook_points": ["blocks.0.attn.hook_pattern"]}, InputError, "expected a vector a token"),
        ({"position": "first"}, InputError, "position 'first' is unknown"),
    ],
)
def test_refusals_come_in_one_line_before_anything_is_made(hooked, task, tmp_path, options, kind, said):
    with pytest.raises(kind, match=said) as caught:
        extract(hooked, task, out=tmp_path / "out", **options)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
