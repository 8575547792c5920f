import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mechdecouple.errors import InputError
from mechdecouple.probes import LogisticFitter, MassMeanFitter
from mechdecouple.probes.probe import calibration_fold
from mechdecouple.probes.ttpd import TtpdFitter, truth_directions
from mechdecouple.stats import weighted_auroc


def statements(n=800, d=8, general=1.5, polar=3.0, seed=0):
    """Truth along one axis, times polarity along a second, polarity along a third; a place for each of four topics."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(99).normal(size=(d, 3)))[0].T
    y, p, topic = rng.integers(2, size=n), rng.integers(2, size=n), rng.integers(4, size=n)
    t, s = 2 * y - 1, 2 * p - 1
    X = general * np.outer(t, axes[0]) + polar * np.outer(t * s, axes[1]) + 1.0 * np.outer(s, axes[2])
    return X + rng.normal(size=(n, d)) + np.random.default_rng(7).normal(size=(4, d))[topic], y, p, topic, axes


def test_directions_are_the_least_squares_solution():
    X, y, p, topic, _ = statements(n=300)
    centred = X.copy()
    for t in range(4):
        centred[topic == t] -= X[topic == t].mean(axis=0)
    t, s = 2 * y - 1, 2 * p - 1
    oracle = LinearRegression(fit_intercept=False).fit(np.stack([t, t * s], axis=1), centred).coef_.T
    np.testing.assert_allclose(truth_directions(X, y, p, topic), oracle, atol=1e-9)


def test_directions_of_a_balanced_set_are_half_sum_and_half_difference_of_the_mean_differences():
    X, *_ = statements(n=400)
    y, p = np.arange(400) % 2, np.arange(400) // 2 % 2
    gap = [X[(y == 1) & (p == k)].mean(axis=0) - X[(y == 0) & (p == k)].mean(axis=0) for k in (0, 1)]
    general, polar = truth_directions(X, y, p, np.zeros(400, dtype=int))
    np.testing.assert_allclose(general, (gap[1] + gap[0]) / 4, atol=1e-12)
    np.testing.assert_allclose(polar, (gap[1] - gap[0]) / 4, atol=1e-12)


def test_the_whole_agrees_with_the_published_steps_in_scikit_learn():
    X, y, p, topic, _ = statements(n=600, general=0.8)
    probe = TtpdFitter(penalty=1e-9).fit(X, y, polarity=p, topics=topic)
    fit = ~calibration_fold(y, None, 0.2, 0)
    general = truth_directions(X[fit], y[fit], p[fit], topic[fit])[0]
    polarity = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(X[fit], p[fit]).coef_[0]
    np.testing.assert_allclose(probe.polarity, polarity, rtol=1e-3, atol=1e-4)
    two = np.stack([X @ general, X @ polarity], axis=1)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(two[fit], y[fit])
    np.testing.assert_allclose(probe.decision_function(X), oracle.decision_function(two), rtol=1e-3, atol=1e-3)


def test_the_penalty_is_that_of_scikit_learn_on_standardised_columns():
    X, y, p, _, _ = statements(n=300)
    probe = TtpdFitter(penalty=0.05).fit(X, y, polarity=p)
    fit = ~calibration_fold(y, None, 0.2, 0)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (0.05 * fit.sum()), tol=1e-10, max_iter=10_000))
    oracle.fit(X[fit], p[fit])
    np.testing.assert_allclose(probe.polarity, oracle[1].coef_[0] / oracle[0].scale_, atol=1e-5)


def test_truth_is_read_without_what_negation_turns_round():
    X, y, p, topic, axes = statements()
    probe = TtpdFitter().fit(X, y, polarity=p, topics=topic)
    assert abs(probe.direction @ axes[1]) < 0.1
    assert probe.polar @ axes[1] == pytest.approx(3.0, abs=0.2)
    assert probe.general @ axes[0] == pytest.approx(1.5, abs=0.2)
    new, truth, q, _, _ = statements(seed=1)
    affirmed = p == 1
    narrow = LogisticFitter().fit(X[affirmed], y[affirmed])
    negated = q == 0
    assert weighted_auroc(narrow.decision_function(new[negated]), truth[negated]) < 0.3
    for side in (negated, ~negated):
        assert weighted_auroc(probe.decision_function(new[side]), truth[side]) > 0.8


def test_probabilities_are_calibrated():
    X, y, p, topic, _ = statements(n=6000, general=0.6)
    probe = TtpdFitter().fit(X[:3000], y[:3000], polarity=p[:3000], topics=topic[:3000])
    found = probe.predict_proba(X[3000:])
    for low, high in ((0, 0.4), (0.4, 0.6), (0.6, 1)):
        inside = (found > low) & (found <= high)
        assert abs(found[inside].mean() - y[3000:][inside].mean()) < 0.1


@pytest.mark.parametrize("d", [6, 200])
def test_separable_rows_constant_columns_and_few_rows(d):
    X, y, p, _, axes = statements(n=80, d=d, general=8.0, polar=1.0)
    probe = TtpdFitter().fit(np.column_stack([X, np.full(80, 3.0)]), y, polarity=p)
    assert np.isfinite(probe.weights).all()
    assert probe.weights[-1] == pytest.approx(0, abs=1e-9)
    assert probe.direction[:-1] @ axes[0] > 0.5


def test_groups_stay_whole_and_decide_the_calibration_fold():
    X, y, p, _, _ = statements(n=200)
    groups = np.arange(200) // 4
    aside = calibration_fold(y, groups, 0.2, 0)
    probe = TtpdFitter().fit(X, y, groups, polarity=p)
    moved = TtpdFitter().fit(np.where(aside[:, None], X * 0.3, X), y, groups, polarity=p)
    np.testing.assert_array_equal(probe.weights, moved.weights)
    assert probe.slope != moved.slope


def test_unusable_input_is_refused():
    X, y, p, _, _ = statements(n=100)
    with pytest.raises(InputError, match="polarity -1 at row 2"):
        TtpdFitter().fit(X, y, polarity=np.where(np.arange(100) == 2, -1, p))
    with pytest.raises(InputError, match=r"polarities have shape \(99,\)"):
        TtpdFitter().fit(X, y, polarity=p[1:])
    with pytest.raises(InputError, match="no true negated statement"):
        TtpdFitter().fit(X, y, polarity=np.where(y == 1, 1, p))
    with pytest.raises(InputError, match="use a mass-mean probe"):
        TtpdFitter().fit(X, y, polarity=np.ones(100))
    with pytest.raises(InputError, match="penalty is 0"):
        TtpdFitter(penalty=0.0).fit(X, y, polarity=p)
    with pytest.raises(InputError, match="both classes"):
        TtpdFitter().fit(X, np.ones(100), polarity=p)
    assert MassMeanFitter().fit(X, y)
