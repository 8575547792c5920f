"""Speed: tokens over seconds, and the bare pass over the run, on a clock that only the model moves."""

from __future__ import annotations

import logging
import math
import types

import numpy as np
import pytest

from mechdecouple.activations import store
from mechdecouple.extract import extract, lanes, plan, run, speed
from mechdecouple.models import wrap

POINTS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_pre")


@pytest.fixture
def clock(hooked, monkeypatch):
    """A pass takes a second a padded token, and half of one more a token for each hook point beyond the first."""
    state = types.SimpleNamespace(now=0.0, tokens=0)
    tick = types.SimpleNamespace(perf_counter=lambda: state.now, process_time=lambda: state.now)
    monkeypatch.setattr(lanes, "time", tick)
    monkeypatch.setattr(run, "time", tick)
    monkeypatch.setattr(speed, "time", tick)
    forward = type(hooked).forward

    def timed(self, batch, **options):
        state.tokens += batch.tokens.numel()
        state.now += batch.tokens.numel() * (1 + 0.5 * (len(options["capture"]) - 1))
        return forward(self, batch, **options)

    monkeypatch.setattr(type(hooked), "forward", timed)
    return state


def test_a_run_notes_its_tokens_seconds_and_share(hooked, task_of, tmp_path, clock, caplog):
    task = task_of(120)
    todo = plan(hooked, task, POINTS, batch_tokens=40)
    padded = sum(len(b) * int(todo.items.lengths[b].max()) for b in todo.batches)
    caplog.set_level(logging.INFO, "mechdecouple")
    extract(hooked, task, POINTS, batch_tokens=40, out=tmp_path / "out")
    note = store.read_times(tmp_path / "out")[-1]
    assert note["tokens"] == todo.items.lengths.sum() and note["seconds"] == 1.5 * padded
    assert note["tokens_per_second"] == pytest.approx(note["tokens"] / note["seconds"], abs=0.05)
    assert note["of_bare_forward"] == pytest.approx(1 / 1.5, abs=1e-4)
    (line,) = [message for message in caplog.messages if "bare forward" in message]
    assert f"{note['tokens']:,} tokens in" in line and "67 % of the bare forward pass" in line


def test_time_outside_the_model_counts_against_it(hooked, task_of, tmp_path, clock, monkeypatch):
    task, write = task_of(120), store.write_shard

    def slow(path, tensors):
        clock.now += 1000
        return write(path, tensors)

    monkeypatch.setattr(store, "write_shard", slow)
    todo = plan(hooked, task, POINTS[:1], batch_tokens=40)
    padded = sum(len(b) * int(todo.items.lengths[b].max()) for b in todo.batches)
    # Written behind, on the same clock: the share is read from a run in which nothing overlaps.
    done = []
    monkeypatch.setattr(
        run, "speed", lambda *given: done.append(given) or speed.speed(given[0], given[1], 2 * padded, padded)
    )
    extract(hooked, task, POINTS[:1], batch_tokens=40, out=tmp_path / "out")
    assert store.read_times(tmp_path / "out")[-1]["of_bare_forward"] == pytest.approx(0.5, abs=1e-4)
    assert done[0][2] >= padded


@pytest.mark.parametrize("n", [150, 300])
@pytest.mark.parametrize("batch_tokens", [50, 2000])
def test_measuring_costs_three_per_cent_at_most(hooked, task_of, clock, caplog, n, batch_tokens):
    task = task_of(n)
    todo = plan(hooked, task, POINTS, batch_tokens=batch_tokens)
    clock.tokens = 0
    caplog.set_level(logging.INFO, "mechdecouple")
    extract(hooked, task, POINTS, batch_tokens=batch_tokens)
    once = sum(len(b) * int(todo.items.lengths[b].max()) for b in todo.batches)
    probe = int(todo.items.lengths.max())
    extra = clock.tokens - once - probe
    largest = int(max(len(b) * todo.items.lengths[b].max() for b in todo.batches))
    assert 0 < extra <= 0.03 * len(todo.batches) * largest
    assert "67 % of the bare" in caplog.text


def test_a_run_too_small_to_measure_says_so(hooked, task, tmp_path, clock):
    extract(hooked, task, POINTS, out=tmp_path / "out")
    note = store.read_times(tmp_path / "out")[-1]
    assert note["of_bare_forward"] is None and "too few items" in note["of_bare_forward_reason"]
    assert note["tokens"] > 0 and clock.tokens > 0


def test_a_run_that_only_completes_has_no_speed(hooked, task, tmp_path):
    extract(hooked, task, POINTS, out=tmp_path / "out")
    manifest = (tmp_path / "out" / store.MANIFEST).read_text()
    (tmp_path / "out" / store.MANIFEST).write_text(manifest.replace('"complete": true', '"complete": false'))
    extract(hooked, task, POINTS, out=tmp_path / "out")
    note = store.read_times(tmp_path / "out")[-1]
    assert note["tokens"] == 0 and note["of_bare_forward_reason"] == "everything was there"


def test_without_a_log_nothing_is_measured_in_memory(hooked, task_of, clock, caplog):
    caplog.set_level(logging.WARNING, "mechdecouple")
    task = task_of(150)
    todo = plan(hooked, task, POINTS)
    clock.tokens = 0
    extract(hooked, task, POINTS)
    padded = sum(len(b) * int(todo.items.lengths[b].max()) for b in todo.batches)
    assert clock.tokens == padded + int(todo.items.lengths.max())


def test_the_bare_pass_stops_at_the_end_of_the_last_layer_asked_for(gpt2, hooked):
    raw, tokenizer = gpt2
    model = wrap(raw, name="gpt2", tokenizer=tokenizer)
    assert speed.bare_point(model, ("blocks.1.attn.hook_z", "blocks.0.hook_resid_post")) == "blocks.1.hook_resid_post"
    assert speed.bare_point(model, ("blocks.1.hook_resid_post", "blocks.0.mlp.hook_post")) == "blocks.1.hook_resid_post"
    last = model.hook_points[-1]
    assert speed.bare_point(model, (last,)) in (last, model.layer_points[-1])
    assert math.isfinite(np.mean([model.hook_points.index(p) for p in model.layer_points]))
