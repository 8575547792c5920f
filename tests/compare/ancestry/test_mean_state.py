import numpy as np
import pytest

from mechdecouple import stats
from mechdecouple.compare.ancestry.mean_state import MeanState
from mechdecouple.errors import MismatchError


def states(shift=0.5, n=200, d=12, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, d)) + 2
    B = A + noise * rng.standard_normal((n, d))
    B[:, 0] += shift
    return A, B


def test_a_planted_shift_in_closed_form():
    A, B = states(0.5)
    shift, _ = MeanState(A, B, np.arange(200))()
    spread = np.sqrt(((A - A.mean(axis=0)) ** 2).sum() / 199)
    assert shift == pytest.approx(0.5 / spread, rel=1e-9)


def test_noise_does_not_count_as_shift():
    """The plain distance of means is biased up by its noise; the estimate is right on average, squared."""
    found = np.array([MeanState(*states(0.3, n=40, noise=3.0, seed=s), np.arange(40))()[0] for s in range(300)])
    spread = np.sqrt(12)
    squares = np.sign(found) * found**2
    assert squares.mean() == pytest.approx((0.3 / spread) ** 2, abs=4 * squares.std() / np.sqrt(300))
    plain = [np.linalg.norm(np.subtract(*states(0.3, n=40, noise=3.0, seed=s)).mean(axis=0)) for s in range(300)]
    assert np.mean(plain) > 3 * 0.3


def test_the_cosine_of_means_does_not_fade_with_noise():
    mean = np.ones(30)
    other = np.r_[np.ones(15), -np.ones(15)] + np.ones(30)
    truth = mean @ other / np.linalg.norm(mean) / np.linalg.norm(other)
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        A, B = mean + 4 * rng.standard_normal((60, 30)), other + 4 * rng.standard_normal((60, 30))
        found.append(MeanState(A, B, np.arange(60))()[1])
    assert np.nanmean(found) == pytest.approx(truth, abs=0.03)


def test_one_basis_is_needed_and_one_turn_of_both_changes_nothing():
    A, B = states(0.5, noise=0.2)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    base = MeanState(A, B, np.arange(200))()
    assert np.allclose(MeanState(3 * A @ turn, 3 * B @ turn, np.arange(200))(), base)
    assert not np.allclose(MeanState(A, B @ turn, np.arange(200))(), base, atol=0.1)


def test_groups_are_the_unit():
    """Each row four times: no more is known, and the interval stays as wide."""
    A, B = states(0.3, n=60, noise=1.0)
    groups = np.arange(60)
    once = MeanState(A, B, groups)
    again = MeanState(np.repeat(A, 4, axis=0), np.repeat(B, 4, axis=0), np.repeat(groups, 4))
    # the spread divides by n - 1 rows, which is all that changes
    assert again()[0] == pytest.approx(once()[0] * np.sqrt(240 / 239 * 59 / 60) ** -1, rel=0.02)
    assert again.p_shift() == pytest.approx(once.p_shift(), abs=0.03)
    blocks = stats.jackknife_blocks(groups, 10)
    low, high = (
        stats.jackknife(once, blocks)[0].interval(),
        stats.jackknife(again, np.repeat(blocks, 4), 60)[0].interval(),
    )
    assert np.allclose(low, high, rtol=0.05)


def test_jackknife_interval_covers():
    hits = 0
    for seed in range(200):
        A, B = states(0.4, n=80, noise=0.5, seed=seed)
        low, high = stats.jackknife(MeanState(A, B, np.arange(80)), stats.jackknife_blocks(np.arange(80)))[0].interval()
        hits += low <= 0.4 / np.sqrt(12) <= high
    assert hits >= 200 * 0.95 - 3 * np.sqrt(200 * 0.05)


def test_p_keeps_its_level_without_a_shift_and_sees_one():
    p = np.array([MeanState(*states(0.0, n=40, noise=1.0, seed=s), np.arange(40)).p_shift(s) for s in range(300)])
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 / 300)
    assert MeanState(*states(2.0, n=40, noise=1.0), np.arange(40)).p_shift() == pytest.approx(1 / 1000)


def test_what_is_undefined():
    constant = np.ones((20, 3))
    assert np.isnan(MeanState(constant, constant + 1, np.arange(20))()[0])
    A, B = states(n=20)
    assert np.isnan(MeanState(A, B, np.zeros(20))()).all() and np.isnan(MeanState(A, B, np.zeros(20)).p_shift())
    centred = A - A.mean(axis=0)
    assert np.isnan(MeanState(centred, B, np.arange(20))()[1])
    with pytest.raises(MismatchError, match="expected the same rows"):
        MeanState(A, B[:10], np.arange(20))
