import numpy as np
import pytest

from mechdecouple.compare.ancestry.weight_change import noise_edge, singular_values, weight_change
from mechdecouple.errors import InputError

RNG = np.random.default_rng(0)
W = RNG.standard_normal((48, 64)) / 8


def low_rank(rank, size=1.0, seed=1):
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.standard_normal((48, rank)))[0], np.linalg.qr(rng.standard_normal((64, rank)))[0]
    return size * u @ v.T


@pytest.mark.parametrize("rank", [1, 2, 4, 8])
def test_a_planted_update_has_its_rank(rank):
    single = (W.astype(np.float32) + low_rank(rank).astype(np.float32)).astype(np.float32)
    found = weight_change([W.astype(np.float32)], [single])
    assert found.rank == pytest.approx(rank, rel=1e-4) and found.stable_rank == pytest.approx(rank, rel=1e-4)
    assert found.spikes == rank


@pytest.mark.parametrize(("rank", "shape"), [(0, (48, 64)), (3, (48, 64)), (3, (200, 30)), (0, (64, 64))])
def test_directions_above_noise_are_counted(rank, shape):
    counts = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        u = np.linalg.qr(rng.standard_normal((shape[0], max(1, rank))))[0]
        v = np.linalg.qr(rng.standard_normal((shape[1], max(1, rank))))[0]
        noise = 0.01 * rng.standard_normal(shape)
        change = noise + (3 * 0.01 * sum(np.sqrt(shape)) * u @ v.T if rank else 0)
        A = rng.standard_normal(shape)
        counts.append(weight_change([A], [A + change]).spikes)
    assert np.mean(np.array(counts) == rank) >= 0.85, counts


def test_the_edge_is_passed_by_noise_in_one_case_of_twenty():
    """The median of the sample takes the place of the known variance, so the level is met nearly, not exactly."""
    passed = []
    for seed in range(400):
        values = singular_values(np.random.default_rng(seed).standard_normal((40, 60)))
        passed.append(values[0] > noise_edge(values, 40, 60))
    assert 0.01 <= np.mean(passed) <= 0.10


def test_size_and_cosine_in_closed_form():
    a, b = np.ones((8, 8)), np.ones((8, 8))
    assert weight_change([a], [2 * b]).change == pytest.approx(8 / np.sqrt((64 + 256) / 2))
    assert weight_change([a], [-b]).change == pytest.approx(2) and weight_change([a], [-b]).cosine == pytest.approx(-1)
    fresh = weight_change([RNG.standard_normal((90, 90))], [RNG.standard_normal((90, 90))])
    assert fresh.change == pytest.approx(np.sqrt(2), rel=0.03) and abs(fresh.cosine) < 5 / 90


def test_order_of_models_scale_and_turns_do_not_matter():
    B = W + low_rank(3, 0.4) + 0.01 * RNG.standard_normal(W.shape)
    base = weight_change([W], [B])
    left, right = (np.linalg.qr(RNG.standard_normal((n, n)))[0] for n in W.shape)
    for again in (
        weight_change([B], [W]),
        weight_change([7 * W], [7 * B]),
        weight_change([left @ W @ right], [left @ B @ right]),
    ):
        for name in ("change", "cosine", "rank", "stable_rank", "spikes"):
            assert getattr(again, name) == pytest.approx(getattr(base, name), rel=1e-6), name


def test_singular_values_of_both_forms():
    for X in (W, W.T):
        assert np.allclose(singular_values(X), np.linalg.svd(X, compute_uv=False))


def test_biases_count_in_size_and_have_no_rank():
    found = weight_change([W, np.zeros(3)], [W, np.ones(3)])
    assert found.change > 0 and np.isnan(found.rank) and found.reason == "its matrix did not change"
    assert weight_change([np.ones(4)], [np.zeros(4)]).reason == "vectors have no rank"
    same = weight_change([W], [W])
    assert same.change == 0 and same.cosine == pytest.approx(1) and np.isnan(same.rank)
    assert weight_change([np.zeros((9, 9))], [np.zeros((9, 9))]).change == 0


def test_rounding_is_no_change():
    single = W.astype(np.float32)
    rounded = ((single + np.float32(100)) - np.float32(100)).astype(np.float32)
    assert np.isnan(weight_change([single], [rounded], rounding=1e-4).rank)


def test_a_short_side_says_nothing_of_noise():
    found = weight_change([W[:4]], [W[:4] + low_rank(1)[:4]])
    assert found.rank == pytest.approx(1, rel=1e-6) and np.isnan(found.spikes) and "side of 4" in found.no_spikes


def test_weights_that_do_not_match():
    with pytest.raises(InputError, match="expected alike"):
        weight_change([W], [W.T])
    with pytest.raises(InputError, match="expected alike"):
        weight_change([], [])
