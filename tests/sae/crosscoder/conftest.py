import numpy as np
import pytest

from mechdecouple.sae.crosscoder import Crosscoder, train_crosscoder
from mechdecouple.zoo.dictionaries import planted_pair

HELD = 1500


def _scaled(side, directions):
    """Mean, scale, and the directions in scaled units."""
    mean = side.mean(0)
    scale = float(np.sqrt(directions.shape[1]) / np.sqrt(np.square(side - mean).sum(1).mean()))
    return mean, scale, directions * scale


def _ideal(pair, decoder_a=None, decoder_b=None, latents=None):
    """The crosscoder that reads off the planted codes and writes with the given decoders (the planted ones if none).

    ``latents``: which feature each latent stands for; by default each feature has one. Needs no more features than
    dimensions, so that codes can be read off linearly.
    """
    latents = np.arange(len(pair.kinds)) if latents is None else latents
    mean_a, scale_a, scaled_a = _scaled(pair.a, pair.directions_a)
    mean_b, scale_b, scaled_b = _scaled(pair.b, pair.directions_b)
    reader = np.linalg.pinv(np.hstack([scaled_a, scaled_b]))  # [da + db, m]
    centre = np.concatenate([mean_a * scale_a, mean_b * scale_b])
    decoder_a = pair.directions_a[latents] if decoder_a is None else decoder_a
    decoder_b = pair.directions_b[latents] if decoder_b is None else decoder_b
    d_a = pair.a.shape[1]
    arrays = dict(
        encoder_a=reader[:d_a, latents], encoder_b=reader[d_a:, latents], bias=(centre @ reader)[latents],
        threshold=np.full(len(latents), 0.25), decoder_a=decoder_a, decoder_b=decoder_b,
        b_dec_a=np.zeros(d_a), b_dec_b=np.zeros(pair.b.shape[1]), mean_a=mean_a, mean_b=mean_b,
    )  # fmt: skip
    arrays = {name: np.asarray(values, np.float32) for name, values in arrays.items()}
    return Crosscoder(**arrays, scale_a=scale_a, scale_b=scale_b, kind="batchtopk")


@pytest.fixture(scope="session")
def ideal():
    return _ideal


@pytest.fixture(scope="session")
def readable():
    """A pair whose codes can be read off exactly: fewer features than dimensions, hardly any noise."""
    return planted_pair(n=1200, d_a=20, d_b=26, shared=8, only_a=3, only_b=3, active=3, noise=0.005, norm_b=7.0)


@pytest.fixture(scope="session")
def pair():
    """More features than dimensions; two shared features are faint in A and two in B."""
    return planted_pair(n=4500, d_a=18, d_b=26, shared=18, only_a=6, only_b=6, faint=4, active=3, norm_a=40.0)


@pytest.fixture(scope="session")
def trained(pair):
    """A crosscoder of each kind, trained on all rows but the last ``HELD``."""
    a, b = pair.a[:-HELD], pair.b[:-HELD]
    options = dict(width=48, k=3, steps=500, batch_size=128, dedicated=0.15, learning_rate=6e-3)
    return {kind: train_crosscoder(a, b, kind=kind, **options) for kind in ("batchtopk", "l1", "dedicated")}


@pytest.fixture(scope="session")
def held(pair):
    return pair.a[-HELD:], pair.b[-HELD:], pair.codes[-HELD:]
