import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mechdecouple.faithfulness.recovery import rationale_auroc


def test_agrees_with_scikit_learn_on_each_item():
    rng = np.random.default_rng(0)
    values, used = rng.integers(0, 4, (30, 9)).astype(float), rng.random((30, 9)) < 0.4
    used[:, 0], used[:, 1] = True, False
    maskable = np.ones((30, 9), bool)
    expected = [roc_auc_score(u, v) for u, v in zip(used, values, strict=True)]
    assert rationale_auroc(values, used, maskable) == pytest.approx(expected)


def test_what_cannot_be_masked_does_not_count_and_one_kind_alone_is_undefined():
    values = np.array([[0.0, 5.0, 1.0, np.nan]] * 2)
    used = np.array([[True, False, False, False], [False] * 4])
    maskable = np.array([[True, False, True, False]] * 2)
    found = rationale_auroc(values, used, maskable)
    assert found[0] == 0.0
    assert np.isnan(found[1])
