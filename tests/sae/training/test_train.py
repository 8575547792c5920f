import subprocess
import sys
import time

import numpy as np
import pytest

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError
from mechdecouple.sae import train
from mechdecouple.sae.training import rows
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.rows import Stored, table
from mechdecouple.sae.training.train import train_many


def test_importing_the_family_does_not_import_saelens():
    code = "import sys, mechdecouple.sae; sys.exit('sae_lens' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_topk_recovers_a_planted_dictionary(trained):
    sae, X, _codes, dictionary = trained
    assert (dictionary @ sae.decoder.T).max(1).mean() >= 0.9
    # Activation scaling and centring are folded in: raw activations come back in their own units.
    rebuilt = sae.decode(sae.encode(X))
    assert ((X - rebuilt) ** 2).sum() < 0.15 * ((X - X.mean(0)) ** 2).sum()
    rms = np.sqrt(((X - X.mean(0)) ** 2).sum(1).mean())
    assert sae.training["activation_scale"] == pytest.approx(np.sqrt(X.shape[1]) / rms, rel=1e-4)


def test_the_fit_does_not_depend_on_units_and_origin(planted):
    """Scaling is learnt from the data: the same rows in other units give the same latents in those units."""
    X, *_ = planted(n=800)
    settings = {"width": 64, "k": 4, "steps": 60}
    near, far = train(X, **settings), train(1000 * X, **settings)
    a, b = near.encode(X), far.encode(1000 * X)
    assert np.abs(1000 * a - b).max() < 1e-2 * b.max()


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(planted):
    X, *_ = planted(n=500)
    one, same, other = (train(X, width=48, k=4, steps=30, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.decoder, same.decoder)
    assert np.array_equal(one.encode(X), same.encode(X))
    assert not np.allclose(one.decoder, other.decoder)


def test_training_leaves_the_global_generator_and_the_input_alone(planted):
    import torch

    X, *_ = planted(n=300)
    before, kept = torch.random.get_rng_state(), X.copy()
    train(X, width=32, k=4, steps=5)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(X, kept)


def test_defaults_follow_the_data(planted):
    X, *_ = planted(n=400, d=32)
    sae = train(X, steps=2)
    assert sae.width == 100  # a quarter of the rows, less than 4·d
    assert (sae.encode(X) > 0).sum(1).max() <= 4


def two_points(planted, n=400):
    X, *_ = planted(n=n)
    return Activations.from_arrays({"x": X, "y": np.tanh(X[:, :12] / 10)}, [f"item {i}" for i in range(n)])


def test_trained_together_is_trained_apart(planted):
    """On one pass each dictionary becomes what it becomes alone, whatever else is trained beside it."""
    activations = two_points(planted)
    recipes = [
        Recipe(width=48, k=4, hook_point="x"),
        Recipe(width=24, k=2, seed=1, hook_point="x"),
        Recipe("jumprelu", width=24, k=2, hook_point="y"),
    ]
    together = train_many(activations, recipes, steps=20, batch_size=64, seed=5)
    for recipe, sae in zip(recipes, together, strict=True):
        (alone,) = train_many(activations[recipe.hook_point], [recipe], steps=20, batch_size=64, seed=5)
        assert np.array_equal(alone.decoder, sae.decoder)
        assert sae.hook_point == recipe.hook_point
        assert sae.width == recipe.width
    settings = {"width": 48, "k": 4, "steps": 20, "batch_size": 64}
    one = train(activations, "x", seed=5, **settings)
    (same,) = train_many(activations, [Recipe(width=48, k=4, seed=5, hook_point="x")], steps=20, batch_size=64, seed=5)
    assert np.array_equal(one.decoder, same.decoder)


def test_one_pass_reads_each_row_once_however_many_are_trained(planted, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_DISK_WINDOW", 20_000)
    activations = two_points(planted).save(tmp_path)
    asked = []
    select = Activations.select
    monkeypatch.setattr(Activations, "select", lambda self, r: (asked.append(len(r)), select(self, r))[1])

    def read_for(recipes):
        asked.clear()
        train_many(activations, recipes, steps=12, batch_size=40)
        return sum(asked)

    sample, drawn = 400, 12 * 40
    assert read_for([Recipe(width=16, k=2, hook_point="x")]) == sample + drawn
    many = [Recipe(width=16, k=2, seed=seed, hook_point=h) for h in ("x", "y") for seed in range(3)]
    assert read_for(many) == sample + drawn


def test_rows_on_disk_are_not_brought_into_memory(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(rows, "_DISK_WINDOW", 2**20)
    monkeypatch.setattr(rows, "SAMPLE_ROWS", 2000)
    X = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(60_000, 128))
    X[:] = np.random.default_rng(0).standard_normal((60_000, 128), dtype=np.float32)
    feed = Stored(table(np.load(tmp_path / "x.npy", mmap_mode="r"), ("x",)), batch_size=256)
    tracemalloc.start()
    feed.moments()
    for _ in feed.batches(300):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20 < X.nbytes / 3


def test_what_was_trained_on_is_recorded(planted):
    activations = two_points(planted)
    activations.manifest["model"] = {"name": "toy", "weight_hash": "ab", "processing": "none", "versions": {}}
    activations.manifest["task"] = {"name": "tokens", "fingerprint": "cd"}
    sae = train(activations, "y", width=24, k=2, steps=60, batch_size=50, seed=7)
    found = sae.training
    assert found["source"] == {
        "kind": "activations", "rows": 400, "position": "last", "task": {"name": "tokens", "fingerprint": "cd"},
        "model": {"name": "toy", "weight_hash": "ab", "processing": "none"},
    }  # fmt: skip
    assert (found["order_seed"], found["batch_size"], found["steps"], found["sample_rows"]) == (7, 50, 60, 400)
    assert (sae.model, sae.hook_point) == ("toy", "y")
    steps = [point["step"] for point in found["curve"]]
    assert steps[0] == 0
    assert steps[-1] == 59
    assert {"loss", "l0", "fvu"} <= set(found["curve"][0])
    assert train(activations, "y", width=24, k=2, steps=2, model="mine").model == "mine"


def test_where_rows_lie_and_their_precision_do_not_matter(planted, tmp_path):
    X, *_ = planted(n=300)
    np.save(tmp_path / "x.npy", X)
    settings = {"width": 32, "k": 4, "steps": 10}
    whole = train(X, **settings)
    assert np.array_equal(train(np.load(tmp_path / "x.npy", mmap_mode="r"), **settings).decoder, whole.decoder)
    assert np.array_equal(train(X.astype(np.float64), **settings).decoder, whole.decoder)
    assert train(X.astype(np.float16), **settings).width == 32


@pytest.mark.slow
def test_a_small_sae_trains_within_seconds(planted):
    X, *_ = planted(n=4000, d=64, m=128, active=6)
    start = time.process_time()
    train(X)
    assert time.process_time() - start < 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "dense"}, "unknown SAE architecture 'dense'"),
        ({"k": 40, "width": 20}, "k is 40 but the SAE has only 20"),
        ({"k": 0}, "k is 0"),
        ({"width": 0}, "width is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"learning_rate": 1e30, "steps": 60}, "diverged"),
    ],
)
def test_settings_out_of_range_are_refused(planted, change, words):
    X, *_ = planted(n=200)
    with pytest.raises(InputError, match=words):
        train(X, **change)


def test_unusable_activations_are_refused(planted):
    X, *_ = planted(n=200)
    with pytest.raises(InputError, match=r"shape \(200,\)"):
        train(X[:, 0])
    with pytest.raises(InputError, match="row 17"):
        broken = X.copy()
        broken[17, 3] = np.nan
        train(broken)
    with pytest.raises(InputError, match="all 200 rows of the activations are the same"):
        train(np.full((200, 8), 3.1, np.float32))


def test_what_is_meant_must_be_clear(planted):
    activations = two_points(planted)
    with pytest.raises(InputError, match="no hook point is named, and there are x, y"):
        train(activations, steps=2)
    with pytest.raises(InputError, match="'z' was not extracted"):
        train(activations, "z", steps=2)
    with pytest.raises(InputError, match="no recipe"):
        train_many(activations, [])
    with pytest.raises(InputError, match="an array holds one hook point, the recipes name x, y"):
        train_many(activations["x"], [Recipe(hook_point="x"), Recipe(hook_point="y")])
    with pytest.raises(InputError, match="seed is -1"):
        train(activations, "x", seed=-1)
    with pytest.raises(InputError, match="no rows"):
        train(activations.select([]), "x")
