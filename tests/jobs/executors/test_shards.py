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


def test_two_at_once(nets, tmp_path, tree, whole, cheap_processes):
    """Both asked for the same units: each is made by one of them, and the other waits for it."""
    shards = [(0, 2), (1, 2), (0, 1)]
    runs = [
        cheap_processes.Process(
            target=run_job, args=(nets.job(NAMES), tmp_path / "out"), kwargs={"shard": shard, "progress": False}
        )
        for shard in shards
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert tree(tmp_path / "out") == whole
    left = [p for p in (tmp_path / "out").rglob("*") if p.name.endswith((".part", ".partial", ".lock"))]
    assert left == []


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
