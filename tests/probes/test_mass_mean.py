import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as oracle_ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mechdecouple.errors import InputError
from mechdecouple.probes import MassMeanFitter, grouped_folds
from mechdecouple.probes.mass_mean import ledoit_wolf, mass_mean


def test_direction_is_the_difference_of_means(two_classes):
    X, y, groups = two_classes()
    train = grouped_folds(y, groups, 5, seed=0) != 0
    expected = X[train & (y == 1)].mean(axis=0) - X[train & (y == 0)].mean(axis=0)
    probe = MassMeanFitter().fit(X, y, groups)
    np.testing.assert_allclose(probe.weights, expected)
    middle = (X[train & (y == 1)].mean(axis=0) + X[train & (y == 0)].mean(axis=0)) / 2
    assert probe.decision_function(middle[None])[0] == pytest.approx(0, abs=1e-9)


def test_pseudo_inverse_whitening_is_discriminant_analysis(two_classes):
    X, y, _ = two_classes()
    weights, bias = mass_mean(X, y, "pinv")
    oracle = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(X, y)
    np.testing.assert_allclose(weights, oracle.coef_[0], rtol=1e-6)
    assert bias == pytest.approx(oracle.intercept_[0], rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(300, 10), (40, 90)])
def test_shrinkage_agrees_with_scikit_learn(n, d):
    rng = np.random.default_rng(0)
    residual = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    residual -= residual.mean(axis=0)
    np.testing.assert_allclose(ledoit_wolf(residual), oracle_ledoit_wolf(residual, assume_centered=True)[0], rtol=1e-9)


@pytest.mark.parametrize("whitening", ["none", "pinv", "ledoit-wolf"])
def test_scores_do_not_depend_on_the_basis(two_classes, whitening):
    X, y, groups = two_classes()
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    plain = MassMeanFitter(whitening).fit(X, y, groups)
    rotated = MassMeanFitter(whitening).fit(X @ rotation, y, groups)
    np.testing.assert_allclose(rotated.decision_function(X @ rotation), plain.decision_function(X), atol=1e-8)


@pytest.mark.parametrize("whitening", ["none", "pinv", "ledoit-wolf"])
@pytest.mark.parametrize("d", [3, 200])
def test_constant_columns_and_few_rows(two_classes, whitening, d):
    X, y, groups = two_classes(n=60, d=d, gap=4.0)
    probe = MassMeanFitter(whitening).fit(np.column_stack([X, np.ones(60)]), y, groups)
    assert np.isfinite(probe.weights).all()
    assert probe.predict_proba(np.column_stack([X, np.ones(60)])).min() >= 0


def test_one_class_is_refused(two_classes):
    X, y, groups = two_classes()
    with pytest.raises(InputError, match="both classes"):
        MassMeanFitter().fit(X, np.zeros_like(y), groups)
