import numpy as np
import pytest

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae import MATCHED_SHARE_EXCESS, match, matched_share_excess, train


@pytest.fixture(scope="module")
def rotated(planted):
    """One model's activations and their rotation, with latents of two SAE seeds each, and the SAEs."""
    X, *_ = planted(n=2000)
    Q = np.linalg.qr(np.random.default_rng(9).normal(size=(32, 32)))[0]
    tables = X, (X @ Q).astype(np.float32)
    saes = [[train(T, width=128, k=5, steps=300, seed=s) for s in (0, 1)] for T in tables]
    latents = [[sae.encode(T) for sae in pair] for T, pair in zip(tables, saes, strict=True)]
    return saes, latents


def test_a_model_against_itself_shares_exactly_the_baseline(rotated):
    _, (a, _) = rotated
    found = matched_share_excess(a, a, n_permutations=0)
    assert found.excess.value == found.excess.low == found.excess.high == 0
    assert found.share.value == found.seed_a.value == found.seed_b.value < 1
    for one in found.kinds.values():
        assert one.excess.value == one.excess.low == one.excess.high == 0
        assert one.share.value == one.seed.value
    table = found.latents()
    assert (table.seed_kind == table.kind).all() and (table.seed_correlation == table.correlation).all()


def test_a_rotated_representation_shares_what_seeds_share(rotated):
    """Activation matching sees through a rotation; decoder cosine does not, so it is not the primary measure."""
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
    first = ["matched_share", "matched_share_seed", "matched_share_seed", "matched_share_excess"]
    assert list(table.metric[:4]) == first and list(table.model_b[:4]) == ["B", "", "", "B"]
    assert "matched_share_excess" in found._repr_html_()


@pytest.fixture(scope="module")
def chance_features():
    """Latents of two seeds of A and of B: 20 features of both, 10 of each model, and 5 or 6 that one seed found."""
    rng = np.random.default_rng(0)
    base = rng.random((1200, 62)) < 0.1
    of = {("a", s): np.r_[0:20, 20:30, 40 + 5 * s : 45 + 6 * s] for s in (0, 1)}
    of |= {("b", s): np.r_[0:20, 30:40, 51 + 5 * s : 56 + 6 * s] for s in (0, 1)}
    return [[base[:, of[side, s]].astype(np.float32) for s in (0, 1)] for side in "ab"]


def test_each_kind_is_set_against_the_seeds_of_its_own_model(chance_features):
    a, b = chance_features
    found = matched_share_excess(a, b, n_permutations=9)
    for side in "ab":
        shared, only = found.kinds[side, "shared"], found.kinds[side, "only"]
        mean = (1 / 35 + 1 / 36) / 2  # of what one latent is of the live ones
        assert shared.share.value == pytest.approx(20 * mean) and shared.seed.value == pytest.approx(30 * mean)
        assert shared.excess.value == pytest.approx(-10 * mean) and only.excess.value == pytest.approx(10 * mean)
        assert shared.share.null == 0 and shared.share.p == pytest.approx(0.1)
        assert only.share.null == 1 and only.share.p == pytest.approx(0.1)
        total = sum(found.kinds[side, kind].share.value for kind in ("shared", "split", "merged", "only"))
        assert total == pytest.approx(1)
        assert (only.excess.low, only.excess.high) == pytest.approx(only.replicates.interval())
    rows = found.kind_measurements("one", "two", hook_point="x", hook_point_b="y")
    assert len(rows) == 24
    of_b = [r for r in rows if r.model == "two" and r.metric == "latents_only"]
    assert [(r.model_b, r.hook_point, r.hook_point_b) for r in of_b] == [("one", "y", "x")]
    seeds = [r for r in rows if r.metric == "latents_only_seed"]
    assert [(r.model, r.model_b, r.hook_point) for r in seeds] == [("one", "", "x"), ("two", "", "y")]


def test_what_one_seed_found_by_chance_is_told_from_what_one_model_has(chance_features):
    a, b = chance_features
    table = matched_share_excess(a, b, n_permutations=0).latents(1, 0)
    only = table[table.kind == "only"]
    for side, by_chance in (("a", 6), ("b", 5)):
        seed_kind = only[only.side == side].set_index("latent").seed_kind
        assert (seed_kind.loc[20:29] == "shared").all() and (seed_kind.loc[30:] == "only").all()
        assert len(seed_kind) == 10 + by_chance
    np.testing.assert_allclose(table.seed_correlation[table.seed_kind == "shared"], 1)


def test_decoders_go_to_their_own_matching(chance_features):
    a, b = chance_features
    rng = np.random.default_rng(0)
    W = [rng.normal(size=(35 + s, 9)) for s in (0, 1, 0, 1)]
    found = matched_share_excess(a, b, decoders=(W[:2], W[2:]), n_permutations=0)
    expected = match(a[0], b[1], decoders=(W[0], W[3]), n_permutations=0)
    np.testing.assert_array_equal(found.matchings[0, 1].cosine, expected.cosine)
    own = match(b[0], b[1], decoders=(W[2], W[3]), n_permutations=0)
    np.testing.assert_array_equal(found.within["b"][0, 1].cosine, own.cosine)


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
    assert np.isnan(dead.kinds["a", "only"].share.value) and "no latent firing" in dead.kinds["a", "only"].share.reason
    assert not len(dead.latents())
