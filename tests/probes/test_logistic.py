import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from mechdecouple.errors import InputError
from mechdecouple.probes import LogisticFitter, grouped_folds
from mechdecouple.probes._lbfgs import minimise_logistic


@pytest.mark.parametrize(("n", "d"), [(400, 12), (60, 100)])
@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_agrees_with_scikit_learn(two_classes, n, d, penalty):
    X, y, groups = two_classes(n, d)
    train = grouped_folds(y, groups, 5, seed=0) != 0  # the fold kept aside for calibration, by definition
    probe = LogisticFitter(penalties=(penalty,)).fit(X, y, groups)
    scaler = StandardScaler().fit(X[train])
    oracle = LogisticRegression(C=1 / (train.sum() * penalty), tol=1e-10, max_iter=20_000)
    oracle.fit(scaler.transform(X[train]), y[train])
    expected = oracle.decision_function(scaler.transform(X))
    np.testing.assert_allclose(probe.decision_function(X), expected, atol=2e-5 * np.abs(expected).max())


def test_many_problems_at_once_equal_each_alone():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(120, 7)), rng.integers(0, 2, 120)
    weight = (rng.random((120, 6)) < 0.8).astype(float)
    penalty = np.array([1e-3, 1e-2, 1e-1, 1.0, 1e-3, 1e-1])
    together, intercepts = minimise_logistic(Z, y, weight, penalty, tolerance=1e-9)
    for b in range(6):
        rows = weight[:, b] > 0
        oracle = LogisticRegression(C=1 / (rows.sum() * penalty[b]), tol=1e-10, max_iter=10_000).fit(Z[rows], y[rows])
        np.testing.assert_allclose(together[:, b], oracle.coef_[0], atol=1e-5)
        assert intercepts[b] == pytest.approx(oracle.intercept_[0], abs=1e-5)


def test_separable_classes_converge(two_classes):
    X, y, groups = two_classes(gap=30.0)
    probe = LogisticFitter(penalties=(1e-6,)).fit(X, y, groups)
    assert np.isfinite(probe.weights).all()
    assert ((probe.decision_function(X) > 0) == y).all()


def test_strong_penalty_is_chosen_without_signal():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 60)), np.arange(200) % 2
    assert LogisticFitter().fit(X, y).penalty >= 1.0


def test_constant_and_duplicate_columns(two_classes):
    X, y, groups = two_classes()
    wide = np.column_stack([X, np.full(len(X), 7.3), X[:, 0], np.zeros(len(X))])
    probe = LogisticFitter().fit(wide, y, groups)
    assert np.abs(probe.weights[[12, 14]]).max() < 1e-12
    assert probe.weights[13] == pytest.approx(probe.weights[0], abs=1e-9)


def test_score_follows_rescaled_columns(two_classes):
    X, y, groups = two_classes()
    scale = np.geomspace(1e-3, 1e3, X.shape[1])
    plain, scaled = LogisticFitter().fit(X, y, groups), LogisticFitter().fit(X * scale + 4, y, groups)
    np.testing.assert_allclose(scaled.decision_function(X * scale + 4), plain.decision_function(X), atol=1e-5)


def test_single_precision_equals_double(two_classes):
    X, y, groups = two_classes()
    X = X.astype(np.float32)
    one, two = LogisticFitter().fit(X, y, groups), LogisticFitter().fit(X.astype(np.float64), y, groups)
    np.testing.assert_array_equal(one.weights, two.weights)


def test_probabilities_are_calibrated_on_fresh_groups():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 4))
    y = (rng.random(20_000) < 1 / (1 + np.exp(-1.5 * X[:, 0] - 0.5))).astype(int)
    p = LogisticFitter().fit(X[:10_000], y[:10_000]).predict_proba(X[10_000:])
    for low, high in [(0.05, 0.35), (0.35, 0.65), (0.65, 0.95)]:
        rows = (p > low) & (p < high)
        assert y[10_000:][rows].mean() == pytest.approx(p[rows].mean(), abs=0.06)


def test_overfitted_probe_is_not_overconfident():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, 300)), np.arange(80) % 2
    probe = LogisticFitter(penalties=(1e-3,)).fit(X, y)
    fresh = rng.normal(size=(500, 300))
    assert np.abs(probe.decision_function(X)).min() > 0
    assert np.abs(probe.predict_proba(fresh) - 0.5).mean() < 0.25


def test_permuted_labels_are_at_chance(two_classes):
    X, _, groups = two_classes(n=1200)
    auroc = []
    for seed in range(5):
        y = np.repeat(np.random.default_rng(100 + seed).permutation(600) % 2, 2)
        probe = LogisticFitter(seed=seed).fit(X[:800], y[:800], groups[:800])
        auroc.append(roc_auc_score(y[800:], probe.decision_function(X[800:])))
    assert np.mean(auroc) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, g: (np.where(np.arange(X.size).reshape(X.shape) == 15, np.nan, X), y, g), "row 1, dimension 3"),
        (lambda X, y, g: (np.where(X.max() == X, np.inf, X), y, g), "expected finite"),
        (lambda X, y, g: (X, np.ones_like(y), g), "both classes"),
        (lambda X, y, g: (X, y * 2, g), "expected 0 or 1"),
        (lambda X, y, g: (X, np.where(y == 0, np.nan, y), g), "expected 0 or 1"),
        (lambda X, y, g: (X, y, np.array(["same"] * len(y))), "two groups"),
        (lambda X, y, g: (X, y, np.where(y == 0, "a", "b")), "too few"),
    ],
)
def test_unusable_input_is_refused_in_one_line(two_classes, change, message):
    with pytest.raises(InputError, match=message) as caught:
        LogisticFitter().fit(*change(*two_classes()))
    assert "\n" not in str(caught.value)


def test_penalty_must_be_positive(two_classes):
    with pytest.raises(InputError, match="above zero"):
        LogisticFitter(penalties=(0.0,)).fit(*two_classes())
