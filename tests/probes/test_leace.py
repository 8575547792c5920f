import numpy as np
import pytest
import torch
from concept_erasure import LeaceFitter as Oracle
from sklearn.linear_model import LogisticRegression

from mechdecouple.errors import InputError
from mechdecouple.probes import LeaceFitter


@pytest.mark.parametrize(("n", "d"), [(400, 12), (60, 100)])
def test_no_linear_probe_recovers_what_was_erased(two_classes, n, d):
    X, y, _ = two_classes(n, d)
    erased = LeaceFitter().fit(X, y)(X)
    np.testing.assert_allclose(erased[y == 1].mean(axis=0), erased[y == 0].mean(axis=0), atol=1e-8)
    probe = LogisticRegression(C=1e4, max_iter=10_000).fit(erased, y)
    assert np.abs(probe.coef_).max() < 1e-3


def test_a_weak_concept_is_erased_too(two_classes):
    X, y, _ = two_classes(gap=0.0)
    erased = LeaceFitter().fit(X, y)(X)
    np.testing.assert_allclose(erased[y == 1].mean(axis=0), erased[y == 0].mean(axis=0), atol=1e-8)


def test_several_concepts_at_once(two_classes):
    X, y, _ = two_classes()
    Z = np.column_stack([y, np.random.default_rng(0).normal(size=len(y))])
    erased = LeaceFitter().fit(X, Z)(X)
    np.testing.assert_allclose((erased - erased.mean(axis=0)).T @ (Z - Z.mean(axis=0)), 0, atol=1e-6)


def test_agrees_with_concept_erasure(two_classes):
    X, y, _ = two_classes()
    oracle = Oracle.fit(torch.from_numpy(X), torch.from_numpy(y.astype(float)), constrain_cov_trace=False).eraser
    np.testing.assert_allclose(LeaceFitter().fit(X, y)(X), oracle(torch.from_numpy(X)).numpy(), atol=1e-9)


def test_fitted_on_train_frozen_on_test(two_classes):
    X, y, _ = two_classes()
    eraser = LeaceFitter().fit(X[:200], y[:200])
    np.testing.assert_array_equal(eraser(X[200:])[:5], eraser(X[200:205]))
    np.testing.assert_allclose(eraser(X[:200]).mean(axis=0), X[:200].mean(axis=0), atol=1e-10)


def test_unusable_input_is_refused(two_classes):
    X, y, _ = two_classes()
    with pytest.raises(InputError, match="not finite"):
        LeaceFitter().fit(X, np.where(np.arange(400) == 3, np.nan, y))
    with pytest.raises(InputError, match="equal lengths"):
        LeaceFitter().fit(X, y[:-1])
    with pytest.raises(InputError, match="fitted on 12"):
        LeaceFitter().fit(X, y)(X[:, :4])
