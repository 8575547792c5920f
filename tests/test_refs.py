"""What a user may type or hand over for a model and a task."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from mechdecouple import load, load_task
from mechdecouple.errors import InputError, ModelError, TaskError

FACTORY = """
import torch

def mlp():
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
"""


def test_a_directory_is_named_after_its_last_part(gpt2_dir):
    model = load(gpt2_dir)
    assert (model.name, model.architecture, model.head) == ("tiny-gpt2", "GPT2LMHeadModel", "lm")
    assert model.tokenizer is not None
    assert load(str(gpt2_dir), name="mine").name == "mine"


def test_a_factory_gives_the_module_it_returns(tmp_path, monkeypatch):
    (tmp_path / "factories_of_refs.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = load("factories_of_refs:mlp")
    assert model.input_kind == "array"
    assert "1" in model.hook_points


def test_a_factory_runs_from_the_working_directory(tmp_path, monkeypatch):
    """An installed command has its own folder first on the path, not the user's."""
    (tmp_path / "factories_of_cwd.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    assert load("factories_of_cwd:mlp").input_kind == "array"


def test_a_module_is_taken_as_it_is():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
    assert load(module, name="net").module is module


def test_the_zoo_by_name_and_seed():
    model = load("zoo:demo-tidy")
    assert model.name == "demo-tidy"
    assert load("zoo:demo-tidy", name="mine").name == "mine"
    assert load("zoo:demo-tidy", fold_ln=False).weight_hash == model.weight_hash


def test_models_of_the_zoo_take_the_dtype_asked_for():
    model = load("zoo:demo-tidy", dtype="bfloat16")
    assert model.dtype == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that is to be missing")
def test_models_of_the_zoo_are_not_left_on_another_device_in_silence():
    with pytest.raises(ModelError, match="device 'cuda' cannot be used"):
        load("zoo:demo-tidy", device="cuda")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("zoo:honest@one", "whole number, found 'one'"),
        ("zoo:honset", "did you mean honest"),
        (7, "cannot wrap int"),
        ("no/such/directory/anywhere", "no such file or directory"),
        ("no_such_module_at_all:mlp", "cannot be imported"),
    ],
)
def test_what_stands_for_no_model_is_refused(ref, message):
    with pytest.raises(ModelError if "@" not in str(ref) else InputError, match=message):
        load(ref)


def test_a_task_from_a_file_a_frame_and_a_data_set_is_the_same(yes_no_csv, yes_no_items):
    datasets = pytest.importorskip("datasets")
    prints = {
        load_task(source, name="items").fingerprint
        for source in (yes_no_csv, str(yes_no_csv), yes_no_items, datasets.Dataset.from_pandas(yes_no_items))
    }
    assert len(prints) == 1


def test_a_task_is_taken_as_it_is(yes_no_csv):
    task = load_task(yes_no_csv)
    assert load_task(task) is task


@pytest.mark.parametrize("source", ["zoo:demo-tidy", "task"])
def test_options_of_tables_are_not_dropped_in_silence(source, yes_no_csv):
    ref = load_task(yes_no_csv) if source == "task" else source
    with pytest.raises(InputError, match=r"honest = 'plain' is for tables.*leave it out"):
        load_task(ref, honest="plain", template=None)
    assert len(load_task(ref, honest=None, columns={}))


def test_inputs_may_be_an_array(yes_no_items):
    table = yes_no_items[["id"]].assign(answer="0")
    task = load_task(table, inputs=np.zeros((60, 4), np.float32))
    assert task.performance == "class"
    assert task.inputs.shape == (60, 4)


def test_what_stands_for_no_task_is_refused():
    with pytest.raises(TaskError, match=r"expected a datasets\.Dataset, got int"):
        load_task(7)
