"""AUROC within folds: scikit-learn, invariances, and what makes it undefined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mechdecouple.beliefs.protocol.auroc import auroc_estimate, auroc_within, replicates
from mechdecouple.stats import group_bootstrap_weights


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    return rng.normal(size=90).round(1), (rng.random(90) < 0.4).astype(float), rng.integers(0, 3, 90)


def test_one_cell_is_the_ordinary_auroc(rows):
    score, truth, _ = rows
    found = auroc_within(score, truth, np.zeros(90, int), np.ones((1, 90)))
    assert found[0] == pytest.approx(roc_auc_score(truth, score))


def test_cells_are_weighed_by_their_pairs(rows):
    score, truth, cell = rows
    parts = [(truth[cell == c], score[cell == c]) for c in range(3)]
    pairs = [t.sum() * (1 - t).sum() for t, _ in parts]
    expected = np.average([roc_auc_score(t, s) for t, s in parts], weights=pairs)
    assert auroc_within(score, truth, cell, np.ones((1, 90)))[0] == pytest.approx(expected)


def test_a_shift_of_a_whole_cell_changes_nothing(rows):
    score, truth, cell = rows
    ones = np.ones((1, 90))
    shifted = score + 10.0 * cell
    assert auroc_within(shifted, truth, cell, ones)[0] == pytest.approx(auroc_within(score, truth, cell, ones)[0])


def test_weights_are_copies_of_rows(rows):
    score, truth, cell = rows
    copies = np.random.default_rng(2).integers(0, 3, 90)
    again = np.repeat(np.arange(90), copies)
    expected = auroc_within(score[again], truth[again], cell[again], np.ones((1, len(again))))
    assert auroc_within(score, truth, cell, copies[None].astype(float))[0] == pytest.approx(expected[0])


def test_without_a_pair_in_any_cell_it_is_undefined(rows):
    score, truth, _ = rows
    found = replicates(score, truth, truth.astype(int), np.arange(90), np.arange(90), np.ones((5, 90)))
    assert np.isnan(found.value)
    assert "no fold holds both" in auroc_estimate(found, truth).reason


def test_the_interval_covers(rows):
    """Rows of a group are copies: an interval by rows would be too narrow and cover far too rarely."""
    rng = np.random.default_rng(4)
    hits = 0
    for i in range(60):
        group = np.repeat(np.arange(80), 4)
        truth = (group % 2).astype(float)
        score = np.repeat(rng.normal(size=80), 4) + truth
        weights = group_bootstrap_weights(group, 200, i)
        found = auroc_estimate(replicates(score, truth, group % 5 // 2, group, np.arange(320), weights), truth)
        hits += found.low <= 0.7602 <= found.high
    assert hits >= 52
