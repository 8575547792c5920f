import dataclasses

import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.zoo import store


@pytest.fixture
def recipe(recipes):
    return dataclasses.replace(recipes["factored"], steps=2, batch_size=16)


@pytest.fixture
def model(recipe):
    return recipe.train(progress=False)


def test_what_is_read_is_what_was_trained(recipe, model, tmp_path):
    store.write(model, recipe, 0, tmp_path)
    again = store.read(recipe, 0, tmp_path)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))
    assert {p.name for p in tmp_path.iterdir()} == {"factored@0.safetensors", "factored@0.json"}


def test_weights_of_another_recipe_or_seed_are_not_taken(recipe, model, tmp_path):
    store.write(model, recipe, 0, tmp_path)
    assert store.read(recipe, 1, tmp_path) is None
    assert store.read(dataclasses.replace(recipe, steps=3), 0, tmp_path) is None
    (tmp_path / "factored@0.json").unlink()
    assert store.read(recipe, 0, tmp_path) is None


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_damaged_weights_are_refused(recipe, model, tmp_path, keep):
    path = store.write(model, recipe, 0, tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"factored@0.safetensors is damaged .*: delete it"):
        store.read(recipe, 0, tmp_path)


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path))
    assert store.cache_directory() == tmp_path
    monkeypatch.delenv("MECHDECOUPLE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_directory() == tmp_path / ".cache" / "mechdecouple" / "zoo"


def test_facts_hold_the_command(recipe):
    assert store.facts(recipe, 3)["command"] == "mechdecouple zoo train factored --seed 3 --out DIR"


def test_shipped_weights_are_small():
    sizes = [p.stat().st_size for p in store.SHIPPED.iterdir()]
    assert max(sizes) <= 250_000 and sum(sizes) <= 2_000_000
