"""Passes: rows are kept behind the device, in order, and neither side reads or overwrites what the other works on."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from mechdecouple.activations import store
from mechdecouple.errors import InputError
from mechdecouple.extract import extract, passes, plan
from mechdecouple.extract.lanes import DirectLane
from mechdecouple.extract.passes import Passes
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

SOON = 20  # seconds after which a thread that should have come counts as lost


@pytest.fixture
def todo(hooked, task, monkeypatch):
    """A plan of at least six shards of two batches or more."""
    monkeypatch.setattr(store, "SHARD_BYTES", 6000)
    made = plan(hooked, task, position="all", batch_tokens=12)
    assert len(made.shards) >= 6 and min(len(s) for s in made.shards[:-1]) >= 1
    return made


class LateLane(DirectLane):
    """A device that copies only when it is waited for, and its memory a batch later is another's."""

    behind = True

    def __init__(self, device):
        super().__init__(device)
        self.pending, self.most, self.lock = [], 0, threading.Lock()

    def copy(self, pairs):
        lane, mark = self, object()
        with self.lock:
            for values, target in pairs:
                target.fill_(float("nan") if target.is_floating_point() else 0)
                self.pending.append((mark, values, target))
            self.most = max(self.most, len({id(m) for m, *_ in self.pending}))

        class Mark:
            def wait(self):
                with lane.lock:
                    while any(m is mark for m, *_ in lane.pending):
                        _, values, target = lane.pending.pop(0)
                        target.copy_(values)

        return Mark()


@pytest.mark.parametrize("position", ["last", "mean", "all"])
@pytest.mark.parametrize("out", [False, True])
def test_copies_that_come_late_are_waited_for(hooked, task, tmp_path, monkeypatch, digests, position, out):
    monkeypatch.setattr(store, "SHARD_BYTES", 6000 if position == "all" else 3000)
    options = {"position": position, "batch_tokens": 40, "progress": False}
    expected = extract(hooked, task, out=tmp_path / "direct", **options)
    lanes = []
    monkeypatch.setattr(passes, "lane", lambda device: lanes.append(LateLane(device)) or lanes[-1])
    found = extract(hooked, task, out=tmp_path / "late" if out else None, **options)
    for name in hooked.layer_points:
        np.testing.assert_array_equal(found[name], expected[name])
    if out:
        assert digests(tmp_path / "late") == digests(tmp_path / "direct")
    (late,) = lanes
    assert not late.pending
    # In memory, and at "all", a batch is kept by itself, and that may be at once.
    assert late.most == 2 if out and position != "all" else late.most <= 2


def test_the_device_goes_on_while_a_shard_is_kept_and_waits_before_it_would_overwrite_one(todo):
    ran, kept, may_keep, two_shards = [], [], threading.Event(), threading.Event()
    held = [b for shard in todo.shards[:2] for b in shard]

    def keep(shard, rows):
        assert may_keep.wait(SOON)
        kept.append((shard, rows["blocks.0.hook_resid_post"].clone()))

    def note(batch):
        ran.append(batch)
        if ran == held:
            two_shards.set()

    work = threading.Thread(target=Passes(todo, keep, note, behind=True).run, args=(dict(enumerate(todo.shards)),))
    work.start()
    assert two_shards.wait(SOON)  # the first shard is not kept yet, the second one is computed all the same
    work.join(0.2)
    assert ran == held and not kept and work.is_alive()  # and the third would need the memory of the first
    may_keep.set()
    work.join(SOON)
    assert ran == list(range(len(todo.batches)))
    assert [shard for shard, _ in kept] == list(range(len(todo.shards)))
    plain = {}
    Passes(
        todo, lambda s, rows: plain.update({s: rows["blocks.0.hook_resid_post"].clone()}), ran.append, behind=False
    ).run(dict(enumerate(todo.shards)))
    for shard, values in kept:
        assert torch.equal(values, plain[shard])


@pytest.mark.parametrize("behind", [False, True])
def test_an_error_in_keeping_comes_to_the_caller_at_once(hooked, task, monkeypatch, behind):
    monkeypatch.setattr(store, "SHARD_BYTES", 1000)
    todo, ran = plan(hooked, task, batch_tokens=12), []
    assert len(todo.shards[1]) >= 4
    failed = threading.Event()

    def keep(shard, _rows):
        failed.set()
        raise OSError(f"no room for shard {shard}")

    def note(batch):
        ran.append(batch)
        if batch == todo.shards[1][0]:
            assert failed.wait(SOON)

    with pytest.raises(OSError, match="no room for shard 0"):
        Passes(todo, keep, note, behind=behind).run(dict(enumerate(todo.shards)))
    assert len(ran) <= len(todo.shards[0]) + 2
    assert not [t for t in threading.enumerate() if t.name.startswith("extract")]


def test_an_error_of_the_model_leaves_no_thread_and_what_was_given_is_kept(todo, monkeypatch):
    forward, calls, kept = type(todo.model).forward, [], []

    def failing(self, batch, **options):
        calls.append(1)
        if len(calls) > len(todo.shards[0]) + 1:
            raise ZeroDivisionError
        return forward(self, batch, **options)

    monkeypatch.setattr(type(todo.model), "forward", failing)
    with pytest.raises(ZeroDivisionError):
        Passes(todo, lambda shard, _: kept.append(shard), lambda _: None, behind=True).run(dict(enumerate(todo.shards)))
    whole = [number for number, shard in enumerate(todo.shards) if shard.stop < len(calls)]
    assert kept == whole and whole and not [t for t in threading.enumerate() if t.name.startswith("extract")]


@pytest.mark.parametrize("out", [False, True])
def test_bfloat16_comes_to_the_disk_bit_by_bit(gpt2, task, tmp_path, out):
    raw, tokenizer = gpt2
    half = copy.deepcopy(raw).to(torch.bfloat16)
    model = wrap(half, name="half", tokenizer=tokenizer)
    point = "blocks.1.hook_resid_post"
    found = extract(model, task, [point], dtype="bfloat16", batch_tokens=1, out=tmp_path / "out" if out else None)
    own = []
    for prompt in task.prompts:
        with torch.no_grad():
            own.append(
                half(**tokenizer(prompt, return_tensors="pt"), output_hidden_states=True).hidden_states[2][0, -1]
            )
    assert own[0].dtype == torch.bfloat16
    bits = torch.stack(own).view(torch.int16)
    assert torch.equal(torch.from_numpy(found[point]).to(torch.bfloat16).view(torch.int16), bits)
    if out:
        with safe_open(tmp_path / "out" / store.shard_name(0), framework="pt") as shard:
            stored, items = shard.get_tensor(point), shard.get_tensor(store.ITEM)
        assert stored.dtype == torch.bfloat16 and torch.equal(stored.view(torch.int16), bits[items])


def test_what_is_not_finite_only_once_is_told_as_such(hooked, task, monkeypatch):
    forward, calls = type(hooked).forward, []

    def flaky(self, batch, **options):
        out = forward(self, batch, **options)
        calls.append(1)
        if len(calls) == 2:
            out.activations["blocks.0.hook_resid_post"][:] = float("inf")
        return out

    monkeypatch.setattr(type(hooked), "forward", flaky)
    with pytest.raises(InputError, match=r"not finite came up among items 'item-.*not when they were run again"):
        extract(hooked, task)


def test_sums_that_overflow_are_no_fault():
    layer = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.eye_(layer.weight)
    inputs = np.full((9, 2), 3e38, np.float32)
    task = Task.from_frame(pd.DataFrame({"answer": [0, 1, 0] * 3}), inputs=inputs)
    found = extract(wrap(torch.nn.Sequential(layer), name="identity"), task, ["0"])
    np.testing.assert_array_equal(found["0"], inputs)
