import dataclasses

import numpy as np
import pytest
import torch

from mechdecouple import zoo
from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, load_pretrained
from mechdecouple.tasks import Task
from mechdecouple.zoo import recipes as registry


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A cache of its own, and a recipe that trains in a moment."""
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "cache"))
    recipe = dataclasses.replace(registry.RECIPES["honest"], steps=2, batch_size=16)
    monkeypatch.setitem(registry.RECIPES, "honest", recipe)
    return tmp_path


def test_names_tell_what_is_there():
    listed = {name: (text, ready) for name, text, ready in zoo.names()}
    for name in ("honest", "persuader", "persuader-open", "flip", "ignorant", "mistaken", "factored", "fractured"):
        assert name in listed and listed[name][0]
    assert sum(name.startswith("planted-") for name in listed) == 8
    assert listed["demo-tidy"][1] and listed["demo-fractured"][1] and listed["planted-inert"][1]


def test_every_name_has_its_task():
    for name, _, _ in zoo.names():
        assert len(zoo.task(name, n=40, seed=1)) == 40
    assert zoo.task("honest").fingerprint == zoo.task("persuader").fingerprint
    first, again, other = (zoo.task("honest", n=40, seed=s).ids for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_trained_models_are_kept_and_read_back(quick):
    assert not (quick / "cache").exists()
    trained = zoo.load("honest", seed=4, progress=False)
    stored = quick / "cache" / "honest@4.safetensors"
    before = stored.stat().st_mtime_ns
    again = zoo.load("honest", seed=4, progress=False)
    assert stored.stat().st_mtime_ns == before and trained.weight_hash == again.weight_hash
    assert (trained.name, trained.ref) == ("honest@4", "zoo:honest@4")


def test_a_cache_that_cannot_be_written_is_said_and_survived(quick):
    (quick / "cache").write_text("a file where the directory should be")
    with pytest.warns(UserWarning, match="cannot be written .*: honest is not kept"):
        assert zoo.load("honest", progress=False).name == "honest"


def test_export_can_be_loaded_like_any_model(quick):
    """Logits, weights, bottleneck and task are the same from the directory."""
    target = zoo.export("honest", quick / "out")
    inside, outside = zoo.load("honest", progress=False), load_pretrained(target)
    task = Task.from_file(target / "task.csv", honest="honest")
    assert task.fingerprint == zoo.task("honest").fingerprint and task.honest == "honest"
    tokens = torch.tensor(outside.tokenizer(task.prompts[:64])["input_ids"])
    hooks = ["blocks.1.attn.hook_pattern"]
    with torch.no_grad():
        a, b = (m.forward(Batch(tokens=tokens), capture=hooks) for m in (inside, outside))
    torch.testing.assert_close(a.logits, b.logits, rtol=0, atol=0)
    assert (b.activations[hooks[0]][:, :, 6:, 1:5] == 0).all()


def test_planted_readouts_are_loaded_as_modules():
    model, task = zoo.load("planted-fractured"), zoo.task("planted-fractured", n=64)
    out = model.forward(Batch(array=torch.from_numpy(task.inputs)), capture=["representation"])
    assert out.activations["representation"].shape == (64, 128)
    np.testing.assert_array_equal(out.logits.argmax(1), task.answers)


@pytest.mark.parametrize("call", [zoo.train, zoo.load, zoo.task, lambda name: zoo.export(name, "never")])
def test_unknown_names_are_refused(call):
    with pytest.raises(ModelError, match=r"the zoo has no 'honset'; did you mean honest"):
        call("honset")


def test_planted_readouts_are_neither_trained_nor_exported(tmp_path):
    for call in (lambda: zoo.train("planted-inert"), lambda: zoo.export("planted-inert", tmp_path / "x")):
        with pytest.raises(ModelError, match="built and not trained"):
            call()
    assert not (tmp_path / "x").exists()


def test_the_demo_refers_to_what_is_shipped():
    demo = zoo.demo()
    for ref in (demo.a, demo.b):
        assert {name: ready for name, _, ready in zoo.names()}[ref.removeprefix("zoo:")]
    assert demo.options["position"] in {
        f"position_{p.removeprefix('position_')}" for p in zoo.task("demo-tidy").positions
    }
