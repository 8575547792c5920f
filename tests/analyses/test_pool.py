import dataclasses
import operator
import os
import time
from functools import partial

import pytest
import torch

from analyses import _models as models
from analyses._arms import compare_arms
from analyses._faithful_models.recipes import READERS
from analyses._pool import spread, workers
from analyses.echo import rewarded, start
from mechdecouple.zoo import store


def test_what_jobs_return_is_in_their_order():
    # The first job ends last.
    assert spread([partial(_later, 0.5, "a"), partial(_later, 0.0, "b"), partial(_later, 0.0, "c")]) == ["a", "b", "c"]
    assert spread([]) == []


def test_jobs_run_in_other_processes_of_one_thread_and_a_single_one_here():
    assert os.getpid() not in spread([os.getpid, os.getpid])
    assert spread([torch.get_num_threads, torch.get_num_threads]) == [1, 1]
    assert spread([os.getpid]) == [os.getpid()]


@pytest.mark.parametrize("n", [1, 2])
def test_what_a_job_raises_is_raised(n):
    with pytest.raises(ZeroDivisionError):
        spread([partial(operator.truediv, 1, 0)] * n)


def test_after_an_error_what_waits_is_not_begun(tmp_path):
    with pytest.raises(ZeroDivisionError), workers() as pool:
        for i in range(12):
            pool.submit(_touched, 0.2, tmp_path / str(i))
        _ = 1 / 0
    assert len(list(tmp_path.iterdir())) < 12


def test_models_are_trained_after_those_they_start_from(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    first = dataclasses.replace(start(8), name="tiny-start", steps=2, batch_size=4)
    second = dataclasses.replace(rewarded(8, 0.1), name="tiny-rewarded", start=first, steps=2, batch_size=4)
    models.train_all([(second, 0), (first, 0), (second, 1)], progress=False)
    kept = {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "studies").glob("*.safetensors")}
    assert set(kept) == {"tiny-start@0", "tiny-rewarded@0", "tiny-start@1", "tiny-rewarded@1"}
    assert kept["tiny-start@0"] < kept["tiny-rewarded@0"]
    assert store.read(second, 0, models.directory()) is not None
    models.train_all([(second, 0), (first, 0)], progress=False)
    assert {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "studies").glob("*.safetensors")} == kept


def test_arms_of_several_seeds_are_compared_in_their_order(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    recipe = dataclasses.replace(READERS["plain"], name="tiny", steps=2, batch_size=4)
    pairs = [(models.trained(recipe, seed), models.trained(recipe, 2)) for seed in (1, 0)]
    found = compare_arms(pairs, recipe.task(64), progress=False, families=())
    assert [own.a for own in found.comparisons] == ["tiny@1", "tiny@0"]
    assert list(found.gates()["seed"]) == [0, 1]
    alone = compare_arms(pairs[1:], recipe.task(64), progress=False, families=())
    assert alone.gates()["difference"][0] == found.gates()["difference"][1]


def _touched(seconds, path):
    time.sleep(seconds)
    path.touch()


def _later(seconds, value):
    time.sleep(seconds)
    return value
