import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from mechdecouple.errors import InputError
from mechdecouple.probes import LogisticFitter
from mechdecouple.probes.mlp import MlpFitter


def xor(n=400, d=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(int), np.arange(n) // 4


def test_it_reads_what_no_linear_probe_can_and_is_selective():
    X, y, groups = xor(1000)
    fit, held = slice(0, 500), slice(500, 1000)
    probe = MlpFitter().fit(X[fit], y[fit], groups[fit])
    assert roc_auc_score(y[held], probe.decision_function(X[held])) > 0.95
    linear = LogisticFitter().fit(X[fit], y[fit], groups[fit])
    assert roc_auc_score(y[held], linear.decision_function(X[held])) < 0.6
    assert probe.auroc > 0.9
    assert probe.selectivity > 0.35


def test_what_is_only_memorised_is_not_selective():
    rng = np.random.default_rng(1)
    types = np.repeat(np.arange(50), 6)
    y = rng.permutation(np.arange(50) % 2)[types]
    X = rng.normal(size=(50, 40))[types] + 0.05 * rng.normal(size=(300, 40))
    probe = MlpFitter().fit(X, y, types)
    assert probe.auroc > 0.95
    assert probe.control.min() > 0.95
    assert abs(probe.selectivity) < 0.05


def test_its_score_is_that_of_its_weights():
    X, y, groups = xor()
    probe = MlpFitter(width=5).fit(X, y, groups)
    (W, c), v = probe.hidden, probe.out
    by_hand = [sum(v[j] * max(0.0, float(x @ W[:, j] + c[j])) for j in range(5)) + probe.bias for x in X[:20]]
    np.testing.assert_allclose(probe.decision_function(X[:20]), by_hand, atol=1e-10)
    np.testing.assert_allclose(
        probe.predict_proba(X[:20]), expit(probe.slope * np.array(by_hand) + probe.offset), atol=1e-12
    )


def test_units_do_not_matter_and_the_same_seed_is_the_same_probe():
    X, y, groups = xor(200)
    once, again = (MlpFitter(seed=3).fit(X, y, groups) for _ in range(2))
    np.testing.assert_array_equal(once.out, again.out)
    other = MlpFitter(seed=3).fit(100 * X - 7, y, groups)
    np.testing.assert_allclose(other.decision_function(100 * X - 7), once.decision_function(X), rtol=1e-5, atol=1e-6)
    assert other.selectivity == pytest.approx(once.selectivity, abs=1e-9)


def test_types_that_do_not_recur_leave_selectivity_undefined_with_a_reason():
    X, y, _ = xor(60)
    probe = MlpFitter().fit(X, y)
    assert np.isnan(probe.selectivity)
    assert "occurs once" in probe.reason
    assert np.isfinite(probe.decision_function(X)).all()


def test_more_dimensions_than_rows_a_constant_column_and_doubles():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(40, 90)), np.arange(40) % 2
    X[:, 0] = 3.0
    X[20:] = X[:20]
    probe = MlpFitter().fit(X, y, np.arange(40) % 20)
    assert np.isfinite(probe.decision_function(X)).all()


@pytest.mark.parametrize(
    ("options", "X", "y", "said"),
    [
        ({"width": 0}, np.ones((40, 2)), np.arange(40) % 2, "width 0"),
        ({"penalty": -1.0}, np.ones((40, 2)), np.arange(40) % 2, "penalty -1"),
        ({}, np.full((40, 2), np.inf), np.arange(40) % 2, "expected finite values"),
        ({}, np.ones((40, 2)), np.zeros(40), "every label is 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(options, X, y, said):
    with pytest.raises(InputError, match=said):
        MlpFitter(**options).fit(X, y)


def test_a_device_that_does_not_exist_is_refused():
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(InputError, match="device 'tpu9'"):
        MlpFitter(device="tpu9").fit(X, X[:, 0] > 0)
