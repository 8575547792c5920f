"""Short of memory on the device, an extraction goes on in smaller batches, says so, and stays resumable."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.activations import Activations, store
from mechdecouple.errors import InputError, StoreError
from mechdecouple.extract import extract, plan
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

OPTIONS = {"position": "all", "batch_tokens": 64, "progress": False}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 8000)


@pytest.fixture
def room(hooked, monkeypatch):
    """Padded tokens that fit into the device's memory; and the sizes of all batches that it was given."""

    class Room:
        tokens, sizes = 10**9, []

    room = Room()
    room.sizes = []
    forward = type(hooked).forward

    def limited(self, batch, **options):
        size = len(batch) if batch.tokens is None else batch.tokens.numel()
        room.sizes.append(size)
        if size > room.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch, **options)

    monkeypatch.setattr(type(hooked), "forward", limited)
    return room


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*"))}


@pytest.mark.parametrize("out", [False, True])
def test_batches_are_halved_until_they_fit(hooked, task, tmp_path, room, caplog, out):
    expected = extract(hooked, task, **OPTIONS | {"batch_tokens": 10})
    room.tokens = 20
    caplog.set_level(logging.WARNING, "mechdecouple")
    found = extract(hooked, task, out=tmp_path / "out" if out else None, **OPTIONS)
    limit = found.manifest["batch_limit"]
    assert found.manifest["batch_tokens"] == 64 and 10 <= limit <= 20
    for name in hooked.layer_points:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    halvings = [line for line in caplog.messages if "no memory for batches" in line]
    assert len(halvings) == sum(size > 20 for size in room.sizes) and f"going on with {limit}" in halvings[-1]
    assert "of 64 padded tokens" in halvings[0]


def test_the_rows_are_those_of_a_call_that_asks_for_so_much(hooked, task, tmp_path, room):
    room.tokens = 20
    limit = extract(hooked, task, out=tmp_path / "out", **OPTIONS).manifest["batch_limit"]
    extract(hooked, task, out=tmp_path / "asked", **OPTIONS | {"batch_tokens": limit})
    assert shards(tmp_path / "out") == shards(tmp_path / "asked") and len(shards(tmp_path / "out")) > 2
    Activations.open(tmp_path / "out", verify=True)


def test_memory_that_goes_in_the_middle_of_a_run_leaves_nothing_of_the_larger_batches(
    hooked, task_of, tmp_path, room, monkeypatch
):
    monkeypatch.setattr(store, "SHARD_BYTES", 20_000)
    task = task_of(60)
    larger = plan(hooked, task, position="all", batch_tokens=64)
    assert len(larger.limited(16).shards) < len(larger.shards) - 1
    room.tokens = 64
    limited = type(hooked).forward

    def shrinking(self, batch, **options):
        if len(room.sizes) == len(larger.batches):
            room.tokens = 20
        return limited(self, batch, **options)

    monkeypatch.setattr(type(hooked), "forward", shrinking)
    extract(hooked, task, out=tmp_path / "later", **OPTIONS)
    found = json.loads((tmp_path / "later" / store.MANIFEST).read_text())
    assert room.tokens == 20 and found["batch_limit"] <= 20
    listed = {entry["file"] for entry in found["shards"]}
    assert {path.name for path in (tmp_path / "later").glob("shard-*")} == listed
    Activations.open(tmp_path / "later", verify=True)


def test_who_goes_on_goes_on_with_what_fitted(hooked, task, tmp_path, room, digests):
    room.tokens = 20
    extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    expected = digests(tmp_path / "out")
    (tmp_path / "out" / store.shard_name(1)).unlink()
    room.sizes.clear()
    extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert digests(tmp_path / "out") == expected and max(room.sizes) <= 20
    room.sizes.clear()
    extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert len(room.sizes) == 1  # the plan's one item: complete as it is
    with pytest.raises(StoreError, match="batch_tokens 64, now it is 20"):
        extract(hooked, task, out=tmp_path / "out", **OPTIONS | {"batch_tokens": 20})


def test_killed_between_two_sizes_it_begins_again(hooked, task, tmp_path, room, digests, monkeypatch):
    room.tokens = 20
    extract(hooked, task, out=tmp_path / "whole", **OPTIONS)
    write, steps = store.write_file, []

    class Killed(BaseException):
        pass

    def killed(path, data):
        steps.append(path.name)
        if len(steps) == last:
            raise Killed
        return write(path, data)

    monkeypatch.setattr(store, "write_file", killed)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for last in (4, 5, 6, 8):
        steps.clear()
        with pytest.raises(Killed):
            extract(hooked, task, out=tmp_path / f"killed-{last}", **OPTIONS)
        steps.extend([""] * 100)
        extract(hooked, task, out=tmp_path / f"killed-{last}", **OPTIONS)
        assert digests(tmp_path / f"killed-{last}") == digests(tmp_path / "whole")


def test_one_item_that_does_not_fit_is_named(hooked, task, tmp_path, room):
    longest = int(plan(hooked, task).batches[0][0])
    room.tokens = 12
    said = f"item '{task.ids[longest]}' of 20 tokens does not fit into the memory of cpu even by itself; shorten it"
    with pytest.raises(InputError, match=said):
        extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_memory_that_went_after_the_plan_was_made_is_told_in_one_line(hooked, task, tmp_path, room, monkeypatch):
    limited = type(hooked).forward

    def shrinking(self, batch, **options):
        out = limited(self, batch, **options)
        room.tokens = 12
        return out

    monkeypatch.setattr(type(hooked), "forward", shrinking)
    with pytest.raises(InputError, match="does not fit into the memory of cpu even by itself") as caught:
        extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_tensors_are_halved_by_items(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = wrap(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()), name="mlp")
    task = Task.from_frame(
        pd.DataFrame({"answer": [0, 1] * 150}), inputs=np.random.default_rng(0).normal(size=(300, 4))
    )
    expected = extract(model, task, ["0"])
    forward, sizes = type(model).forward, []

    def limited(self, batch, **options):
        sizes.append(len(batch))
        if len(batch) > 70:
            raise torch.OutOfMemoryError
        return forward(self, batch, **options)

    monkeypatch.setattr(type(model), "forward", limited)
    found = extract(model, task, ["0"], out=tmp_path / "out")
    assert found.manifest["batch_limit"] == 64 and sizes[:4] == [1, 256, 128, 64]
    np.testing.assert_array_equal(found["0"], expected["0"])
