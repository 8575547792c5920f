"""Kills, full disks and changed weights: a job goes on, ends with the same bytes, and leaves nothing over."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mechdecouple.activations import store as files
from mechdecouple.errors import InputError, StoreError
from mechdecouple.jobs import work
from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.plan import plan_job
from mechdecouple.jobs.run import run_job
from mechdecouple.jobs.status import status
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.sae.training import checkpoint

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
NETS = """
import torch
from torch import nn

def net(seed):
    draws = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=draws))
    return made

def one(): return net(1)
def two(): return net(2)
"""
UNIT = Unit("extract", {"model": "abc"}, {}, label="abc on items")


def branched(task, *, die_after=0, below=""):
    """Does a task in a process that branches off and is killed before its ``die_after``-th change to files; how it
    ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code, left = 3, die_after

    def watch(event, arguments):
        nonlocal left
        writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in CHANGES) and str(arguments[0]).startswith(str(below)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        if die_after:
            sys.addaudithook(watch)
        task()
        code = 0
    finally:
        os._exit(code)


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "times.json"
    }


def left_over(folder):
    endings = (".lock", ".part", ".partial")
    return [p.name for p in folder.rglob("*") if p.name.endswith(endings) or ".gone-" in p.name]


class TestStore:
    """A unit of two plain files, killed at every change to the disk."""

    def make(self, folder):
        there = UnitStore(folder)
        there.sweep()
        there.mend(UNIT)
        with there.work(UNIT) as place:
            if place is not None:
                (place / "more").mkdir(exist_ok=True)
                for name in ("rows.txt", "more/rows.txt"):
                    files.write_file(place / name, name.encode())

    def killed_everywhere(self, tmp_path, begin):
        """``begin`` prepares a folder, in which the unit is made by a process killed at each of its changes in turn."""
        self.make(tmp_path / "whole")
        for number in range(1, 100, 2):
            folder = tmp_path / str(number)
            begin(folder)
            ended = branched(lambda folder=folder: self.make(folder), die_after=number, below=folder)
            assert ended in (0, signal.SIGKILL)
            self.make(folder)
            UnitStore(folder).sweep()
            assert tree(folder) == tree(tmp_path / "whole"), number
            assert left_over(folder) == [], number
            if ended == 0:
                return number
        raise AssertionError("never came to its end")

    def test_while_it_is_made(self, tmp_path):
        assert self.killed_everywhere(tmp_path, lambda folder: None) > 12

    def test_while_a_damaged_one_is_removed_and_made_again(self, tmp_path):
        def damaged(folder):
            self.make(folder)
            (UnitStore(folder).place(UNIT) / "rows.txt").write_text("damaged")

        assert self.killed_everywhere(tmp_path, damaged) > 14

    def test_after_it_failed(self, tmp_path):
        def failed(folder):
            UnitStore(folder).fail(UNIT, "no memory")

        def made(folder):
            failed(folder)
            self.make(folder)

        made(tmp_path / "reference")
        assert self.killed_everywhere(tmp_path, failed) > 12
        assert not list((tmp_path / "1" / "failed").iterdir())


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Extraction from two nets, and sparse autoencoders on both."""
    here = tmp_path_factory.mktemp("nets")
    (here / "nets_that_crash.py").write_text(NETS)
    x = np.random.default_rng(0).standard_normal((80, 4)).astype(np.float32)
    np.save(here / "x.npy", x)
    table = {"id": [f"x{i}" for i in range(80)], "answer": (x[:, 0] > 0).astype(int), "group": np.arange(80) // 2}
    pd.DataFrame(table).to_csv(here / "items.csv", index=False)
    sys.path.insert(0, str(here))
    yield make_job(
        {
            "models": ["nets_that_crash:one", "nets_that_crash:two"],
            "task": str(here / "items.csv"),
            "stages": ["extract", "sae"],
            "compare": {"inputs": str(here / "x.npy"), "batch_tokens": 16},
            "sae": {"width": 16, "k": 2, "steps": 8, "hook_points": ["1"]},
        }
    )
    sys.path.remove(str(here))


@pytest.fixture(scope="module")
def eager():
    """Small shards, and a state after every step of a training."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "SHARD_BYTES", 2000)
        patched.setattr(checkpoint, "_SECONDS", 0.0)
        patched.setattr(checkpoint, "_COST", 0)
        yield


def do(job, folder):
    run = run_job(job, folder, progress=False)
    assert not run.failed, run.summary()


@pytest.fixture(scope="module")
def undisturbed(job, eager, tmp_path_factory):
    """The folder of the job as nothing disturbed it, and a copy: the place of a folder is part of its plan."""
    folder = tmp_path_factory.mktemp("jobs") / "job"
    do(job, folder)
    shutil.copytree(folder, folder.with_name("whole"))
    return folder, tree(folder)


@pytest.fixture
def whole(undisturbed):
    return undisturbed[1]


@pytest.fixture
def folder(undisturbed):
    """Where the job is to be done; not there yet."""
    shutil.rmtree(undisturbed[0], ignore_errors=True)
    return undisturbed[0]


@pytest.fixture
def done(folder):
    """Where it is done."""
    shutil.copytree(folder.with_name("whole"), folder)
    return folder


def test_a_job_killed_again_and_again_ends_with_the_same_bytes(job, whole, folder):
    rng, kills, resumed = np.random.default_rng(0), 0, 0
    while branched(lambda: do(job, folder), die_after=int(rng.integers(5, 60)), below=folder) == signal.SIGKILL:
        kills += 1
        resumed += any((folder / "units").rglob("*.partial/*/*"))
    assert kills >= 4 and resumed
    assert tree(folder) == whole and left_over(folder) == []
    assert {one.state for one in status(folder).units} == {"done"}


def test_two_at_once_on_one_folder(job, whole, folder):
    first = os.fork()
    if not first:
        code = 3
        try:
            do(job, folder)
            code = 0
        finally:
            os._exit(code)
    ended = branched(lambda: do(job, folder))
    assert (os.waitpid(first, 0)[1], ended) == (0, 0)
    assert tree(folder) == whole and left_over(folder) == []


def test_damage_of_every_kind_is_mended_by_the_next_run(job, whole, done):
    shards = sorted((done / "units" / "extract").rglob("shard-*"))
    assert shards[0].stat().st_size == shards[1].stat().st_size
    saes = sorted((done / "units" / "sae").iterdir())
    data = bytearray(shards[-1].read_bytes())
    data[len(data) // 2] ^= 1
    shards[-1].write_bytes(data)
    for one, other in (shards[:2], saes):
        one.rename(done / "aside")
        other.rename(one)
        (done / "aside").rename(other)
    do(job, done)
    assert tree(done) == whole and left_over(done) == []


def test_what_was_damaged_since_the_run_began_is_not_read(job, eager, done):
    there = UnitStore(done)
    extraction, _, saes, _ = plan_job(job).units
    there.discard(saes)
    shard = next(there.place(extraction).rglob("shard-*"))
    shard.write_bytes(shard.read_bytes()[::-1])
    outcome = work.do(saes, done)
    assert "does not match its checksum; run the job again" in outcome.reason
    assert there.failure(saes) == outcome.reason


def limited(task, size):
    """A task in a process that may not write files larger than that."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    task()


@pytest.mark.parametrize("size", [1500, pytest.param(4000, marks=pytest.mark.slow), 9000])
def test_a_disk_that_is_full_in_mid_write(job, whole, folder, tmp_path, size):
    said = tmp_path / "said"

    def task():
        run = run_job(job, folder, progress=False)
        os.write(descriptor, "\n".join(outcome.reason for outcome in run.failed).encode())

    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT)
    assert branched(lambda: limited(task, size)) in (0, 3 << 8)
    os.close(descriptor)
    # However far it came, what is there can be read, and says so.
    if (folder / "job.json").exists():
        states = {one.state for one in status(folder).units}
        assert states & {"failed", "stopped", "waiting"} and "in work" not in states
        there = UnitStore(folder)
        assert all(there.fault(one.unit) == "" for one in status(folder).units if one.state == "done")
    if said.stat().st_size:
        assert "failed" in said.read_text()
    do(job, folder)
    assert tree(folder) == whole and left_over(folder) == []


@pytest.mark.slow
def test_a_small_file_system_that_fills_up(job, eager, tmp_path):
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if (
        shutil.which("mount") is None
        or subprocess.run([*mount, "size=64k", "t", folder], capture_output=True).returncode
    ):
        pytest.skip("no small file system can be mounted here")
    try:
        with pytest.raises(StoreError, match=os.strerror(errno.ENOSPC)):
            run_job(job, folder, progress=False)
        found = status(folder)
        assert found.counts["in work"] == 0 < found.counts["done"] < len(found.units)
        subprocess.run([*mount, "remount,size=4m", "t", folder], check=True)
        do(job, folder)
        assert left_over(folder) == []
        assert all(UnitStore(folder).fault(one.unit) == "" for one in status(folder).units)
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_the_study_finds_nothing(tmp_path):
    """A few kills over extraction, training and comparison, by the benchmark that does many."""
    study = Path(__file__).parents[2] / "analyses" / "benchmarks" / "crashes.py"
    command = [sys.executable, study, "--quick", "--out", tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["results"]
    assert sum(row["kills"] for row in found["kills"]) >= 6 and found["faults"] == []


class TestWeights:
    """Files of a model that change under a running job."""

    @pytest.fixture
    def model(self, tmp_path):
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text("weights")
        work._loaded.cache_clear()
        yield folder
        work._loaded.cache_clear()

    def load(self, model, content, folder):
        return work._loaded(str(model), content, folder, device="cpu", dtype="float32", fold_ln=True)

    def test_before_they_are_read(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr(work, "load", lambda ref, **_: ref)
        planned = work.Contents().of_model(str(model))
        assert self.load(model, planned, tmp_path) == str(model)
        work._loaded.cache_clear()
        (model / "model.safetensors").write_text("others!")
        with pytest.raises(InputError, match="has changed since the job was planned: run the job again"):
            self.load(model, planned, tmp_path)

    def test_while_they_are_read(self, model, tmp_path, monkeypatch):
        def load(ref, **_):
            (model / "model.safetensors").write_text("others!")

        monkeypatch.setattr(work, "load", load)
        planned = work.Contents().of_model(str(model))
        with pytest.raises(InputError, match="has changed since the job was planned"):
            self.load(model, planned, tmp_path)
