import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from mechdecouple.errors import InputError, MechDecoupleError
from mechdecouple.jobs.executors import Processes, make_executor, processes
from mechdecouple.jobs.run import run_job

SCRIPT = """
import sys
sys.path.append({path!r})
from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.executors import Processes
from mechdecouple.jobs.run import run_job
if __name__ == "__main__":
    run_job(make_job({job!r}), sys.argv[1], executor=Processes(2), progress=False)
"""


def units(found, word=""):
    return sorted(o.label.split(":")[1].split()[0] for o in found if word in o.reason and bool(o.reason) == bool(word))


def test_killed_workers_and_a_poisoned_unit(nets, tmp_path, cheap_processes, tree, caplog):
    """Killed in mid-unit, tried again and whole; killed twice, failed; poisoned, failed; the rest as in one process."""
    job = nets.job("one two three killed deadly poisoned")
    found = run_job(job, tmp_path / "many", executor=Processes(2), progress=False)
    assert units(found.outcomes) == ["killed", "one", "three", "two"]
    assert units(found.failed, "RuntimeError: a poisoned <net>") == ["poisoned"]
    assert units(found.failed, "its worker was lost twice (process killed by SIGKILL)") == ["deadly"]
    assert sum("tried once more" in message for message in caplog.messages) == 2
    assert multiprocessing.active_children() == []

    nets.flag("mended")
    again = run_job(job, tmp_path / "many", progress=False)
    assert units(again.outcomes) == ["deadly", "poisoned"]
    assert again.failed == ()

    run_job(job, tmp_path / "one", progress=False)
    assert len(tree(tmp_path / "one")) > 6
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def test_an_interruption_ends_the_workers(nets, tmp_path, cheap_processes):
    """One unit is done, another in work: closing the run, as an exception does, leaves no process and no lock."""
    job, outcomes = nets.job("one slowly"), []

    class Interrupted(Processes):
        def run(self, units, folder):
            for outcome in (run := super().run(units, folder)):
                outcomes.append(outcome)
                while not list(nets.here.glob("slow-*")):
                    time.sleep(0.01)
                run.close()
                raise KeyboardInterrupt
                yield

    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path / "out", executor=Interrupted(2), progress=False)
    assert units(outcomes) == ["one"]
    assert multiprocessing.active_children() == []
    nets.flag("released")
    assert units(run_job(job, tmp_path / "out", progress=False).outcomes) == ["slowly"]


def test_what_is_logged_in_a_worker_is_logged_here(nets, tmp_path, cheap_processes, caplog):
    with caplog.at_level("INFO", logger="mechdecouple"):
        run_job(nets.job("one"), tmp_path, executor=Processes(1), progress=False)
    assert any(record.name == "mechdecouple.extract" and "items/s" in record.message for record in caplog.records)


def test_more_threads_than_cores_are_told_in_one_line(nets, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(processes, "cores", lambda: 4)
    monkeypatch.setattr(processes, "share_out", lambda units, folder, crew, size: iter([size]))
    job = _planned(nets.job("one two three", threads=2))
    assert list(Processes(3).run(job, tmp_path)) == [3]
    assert caplog.messages == ["3 workers of 2 threads on 4 cores slow each other down: 2 would do"]
    caplog.clear()
    assert list(Processes().run(job, tmp_path)) == [2]
    assert list(Processes(1).run(_planned(nets.job("one", threads=8)), tmp_path)) == [1]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("count", "named", "found"),
    [(1, None, []), (2, None, ["0", "1"]), (2, "3,GPU-8f", ["3", "GPU-8f"]), (2, "5,6,-1,7", ["5", "6"])],
)
def test_gpus_by_the_names_that_cuda_gives_them(monkeypatch, count, named, found):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert processes.gpus({} if named is None else {"CUDA_VISIBLE_DEVICES": named}) == found


@pytest.mark.parametrize(("device", "gpu"), [("cuda", "6"), ("cuda:0", "none")])
def test_a_process_sees_a_gpu_of_its_own_unless_the_job_names_one(
    nets, tmp_path, cheap_processes, monkeypatch, device, gpu
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(processes, "gpus", lambda environ: ["6", "7"])
    monkeypatch.setattr(processes, "devices_of", lambda units: {device})
    assert run_job(nets.job("seeing"), tmp_path, executor=Processes(1), progress=False).failed == ()
    assert [flag.name for flag in nets.here.glob("gpu-*")] == [f"gpu-{gpu}"]


def test_a_process_that_cannot_start_ends_the_run_with_the_mend(nets, tmp_path, cheap_processes, monkeypatch):
    monkeypatch.setattr(processes, "_serve", _nothing)
    with pytest.raises(MechDecoupleError, match=r"no worker could be started: process ended with code 0; in a script"):
        run_job(nets.job("one two"), tmp_path, executor=Processes(2), progress=False)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_every_stage_leaves_the_bytes_of_one_process(nets, tmp_path, tree):
    job = nets.job("one two three", stages=("extract", "sae", "compare"), pairs="consecutive")
    found = run_job(job, tmp_path / "many", executor=Processes(2), progress=False)
    assert len(found.outcomes) == 8
    assert found.failed == ()
    run_job(job, tmp_path / "one", progress=False)
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_parent(nets, tmp_path, number):
    """As Ctrl-C does, an interruption goes to the whole group; a kill hits the parent alone."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(job=nets.job("slowly slowly_too").model_dump(), path=str(nets.here)))
    parent = subprocess.Popen([sys.executable, script, tmp_path / "out"], stderr=-1, text=True, start_new_session=True)
    while len(flags := list(nets.here.glob("slow-*"))) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    (os.killpg if number == signal.SIGINT else os.kill)(parent.pid, number)
    _, said = parent.communicate(timeout=60)
    assert said.count("Traceback") == (number == signal.SIGINT)
    workers = [int(flag.name.removeprefix("slow-")) for flag in flags]
    limit = time.monotonic() + 30
    while any(map(_alive, workers)):
        assert time.monotonic() < limit
        time.sleep(0.1)
    nets.flag("released")
    assert units(run_job(nets.job("slowly slowly_too"), tmp_path / "out", progress=False).outcomes) == [
        "slowly",
        "slowly_too",
    ]


def test_workers_below_one_are_refused():
    with pytest.raises(InputError, match="workers = 0"):
        make_executor("processes", 0)


def _alive(pid):
    """Not where it only waits to be buried by whoever inherited it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _planned(job):
    from mechdecouple.jobs.plan import plan_job

    return plan_job(job).units


_nothing = print
