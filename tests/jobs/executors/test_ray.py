"""A cluster of two nodes for real; slow, but for what needs no cluster."""

import importlib.util
import logging
import sys
import threading
import time

import pytest

from mechdecouple.errors import InputError
from mechdecouple.jobs.executors import Ray, make_executor
from mechdecouple.jobs.executors.ray import _gpus
from mechdecouple.jobs.run import run_job
from mechdecouple.jobs.units import Unit


def on_a_cluster(test):
    test = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")(test)
    return pytest.mark.slow(test)


def test_without_ray_the_mend_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install "mechdecouple\[ray\]"'):
        make_executor("ray")


@pytest.mark.parametrize(("options", "words"), [({"workers": 0}, "workers = 0"), ({"gpus": -1}, "gpus = -1")])
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Ray(**options)


@pytest.mark.parametrize(
    ("stage", "spec"),
    [("extract", lambda d: {"loading": {"device": d}}), ("sae", lambda d: {"device": d}),
     ("compare", lambda d: {"options": {"device": d}})],
)  # fmt: skip
def test_a_worker_asks_for_a_gpu_where_the_job_computes_on_one(stage, spec):
    def asked(device, there):
        return _gpus([Unit("extract", {"loading": {"device": "cpu"}}, {}), Unit(stage, spec(device), {})], there)

    assert asked("cuda:1", {}) == asked("cuda", {"GPU": 1.0}) == asked("auto", {"GPU": 1.0}) == 1.0
    assert asked("auto", {"CPU": 8.0}) == asked("cpu", {"GPU": 1.0}) == 0.0


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def names(found):
    return sorted(outcome.label.split(":")[1].split()[0] for outcome in found)


@on_a_cluster
def test_the_bytes_are_those_of_one_process(cluster, nets, tmp_path, tree):
    job = nets.job("one two three", stages=("extract", "sae", "compare"), pairs="consecutive")
    found = run_job(job, tmp_path / "ray", executor=make_executor("ray", 2, cluster.address), progress=False)
    assert len(found.outcomes) == 8
    assert found.failed == ()
    run_job(job, tmp_path / "one", progress=False)
    assert tree(tmp_path / "ray") == tree(tmp_path / "one")


@on_a_cluster
def test_killed_workers_and_a_poisoned_unit(cluster, nets, tmp_path, tree, caplog):
    job = nets.job("one two killed deadly poisoned")
    found = run_job(job, tmp_path / "ray", executor=Ray(2, cluster.address), progress=False)
    assert names(outcome for outcome in found.outcomes if not outcome.reason) == ["killed", "one", "two"]
    reasons = {outcome.label.split(":")[1].split()[0]: outcome.reason for outcome in found.failed}
    assert "RuntimeError: a poisoned <net>" in reasons["poisoned"]
    assert "its worker was lost twice" in reasons["deadly"]
    assert sum("tried once more" in message for message in caplog.messages) == 2
    nets.flag("mended")
    again = run_job(job, tmp_path / "ray", executor=Ray(1, cluster.address), progress=False)
    assert names(again.outcomes) == ["deadly", "poisoned"]
    assert again.failed == ()
    run_job(job, tmp_path / "one", progress=False)
    assert tree(tmp_path / "ray") == tree(tmp_path / "one")


@on_a_cluster
def test_a_lost_node(cluster, nets, tmp_path, tree, caplog):
    """Both nodes hold a unit when one of them dies: its unit is done by the other."""
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    job = nets.job("one slowly slowly_too slowly_as_well")

    def lose():
        while len(list(nets.here.glob("slow-*"))) < 3:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        time.sleep(2)
        nets.flag("released")

    loser = threading.Thread(target=lose)
    loser.start()
    found = run_job(job, tmp_path / "ray", executor=Ray(3, cluster.address), progress=False)
    loser.join()
    assert found.failed == ()
    assert len(found.outcomes) == 4
    assert sum("tried once more" in message for message in caplog.messages) == 1
    run_job(job, tmp_path / "one", progress=False)
    assert tree(tmp_path / "ray") == tree(tmp_path / "one")


@on_a_cluster
def test_a_cluster_of_our_own(nets, tmp_path, caplog):
    """It is started and stopped; more than it has is refused before anything runs."""
    import ray

    with pytest.raises(InputError, match="no worker finds room: each asks for 1 CPU and 1 GPU, and the cluster has 1"):
        run_job(nets.job("one"), tmp_path, executor=Ray(1, gpus=1), progress=False)
    with caplog.at_level(logging.INFO, logger="mechdecouple"):
        assert run_job(nets.job("one two"), tmp_path, executor=Ray(1), progress=False).failed == ()
    assert any(record.name == "mechdecouple.extract" for record in caplog.records)
    assert not ray.is_initialized()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster at '127.0.0.1:1'"),
        ("ray://127.0.0.1:1", "no Ray"),
        ("here", "expected HOST:PORT"),
    ],
)
def test_no_cluster_at_the_address(address, words, tmp_path):
    unit = Unit("extract", {"threads": 1}, {})
    with pytest.raises(InputError, match=words):
        next(Ray(1, address).run([unit], tmp_path))
    assert list(Ray(1, address).run([], tmp_path)) == []  # nothing to do, nobody to ask
