from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from mechdecouple.beliefs.proper import brier, log_score, weighted_mean


def test_against_scikit_learn_with_weights():
    rng = np.random.default_rng(0)
    p, t = rng.uniform(0.01, 0.99, 200), rng.integers(0, 2, 200).astype(float)
    w = rng.integers(0, 4, (3, 200)).astype(float)
    assert brier(p, t) == pytest.approx(brier_score_loss(t, p), abs=1e-12)
    assert brier(p, t, w) == pytest.approx([brier_score_loss(t, p, sample_weight=row) for row in w], abs=1e-12)
    assert log_score(p, t, w) == pytest.approx([-log_loss(t, p, sample_weight=row) for row in w], abs=1e-12)
    assert log_score(np.full(4, 0.5), [0, 1, 0, 1]) == pytest.approx(-np.log(2))


def test_a_confident_error_stays_finite_and_nothing_is_nan():
    assert log_score([0.0], [1.0]) == pytest.approx(np.log(1e-6))
    assert np.isnan(weighted_mean(np.empty(0))) and np.isnan(weighted_mean(np.ones(2), np.zeros((1, 2)))[0])
