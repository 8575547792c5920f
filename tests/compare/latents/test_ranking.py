import numpy as np
import pytest
from scipy.sparse import csc_matrix

from mechdecouple.compare.latents.ranking import oriented, strata, stratified_auroc
from mechdecouple.stats import weighted_auroc

RNG = np.random.default_rng(0)
N, M = 90, 7
BLOCKS = np.arange(N) % 5
ZERO = np.zeros(N, int)


def latents(n=N, m=M, seed=0):
    """Latents with many zeros, ties and, in one of them, values below zero."""
    rng = np.random.default_rng(seed)
    table = np.maximum(rng.normal(size=(n, m)), 0).round(1)
    table[:, 0] -= 0.5
    table[:, -1] = 0
    return table


def brute(x, given):
    """The mean over strata of the share of pairs won, pair by pair."""
    total = 0.0
    for s, weight in enumerate(given.weight):
        if not weight:
            continue
        inside = given.stratum == s
        p, q = (np.where(inside, mass, 0).sum(axis=1) for mass in (given.positive, given.negative))
        won = (x[:, None] > x[None, :]) + 0.5 * (x[:, None] == x[None, :])
        total += weight * (p[:, None] * q[None, :] * won).sum() / (p.sum() * q.sum())
    return total


def soft(condition, context, across=False, seed=1):
    rng = np.random.default_rng(seed)
    return strata(rng.random((len(condition), 2)), rng.random((len(condition), 2)), condition, context, across)


def test_one_stratum_of_two_classes_is_the_plain_auroc():
    truth, X = RNG.integers(2, size=N).astype(float), latents()
    only = np.stack([truth, np.zeros(N)], axis=1), np.stack([1 - truth, np.zeros(N)], axis=1)
    found = stratified_auroc(csc_matrix(X), strata(*only, ZERO, ZERO), BLOCKS, N)
    for j in range(M):
        assert found.value[j] == pytest.approx(weighted_auroc(X[:, j], truth), abs=1e-12)
        without = weighted_auroc(X[:, j], truth, (np.arange(5)[:, None] != BLOCKS).astype(float))
        np.testing.assert_allclose(found.replicates[:, j], without, atol=1e-12)
    assert found.value[-1] == 0.5  # never fires


@pytest.mark.parametrize("across", [False, True])
def test_it_counts_pairs_within_strata(across):
    condition, context, X = np.arange(N) % 3, np.arange(N) // 45, latents()
    given = soft(condition, context, across)
    found = stratified_auroc(csc_matrix(X), given, BLOCKS, N)
    np.testing.assert_allclose(found.value, [brute(x, given) for x in X.T], atol=1e-12)
    assert given.weight.sum() == pytest.approx(1)


def test_monotone_maps_change_nothing_and_turning_round_gives_the_complement():
    given, X = soft(ZERO, ZERO), latents()
    one, other = (stratified_auroc(csc_matrix(x), given, BLOCKS, N) for x in (X, np.sign(X) * X**2))
    np.testing.assert_allclose(one.value, other.value, atol=1e-12)
    turned = oriented(one, np.array([True, False] + [False] * (M - 2)))
    back = stratified_auroc(csc_matrix(-X), given, BLOCKS, N)
    assert turned.value[0] == pytest.approx(back.value[0], abs=1e-12)
    np.testing.assert_allclose(turned.replicates[:, 0], back.replicates[:, 0], atol=1e-12)
    assert turned.value[1] == one.value[1]


def test_no_pair_joins_two_conditions_or_contexts():
    condition, context = np.arange(N) % 2, np.arange(N) // 2 % 3
    X = np.stack([condition, context, condition * 3 + context], axis=1).astype(float)
    found = stratified_auroc(csc_matrix(X), soft(condition, context), BLOCKS, N)
    np.testing.assert_allclose(found.value, 0.5, atol=1e-12)


def test_across_conditions_what_a_condition_alone_adds_cancels():
    rng = np.random.default_rng(2)
    truth, condition = rng.integers(2, size=400), (rng.random(400) < 0.3).astype(int)
    claim = np.where(condition == 1, 1 - truth, truth)  # claims are turned round in one condition
    claims = np.stack([claim, 1 - claim], axis=1).astype(float)
    given = strata(truth[:, None] * claims, (1 - truth)[:, None] * claims, condition, np.zeros(400, int), True)
    X = np.stack([truth, claim, condition, 1 - condition], axis=1).astype(float)
    found = stratified_auroc(csc_matrix(X), given, np.arange(400) % 5, 400)
    np.testing.assert_allclose(found.value, [1, 0.5, 0.5, 0.5], atol=1e-12)
    within = strata(truth[:, None] * claims, (1 - truth)[:, None] * claims, condition, np.zeros(400, int))
    assert within.items == 0  # truth and claim never part within a condition


def test_nothing_to_hold_against_each_other():
    ones = np.ones((N, 2))
    assert strata(ones, 0 * ones, ZERO, ZERO).items == 0
    assert strata(ones, ones, ZERO, ZERO, across=True).items == 0
    assert strata(ones, ones, ZERO, ZERO).items == 2 * N
