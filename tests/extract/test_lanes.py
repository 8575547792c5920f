"""Lanes: what is copied is there when its mark is past; with a CUDA device the same rows, and real want of memory."""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest
import torch

from mechdecouple.activations import Activations, store
from mechdecouple.extract import extract
from mechdecouple.extract.lanes import CudaLane, DirectLane, lane
from mechdecouple.models import Batch, wrap

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_the_cpu_copies_at_once():
    way = lane(torch.device("cpu"))
    assert isinstance(way, DirectLane) and not way.pinned and not way.behind
    target = torch.zeros(2, 3)
    way.copy([(torch.ones(2, 3), target)]).wait()
    assert target.sum() == 6


def test_the_clock_runs_until_it_is_stopped():
    clock = lane(torch.device("cpu")).clock()
    time.sleep(0.02)
    clock.stop()
    time.sleep(0.05)
    assert 0.02 <= clock.seconds() < 0.045


def test_a_batch_knows_its_padding_before_it_travels():
    whole = Batch(tokens=torch.zeros(2, 3, dtype=torch.long))
    part = Batch(tokens=torch.zeros(2, 3, dtype=torch.long), mask=torch.tensor([[True] * 3, [True, True, False]]))
    for batch, padded in ((whole, False), (part, True)):
        away = batch.to("meta")  # a device that cannot be asked: it holds no values
        assert away.padded is padded and away.tokens.device.type == "meta"


@cuda
def test_cuda_copies_behind_the_caller_and_in_order():
    device = torch.device("cuda", torch.cuda.current_device())
    way = lane(device)
    assert isinstance(way, CudaLane)
    targets = [torch.zeros(2**22, pin_memory=True) for _ in range(3)]
    marks = []
    for number, target in enumerate(targets):
        values = torch.zeros(2**22, device=device)
        for _ in range(50):
            values = values + (number + 1) / 50
        marks.append(way.copy([(values, target)]))
        del values  # its memory must not be given to the next one's before it was read
    for number, (mark, target) in enumerate(zip(marks, targets, strict=True)):
        mark.wait()
        torch.testing.assert_close(target, torch.full_like(target, number + 1.0))
    clock = way.clock()
    torch.cuda._sleep(10**7)
    clock.stop()
    assert clock.seconds() > 1e-4


@cuda
@pytest.mark.parametrize("position", ["last", "mean", "all"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cuda_gives_the_rows_of_the_cpu(gpt2, task, tmp_path, monkeypatch, position, dtype):
    monkeypatch.setattr(store, "SHARD_BYTES", 8000)
    raw, tokenizer = gpt2
    near, far = (wrap(copy.deepcopy(raw).to(d), name=d, tokenizer=tokenizer) for d in ("cpu", "cuda"))
    options = {"position": position, "dtype": dtype, "batch_tokens": 60, "progress": False}
    expected = extract(near, task, **options)
    found = [extract(far, task, out=out, **options) for out in (None, tmp_path / "one", tmp_path / "two")]
    for name in near.layer_points:
        np.testing.assert_allclose(found[0][name], expected[name], atol=1e-2 if dtype == "bfloat16" else 1e-4)
        np.testing.assert_array_equal(found[1][name], found[0][name])
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("shard-*")} for n in ("one", "two"))
    assert one == two and len(one) > 1
    Activations.open(tmp_path / "one", verify=True)


@cuda
def test_cuda_out_of_memory_halves_the_batch(task_of, gpt2, tmp_path):
    raw, tokenizer = gpt2
    model = wrap(copy.deepcopy(raw).to("cuda"), name="cuda", tokenizer=tokenizer)
    task = task_of(4000)
    expected = extract(model, task, batch_tokens=512, progress=False)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 48 * 2**20) / total)
        found = extract(model, task, batch_tokens=10**6, out=tmp_path / "out", progress=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.manifest["batch_limit"] < found.manifest["batch_tokens"] == 10**6
    for name in model.layer_points:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
