import subprocess
import sys
import time

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.sae import ARCHITECTURES, train


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


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_learns_the_planted_dictionary(planted, architecture):
    X, _codes, dictionary = planted()
    sae = train(X, architecture=architecture, width=64, k=4, steps=500, learning_rate=4e-3)
    latents = sae.encode(X)
    active = (latents > 0).sum(1).mean()
    assert (latents >= 0).all()
    assert 1 < active < 16
    if architecture in ("topk", "batchtopk", "matryoshka", "jumprelu"):
        assert active == pytest.approx(4, abs=1)
    np.testing.assert_allclose(np.linalg.norm(sae.decoder, axis=1), 1, atol=1e-4)
    # Matryoshka's inner dictionaries have to rebuild alone, so they merge features that are unrelated in this plant.
    assert (dictionary @ sae.decoder.T).max(1).mean() >= (0.7 if architecture == "matryoshka" else 0.9)
    assert 1 - ((X - sae.decode(latents)) ** 2).sum() / ((X - X.mean(0)) ** 2).sum() >= 0.6


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
