"""The batched nested selection against the same selection written as a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from mechdecouple import beliefs
from mechdecouple.beliefs import _nested
from mechdecouple.errors import InputError
from mechdecouple.probes import LogisticFitter, MassMeanFitter


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_selection_equals_a_plain_loop(planted, rng):
    acts, truth, groups = planted({"h": 0.5}, 200, rng)
    X, fold = acts["h"], _nested.folds(truth, groups, np.ones(200, bool), 0)
    split = _nested.Split.of(truth, groups, np.ones(200, bool), fold, 0)
    penalties = (3.0, 0.3, 0.03)
    found = _nested.readings(X, truth, groups, [split], {"logistic": None}, penalties, "cpu")["logistic"][0]

    def score(rows, penalty):
        scaler = StandardScaler().fit(X[rows])
        C = 1 / (rows.sum() * penalty)
        model = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(scaler.transform(X[rows]), truth[rows])
        return model.decision_function(scaler.transform(X))

    for out in range(5):
        held = {f: fold == f for f in range(5) if f != out}
        scores = {p: {f: score((fold != out) & (fold != f), p)[rows] for f, rows in held.items()} for p in penalties}
        loss = {
            p: sum(log_loss(truth[rows], 1 / (1 + np.exp(-scores[p][f])), normalize=False) for f, rows in held.items())
            for p in penalties
        }
        best = min(penalties, key=loss.__getitem__)
        assert found.penalty[out] == best
        pairs = {f: truth[rows].sum() * (1 - truth[rows]).sum() for f, rows in held.items()}
        won = sum(pairs[f] * roc_auc_score(truth[rows], scores[best][f]) for f, rows in held.items())
        assert found.quality[out] == pytest.approx(won / sum(pairs.values()), abs=2e-3)
        rows = fold == out
        oracle = score(split.outer[:, out], best)[rows]
        assert roc_auc_score(truth[rows], found.score[rows]) == pytest.approx(
            roc_auc_score(truth[rows], oracle), abs=5e-3
        )


def test_a_fold_its_groups_and_its_calibration_are_apart(planted, rng):
    _, truth, groups = planted({"h": 1.0}, 200, rng)
    pool = rng.random(200) < 0.8
    fold = _nested.folds(truth, groups, pool, 0)
    split = _nested.Split.of(truth, groups, pool, fold, 0)
    for f in range(5):
        sets = [set(groups[rows]) for rows in (split.outer[:, f], split.aside[:, f], fold == f)]
        assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert not np.hstack([split.inner, split.outer, split.aside])[~pool].any()


def test_several_pools_are_read_as_each_alone(planted, rng):
    acts, truth, groups = planted({"h": 0.7}, 240, rng)
    fold = _nested.folds(truth, groups, np.ones(240, bool), 0)
    pools = [np.ones(240, bool), groups % 2 == 0]
    splits = [_nested.Split.of(truth, groups, pool, fold, 0) for pool in pools]
    families = dict.fromkeys(_nested.PROBES)
    both = _nested.readings(acts["h"], truth, groups, splits, families, (1.0, 0.1), "cpu")
    for i, split in enumerate(splits):
        alone = _nested.readings(acts["h"], truth, groups, [split], families, (1.0, 0.1), "cpu")
        for family in families:
            np.testing.assert_allclose(both[family][i].score, alone[family][0].score, atol=2e-3)
            np.testing.assert_allclose(both[family][i].quality, alone[family][0].quality, atol=3e-3)


def test_fitters_one_by_one_agree_with_the_batch(planted, rng):
    acts, truth, groups = planted({"h": 0.6}, 300, rng)
    batch = beliefs.represent(acts, truth, groups, probes=("mass_mean",), n_permutations=9)
    single = beliefs.represent(acts, truth, groups, probes={"own": MassMeanFitter()}, n_permutations=9)
    np.testing.assert_allclose(single.score, batch.score, atol=1e-9)
    assert single.probe == "own" and np.isnan(single.penalty).all()
    logistic = beliefs.represent(acts, truth, groups, probes={"own": LogisticFitter()}, n_permutations=9)
    assert logistic.auroc_selected == pytest.approx(
        beliefs.represent(acts, truth, groups, probes=("logistic",), n_permutations=9).auroc_selected, abs=0.02
    )
    assert set(logistic.penalty) <= set(LogisticFitter().penalties)


def test_too_few_groups_are_refused():
    truth = np.r_[np.ones(4), np.zeros(40)]
    groups, pool = np.r_[np.zeros(4, int), np.arange(1, 41)], np.ones(44, bool)
    with pytest.raises(InputError, match="groups of each class"):
        _nested.Split.of(truth, groups, pool, np.arange(44) % 5 * (groups > 0), 0)
