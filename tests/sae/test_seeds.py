import numpy as np
import pytest

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae import MATCHED_SHARE_EXCESS, matched_share_excess, train


@pytest.fixture(scope="module")
def rotated(planted):
    """One model's activations and their rotation, with latents of two SAE seeds each, and the SAEs."""
    X, *_ = planted(n=2000)
    Q = np.linalg.qr(np.random.default_rng(9).normal(size=(32, 32)))[0]
    tables = X, (X @ Q).astype(np.float32)
    saes = [[train(T, width=128, k=5, steps=500, seed=s) for s in (0, 1)] for T in tables]
    latents = [[sae.encode(T) for sae in pair] for T, pair in zip(tables, saes, strict=True)]
    return saes, latents


def test_a_model_against_itself_shares_exactly_the_baseline(rotated):
    _, (a, _) = rotated
    found = matched_share_excess(a, a, n_permutations=0)
    assert found.excess.value == found.excess.low == found.excess.high == 0
    assert found.share.value == found.seed_a.value == found.seed_b.value < 1


def test_a_rotated_representation_shares_what_seeds_share(rotated):
    """Activation matching sees through a rotation; decoder cosine does not, so it is not the primary measure."""
    from mechdecouple.sae import match

    saes, (a, b) = rotated
    found = matched_share_excess(a, b, n_permutations=19)
    assert abs(found.excess.value) < MATCHED_SHARE_EXCESS.margin
    assert found.share.p == pytest.approx(0.05)
    one = match(a[0], b[1], decoders=(saes[0][0].decoder, saes[1][1].decoder), n_permutations=0)
    seeds = match(a[0], a[1], decoders=(saes[0][0].decoder, saes[0][1].decoder), n_permutations=0)
    assert one.cosine_share.value < 0.05
    assert seeds.cosine_share.value > 0.3


def test_the_excess_is_share_less_mean_baseline_and_paired():
    rng = np.random.default_rng(0)
    base = rng.random((1000, 40)) < 0.1

    def run(features, flip, seed):
        noise = np.random.default_rng(seed)
        seen = base[:, features]
        return np.where(noise.random(seen.shape) < flip, ~seen, seen).astype(np.float32)

    a = [run(np.arange(30), 0.01, s) for s in (1, 2)]
    b = [run(np.arange(10, 40), 0.03, s) for s in (3, 4)]
    found = matched_share_excess(a, b, n_permutations=9)
    mean_seed = (found.seed_a.value + found.seed_b.value) / 2
    assert found.excess.value == pytest.approx(found.share.value - mean_seed)
    assert found.share.value == pytest.approx(20 / 30, abs=0.1)
    assert found.excess.high < -MATCHED_SHARE_EXCESS.margin
    assert (found.excess.low, found.excess.high) == pytest.approx(found.replicates.interval())
    assert found.spread == pytest.approx(abs(found.matchings[0, 1].share.value - found.matchings[1, 0].share.value))
    table = found.frame()
    assert list(table.metric) == ["matched_share", "matched_share_seed", "matched_share_seed", "matched_share_excess"]
    assert list(table.model_b) == ["B", "", "", "B"]
    assert "matched_share_excess" in found._repr_html_()


def test_three_seeds_are_averaged_over_all_pairs():
    rng = np.random.default_rng(0)
    latents = [(rng.random((300, 8)) < 0.2).astype(np.float32) for _ in range(3)]
    found = matched_share_excess(latents, latents, n_permutations=0)
    assert set(found.matchings) == {(i, j) for i in range(3) for j in range(3) if i != j}


def test_what_cannot_be_compared_is_refused_or_has_a_reason():
    rng = np.random.default_rng(0)
    a = [(rng.random((100, 8)) < 0.3).astype(np.float32) for _ in range(2)]
    with pytest.raises(InputError, match="SAEs of 1 and 1 seeds"):
        matched_share_excess(a[:1], a[:1])
    with pytest.raises(InputError, match="SAEs of 2 and 1 seeds"):
        matched_share_excess(a, a[:1])
    with pytest.raises(MismatchError, match="90 and 100 rows"):
        matched_share_excess(a, [a[0], a[1][:90]])
    dead = matched_share_excess(a, [np.zeros_like(a[0])] * 2)
    assert np.isnan(dead.excess.value) and "no latent firing" in dead.excess.reason
