"""The permutation null: exact ranks, group structure kept, and the batched pipeline against a plain one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from mechdecouple.beliefs import null
from mechdecouple.probes import grouped_folds


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def test_rank_wins_count_ties_one_half(rng):
    score = rng.integers(0, 5, size=(6, 40)).astype(float)
    score[0] = 1.0
    labels = (rng.random((6, 40)) < 0.4).astype(float)
    expected = [sps.mannwhitneyu(s[t == 1], s[t == 0]).statistic for s, t in zip(score, labels, strict=True)]
    np.testing.assert_allclose(null._wins(score, labels), expected)
    np.testing.assert_allclose(null._wins(score + 1e-13 * rng.random((6, 40)), labels), expected, err_msg="rounding")


def _plain(X, truth, groups, seed):
    """The same nested selection, one ridge at a time."""
    fold = grouped_folds(np.zeros(len(truth)), groups, null.FOLDS, seed)
    Z = (X - X.mean(0)) / X.std(0)

    def wins(penalty, without, scored):
        train, test = ~np.isin(fold, without), fold == scored
        centred = Z[train] - Z[train].mean(0)
        if np.isinf(penalty):
            direction = centred.T @ (truth[train] - truth[train].mean())
        else:
            level = (centred**2).sum() / Z.shape[1]
            direction = Ridge(alpha=penalty * level).fit(Z[train], truth[train]).coef_
        t = truth[test]
        return roc_auc_score(t, Z[test] @ direction) * t.sum() * (1 - t).sum()

    total = won = 0.0
    for outer in range(null.FOLDS):
        quality = [
            sum(wins(p, (outer, inner), inner) for inner in range(null.FOLDS) if inner != outer)
            for p in null._PENALTIES
        ]
        t = truth[fold == outer]
        won += wins(null._PENALTIES[int(np.argmax(quality))], (outer,), outer)
        total += t.sum() * (1 - t).sum()
    return won / total


@pytest.mark.parametrize("d", [8, 150])
def test_one_factorisation_equals_fits_one_by_one(rng, d):
    n = 120
    truth = np.tile([1, 0], n // 2)
    groups = np.arange(n) // 2
    X = rng.normal(size=(n, d)) + np.outer(truth, np.eye(d)[0])
    found = null.permutation_null({"h": X}, truth, groups, n_permutations=3, seed=4)
    assert found.observed == pytest.approx(_plain(X, truth, groups, 4), abs=1e-9)


def test_permutation_keeps_what_groups_share(rng):
    constant = np.repeat((rng.random(30) < 0.4).astype(int), 3)
    groups = np.repeat(np.arange(30), 3)
    draw = null.permute_by_group(constant, groups, rng)
    assert (draw.reshape(30, 3).std(axis=1) == 0).all() and draw.sum() == constant.sum()
    assert (draw != constant).any()


def test_pairs_of_true_and_false_are_negated_whole(rng):
    truth = np.tile([1, 0, 0, 1], 50)
    draw = null.permute_by_group(truth, np.arange(200) // 4, rng).reshape(50, 4)
    kept = (draw == [1, 0, 0, 1]).all(axis=1)
    negated = (draw == [0, 1, 1, 0]).all(axis=1)
    assert (kept | negated).all() and 12 <= kept.sum() <= 38


def test_uneven_groups_are_shuffled_inside(rng):
    truth = np.tile([1, 0, 0], 60)
    draw = null.permute_by_group(truth, np.arange(180) // 3, rng).reshape(60, 3)
    assert (draw.sum(axis=1) == 1).all()
    assert (draw.sum(axis=0) > 8).all(), "the true one is equally likely in every place"


def test_groups_of_many_sizes_in_any_row_order(rng):
    groups = rng.permutation(np.repeat(np.arange(20), rng.integers(1, 6, 20)))
    truth = (rng.random(len(groups)) < 0.5).astype(int)
    draw = null.permute_by_group(truth, groups, rng)
    assert set(np.unique(draw)) <= {0, 1} and len(draw) == len(truth)


def test_the_null_sits_at_chance_and_the_truth_beats_it(planted, rng):
    acts, truth, groups = planted({"weak": 0.1, "strong": 1.0}, 300, rng)
    found = null.permutation_null(acts, truth.astype(int), groups, n_permutations=99)
    assert found.draws.mean() == pytest.approx(0.5, abs=0.02)
    assert found.p == pytest.approx(0.01) and found.hook_point_p["strong"] == pytest.approx(0.01)
    assert found.observed > 0.9


@pytest.mark.parametrize("d", [4, 200])
def test_constant_activations_read_nothing(rng, d):
    truth = np.tile([1, 0], 40)
    found = null.permutation_null({"h": np.ones((80, d))}, truth, np.arange(80) // 2, n_permutations=19)
    assert found.observed == 0.5 and found.p == 1.0


@pytest.mark.parametrize("d", [8, 200])
def test_equal_activations_are_ties_whatever_is_fitted(rng, d):
    """Each row occurs once as true and once as false: every pair of groups cancels, in float32 as well."""
    X = np.repeat(rng.normal(size=(60, d)) * np.geomspace(1e-3, 1e3, d), 2, axis=0)
    found = null.permutation_null({"h": X}, np.tile([1, 0], 60), np.arange(120) // 2, n_permutations=19)
    np.testing.assert_allclose([found.observed, *found.draws], 0.5, atol=1e-12)
    assert found.p == 1.0


def test_large_tables_are_thinned_by_group(rng, monkeypatch):
    monkeypatch.setattr(null, "_MAX_ROWS", 100)
    truth = np.tile([1, 0], 200)
    found = null.permutation_null({"h": rng.normal(size=(400, 3))}, truth, np.arange(400) // 2, n_permutations=19)
    assert "100 rows" in found.method


def _rejections(simulations: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """p-values where the truth is random; two hook points, rows of a group alike."""
    p = []
    for i in range(simulations):
        groups = np.arange(80) // 2
        shared = np.repeat(rng.normal(size=(40, 6)), 2, axis=0)
        acts = {name: shared + rng.normal(size=(80, 6)) for name in "ab"}
        truth = np.tile([1, 0], 40) if i % 2 else np.repeat(rng.permutation(np.tile([0, 1], 20)), 2)
        p.append(null.permutation_null(acts, truth, groups, n_permutations=n_permutations, seed=i).p)
    return np.array(p)


def test_random_truth_is_rarely_found(rng):
    p = _rejections(40, 19, rng)
    assert (p <= 0.05).sum() <= sps.binom.ppf(0.999, 40, 0.05)


@pytest.mark.slow
def test_random_truth_is_found_at_the_declared_rate(rng):
    p = _rejections(1000, 99, rng)
    for alpha in (0.05, 0.1, 0.5):
        assert (p <= alpha).sum() <= sps.binom.ppf(0.999, 1000, alpha)
        assert (p <= alpha).sum() >= sps.binom.ppf(0.001, 1000, alpha), "an exact test is not idle either"
