import dataclasses

import numpy as np
import pytest

from mechdecouple.sae.crosscoder.evaluate import blocks_of, encoded
from mechdecouple.sae.crosscoder.pairs import pair_rows
from mechdecouple.sae.crosscoder.scaling import latent_scale, latent_scalings
from mechdecouple.zoo.dictionaries import planted_pair


def _scalings(crosscoder, a, b, n_blocks=10):
    pairs = pair_rows(a, b)
    blocks, n_groups = blocks_of(pairs, None, n_blocks, 0)
    return latent_scalings(crosscoder, pairs, encoded(crosscoder, pairs), blocks, n_groups), blocks


def test_the_scale_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    f, X, direction = rng.random(40), rng.normal(size=(40, 5)), rng.normal(size=5)
    found = latent_scale(f, X, direction)
    design = np.outer(f, direction).reshape(-1, 1)
    assert found == pytest.approx(np.linalg.lstsq(design, X.reshape(-1), rcond=None)[0][0])
    assert np.isnan(latent_scale(f, X, np.zeros(5)))


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_beta_mends_a_decoder_of_the_wrong_length(readable, ideal, factor):
    decoder = readable.directions_a.copy()
    decoder[2] *= factor
    (of_a, of_b), _ = _scalings(ideal(readable, decoder_a=decoder), readable.a, readable.b)
    assert of_a.beta.value[2] == pytest.approx(1 / factor, rel=0.03)
    assert of_b.beta.value[2] == pytest.approx(1, rel=0.03)
    assert np.isnan(of_a.beta.value[readable.kinds == "only b"]).all()


def test_lengths_are_those_of_the_planted_directions(readable, ideal):
    crosscoder = ideal(readable)
    (of_a, of_b), _ = _scalings(crosscoder, readable.a, readable.b)
    expected_a = np.square(crosscoder.scale_a * (readable.kinds != "only b"))
    expected_b = np.square(crosscoder.scale_b * 7 * (readable.kinds != "only a"))
    np.testing.assert_allclose(of_a.left.value, expected_a, atol=0.03 * expected_a.max())
    np.testing.assert_allclose(of_b.left.value, expected_b, atol=0.03 * expected_b.max())


def test_sums_over_blocks_are_what_they_claim(readable, ideal):
    """Both lengths of one latent, and a replicate, straight from the definition."""
    decoder = 0.7 * readable.directions_b
    crosscoder = ideal(readable, decoder_b=decoder)
    a, b = readable.a[:300], readable.b[:300]
    (_, of_b), blocks = _scalings(crosscoder, a, b)
    unshrunk = dataclasses.replace(crosscoder, decoder_b=decoder * np.median(of_b.beta.value[:8]).astype(np.float32))
    codes = crosscoder.encode(a, b).astype(float)
    rebuilt = unshrunk.decode_b(codes.astype(np.float32)).astype(float)
    j = 3
    left = b - rebuilt + np.outer(codes[:, j], unshrunk.decoder_b[j])
    f = codes[:, j] - codes[:, j].mean()
    for target, found in ((left, of_b.left[j]), (rebuilt, of_b.rebuilt[j])):
        target = (target - target.mean(0)) * crosscoder.scale_b
        for kept, expected in ((np.ones(300, bool), found.value), (blocks != 4, found.replicates[4])):
            c = [target[kept & (blocks == k)].T @ f[kept & (blocks == k)] for k in np.unique(blocks[kept])]
            p = [np.square(f[kept & (blocks == k)]).sum() for k in np.unique(blocks[kept])]
            across = sum(c[i] @ c[k] for i in range(len(c)) for k in range(len(c)) if i != k)
            weight = sum(p[i] * p[k] for i in range(len(p)) for k in range(len(p)) if i != k)
            assert expected == pytest.approx(across / weight, rel=0.02)  # β was clipped at the median, not set to it


def test_chance_is_left_out(ideal):
    """Where model B holds noise alone a fitted direction has a length, and its estimate is 0 on average."""
    pair = planted_pair(n=400, d_a=40, d_b=30, shared=0, only_a=30, only_b=0, active=3, noise=0.005)
    pair = dataclasses.replace(pair, b=np.random.default_rng(99).normal(size=(400, 30)).astype(np.float32))
    crosscoder = ideal(dataclasses.replace(pair, directions_b=np.eye(30)), decoder_b=np.zeros((30, 30)))
    crosscoder.encoder_a[:] = np.linalg.pinv(pair.directions_a * crosscoder.scale_a)
    crosscoder.encoder_b[:] = 0
    crosscoder.bias[:] = crosscoder.mean_a * crosscoder.scale_a @ crosscoder.encoder_a
    (_, of_b), _ = _scalings(crosscoder, pair.a, pair.b)
    codes = crosscoder.encode(pair.a, pair.b)
    f = codes - codes.mean(0)
    fitted = f.T @ (pair.b - pair.b.mean(0)) * crosscoder.scale_b / np.square(f).sum(0)[:, None]
    naive = np.square(fitted).sum(1)
    assert (naive > 0).all()
    assert abs(of_b.left.value.mean()) < 4 * of_b.left.value.std() / np.sqrt(30)
    assert abs(of_b.left.value.mean()) < 0.2 * naive.mean()


def test_intervals_cover(ideal):
    """The 95 % interval of a length that is 1 by construction, over latents and draws of the rows."""
    covered = []
    for seed in range(6):
        pair = planted_pair(n=400, d_a=20, d_b=26, shared=14, only_a=0, only_b=0, active=3, noise=0.1, seed=seed)
        crosscoder = ideal(pair)
        crosscoder.threshold[:] = 0.3
        (of_a, _), _ = _scalings(crosscoder, pair.a, pair.b)
        low, high = of_a.left.interval()
        covered += list((low <= crosscoder.scale_a**2) & (crosscoder.scale_a**2 <= high))
    assert 0.85 <= np.mean(covered) <= 1
