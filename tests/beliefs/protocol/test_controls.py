"""Controls by themselves: oracles, planted confounds, missing values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps
from sklearn.metrics import roc_auc_score

from mechdecouple.beliefs.protocol import controls
from mechdecouple.beliefs.protocol.transfer import Table
from mechdecouple.stats import group_bootstrap_weights


@pytest.fixture
def rng():
    return np.random.default_rng(6)


@pytest.fixture
def table():
    group = np.arange(400) // 2
    return Table(
        truth=(np.arange(400) % 2).astype(float),
        group=group,
        usable=np.arange(400) < 360,
        fold=group % 5,
        weights=group_bootstrap_weights(group, 200, 0),
    )


def test_the_correlation_is_spearmans(table, rng):
    score, feature = rng.random(400), rng.random(400).round(1)
    feature[:20] = np.nan
    kept = slice(20, 360)
    found = controls.surface_correlation(score, score + feature, table, 0)
    assert found.value == pytest.approx(sps.spearmanr(score[kept], (score + feature)[kept]).statistic)
    assert found.low > 0.3 and found.n == 170 and found.p < 0.01
    assert controls.surface_correlation(score, -score, table, 0).value == pytest.approx(-1)


def test_what_does_not_vary_correlates_with_nothing(table, rng):
    constant = np.ones(400)
    assert "the feature is the same" in controls.surface_correlation(rng.random(400), constant, table, 0).reason
    assert "the belief is the same" in controls.surface_correlation(constant, rng.random(400), table, 0).reason


def test_the_feature_alone_is_not_turned_round(table, rng):
    feature = rng.normal(size=400) - table.truth
    expected = roc_auc_score(table.truth[:360], feature[:360])
    found = controls.surface_auroc(feature, table)
    assert found.value == pytest.approx(expected) and expected < 0.35


def test_a_feature_leaves_nothing_of_itself_within_its_deciles(table, rng):
    feature = rng.normal(size=400) + 2 * table.truth
    coarse = np.floor(sps.rankdata(feature) / 4.0)
    assert controls.surface_auroc(feature, table).value > 0.85
    noise = controls.within_deciles(rng.random(400), feature, table)
    assert noise.low < 0.5 < noise.high
    truth = controls.within_deciles(table.truth + 0.01 * coarse, feature, table)
    assert truth.value == 1.0


def test_missing_features_leave_nothing_to_say(table, rng):
    found = controls.within_deciles(rng.random(400), np.full(400, np.nan), table)
    assert np.isnan(found.value) and "0 true and 0 false" in found.reason


@pytest.mark.parametrize("count", [2, 3])
def test_contexts_that_differ_are_told_apart(table, rng, count):
    level = np.array(list("abc"))[table.group % count]
    X = rng.normal(size=(400, 6))
    blind = controls.identity(X, level, table.usable, table, "cpu")
    assert blind.low < 0.5 and blind.value < 0.6
    X[:, 0] += 4 * (table.group % count)
    seen = controls.identity(X, level, table.usable, table, "cpu")
    # The middle one of three lies between the others, where no line can cut it out.
    assert seen.value > (0.95 if count == 2 else 0.75)


def test_one_context_has_no_identity(table, rng):
    found = controls.identity(rng.normal(size=(400, 3)), np.full(400, "a"), table.usable, table, "cpu")
    assert "1 level" in found.reason


def test_beyond_a_baseline_is_a_paired_difference(table, rng):
    score = table.truth + rng.normal(size=400)
    itself, none = controls.beyond(score, score, table)
    assert none.value == none.low == none.high == 0.0 and none.p == 1.0
    other, more = controls.beyond(score, rng.random(400), table)
    assert more.value == pytest.approx(itself.value - other.value) and more.low > 0.1
