"""Shards of a job: what a SLURM array or a loop in bash does without any engine."""

import pytest

from mechdecouple.errors import InputError
from mechdecouple.jobs.run import run_job

NAMES = "one two three four"


@pytest.fixture
def whole(nets, tmp_path, tree):
    run_job(nets.job(NAMES), tmp_path / "whole", progress=False)
    return tree(tmp_path / "whole")


def test_one_after_the_other(nets, tmp_path, tree, whole):
    parts = [run_job(nets.job(NAMES), tmp_path / "out", shard=(i, 3), progress=False) for i in range(3)]
    assert [len(part.outcomes) for part in parts] == [2, 1, 1]
    assert all(outcome.made for part in parts for outcome in part.outcomes)
    assert tree(tmp_path / "out") == whole


def test_all_at_once(nets, tmp_path, tree, whole, cheap_processes):
    """Some asked for the same units: each is made by one of them, and the other waits for it."""
    at_once(cheap_processes, nets.job(NAMES), tmp_path / "out", [(0, 2), (1, 2), (0, 1)])
    assert tree(tmp_path / "out") == whole


@pytest.mark.slow
def test_comparisons_that_share_extractions_at_once(nets, tmp_path, tree, cheap_processes):
    job = nets.job("one two three", stages=("compare",), pairs="all")
    at_once(cheap_processes, job, tmp_path / "out", [(0, 3), (1, 3), (2, 3)])
    run_job(job, tmp_path / "whole", progress=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def at_once(context, job, out, shards):
    runs = [
        context.Process(target=run_job, args=(job, out), kwargs={"shard": shard, "progress": False}) for shard in shards
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(300)
    assert [run.exitcode for run in runs] == [0] * len(shards)
    assert [p for p in out.rglob("*") if p.name.endswith((".part", ".partial", ".lock"))] == []


def test_a_shard_does_what_its_own_units_need(nets, tmp_path, monkeypatch):
    """The second of two comparisons, and the two extractions that it reads; nobody waits for the other shard."""
    done = []

    class Noted:
        def run(self, units, folder):
            done.extend(units)
            return iter(())

    job = nets.job("one two three", stages=("compare",), pairs="consecutive")
    run_job(job, tmp_path, executor=Noted(), shard=(1, 2), progress=False)
    assert [unit.stage for unit in done] == ["extract", "extract", "compare"]
    assert {unit.key for unit in done[:2]} == set(done[2].needs)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_cannot_be(nets, tmp_path, shard):
    with pytest.raises(InputError, match="write i/n with i from 0 to n - 1"):
        run_job(nets.job("one"), tmp_path / "out", shard=shard, progress=False)
    assert not (tmp_path / "out").exists()
