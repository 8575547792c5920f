import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mechdecouple.errors import InputError
from mechdecouple.probes.pooled import PooledFitter


def one_token_tells(n=300, tokens=12, d=8, seed=0):
    """At one token of each item, marked by dimension 0, dimension 1 holds the label; elsewhere it is loud noise."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    lengths = rng.integers(tokens // 2, tokens + 1, n)
    items = np.repeat(np.arange(n), lengths)
    X = rng.normal(size=(len(items), d))
    X[:, 1] *= 3
    said = np.cumsum(lengths) - 1 - rng.integers(lengths)
    X[said, 0], X[said, 1] = 6, 3 * y - 1.5
    return X, items, y, said


def halves(X, items, y):
    """Items in two halves, each numbered anew."""
    n = len(y)
    first = items < n // 2
    return (X[first], items[first], y[: n // 2]), (X[~first], items[~first] - n // 2, y[n // 2 :])


def test_attention_finds_the_token_that_tells_and_the_mean_does_not():
    X, items, y, said = one_token_tells(600)
    fit, held = halves(X, items, y)
    auroc = {}
    for pooling in ("attention", "mean", "max"):
        probe = PooledFitter(pooling).fit(*fit)
        auroc[pooling] = roc_auc_score(held[2], probe.decision_function(*held[:2]))
    assert auroc["attention"] > 0.97
    assert auroc["mean"] < 0.75
    assert auroc["max"] < auroc["attention"]
    probe = PooledFitter("attention").fit(*fit)
    weight = probe.attention(X, items)
    np.testing.assert_allclose(np.bincount(items, weight), 1)
    assert weight[said].mean() > 0.7


def test_the_maximum_finds_one_loud_token():
    rng = np.random.default_rng(1)
    y = np.arange(400) % 2
    X, items = rng.normal(size=(400 * 20, 5)), np.repeat(np.arange(400), 20)
    loud = 20 * np.flatnonzero(y) + rng.integers(20, size=200)
    X[loud, 2] += 5
    fit, held = halves(X, items, y)
    found = {
        pooling: roc_auc_score(held[2], PooledFitter(pooling).fit(*fit).decision_function(*held[:2]))
        for pooling in ("max", "mean")
    }
    assert found["max"] > 0.97
    assert found["max"] > found["mean"] + 0.1


def test_mean_scores_are_a_logistic_probe_of_the_mean_activation():
    rng = np.random.default_rng(2)
    X, items = rng.normal(size=(900, 6)), np.repeat(np.arange(300), 3)
    means = np.stack([np.bincount(items, column) / 3 for column in X.T], axis=1)
    y = (means[:, 0] + 0.3 * rng.normal(size=300) > 0).astype(int)
    groups = np.arange(300)
    probe = PooledFitter("mean", penalty=1e-3).fit(X, items, y, groups)
    np.testing.assert_allclose(probe.decision_function(X, items), means @ probe.weights + probe.bias, atol=1e-10)
    oracle = (
        LogisticRegression(C=1 / (240 * 1e-3)).fit(means / X.std(axis=0), y).decision_function(means / X.std(axis=0))
    )
    assert np.corrcoef(probe.decision_function(X, items), oracle)[0, 1] > 0.99


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_the_order_of_tokens_and_the_unit_do_not_matter(pooling):
    X, items, y, _ = one_token_tells(120)
    order = np.random.default_rng(3).permutation(len(items))
    probe = PooledFitter(pooling).fit(X, items, y)
    np.testing.assert_allclose(probe.decision_function(X[order], items[order]), probe.decision_function(X, items))
    other = PooledFitter(pooling).fit(7 * X + 3, items, y)
    np.testing.assert_allclose(
        other.decision_function(7 * X + 3, items), probe.decision_function(X, items), rtol=1e-6, atol=1e-8
    )


def test_probabilities_are_calibrated_on_groups_of_their_own():
    X, items, y, _ = one_token_tells(600)
    fit, held = halves(X, items, y)
    p = PooledFitter("attention").fit(*fit).predict_proba(*held[:2])
    assert ((p >= 0) & (p <= 1)).all()
    assert abs(p.mean() - held[2].mean()) < 0.08


def test_more_dimensions_than_items_a_constant_column_and_doubles():
    rng = np.random.default_rng(4)
    y = np.arange(40) % 2
    X, items = rng.normal(size=(80, 90)), np.repeat(np.arange(40), 2)
    X[:, 0] = 5.0
    X[:, 1] = 4.0 * y[items]
    X[1::2] = X[::2]
    for pooling in ("mean", "max", "attention"):
        scores = PooledFitter(pooling).fit(X, items, y).decision_function(X, items)
        assert np.isfinite(scores).all()
        assert roc_auc_score(y, scores) > 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"items": np.repeat(np.arange(20), 2) + 1}, "item 0 has no token"),
        ({"y": np.zeros(20)}, "every label is 0"),
        ({"X": np.full((40, 3), np.nan)}, "expected finite values"),
        ({"pooling": "sum"}, "pooling 'sum' is unknown"),
        ({"penalty": 0.0}, "above zero"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, said):
    given = {"X": np.random.default_rng(0).normal(size=(40, 3)), "items": np.repeat(np.arange(20), 2)}
    given |= {"y": np.arange(20) % 2, "pooling": "mean", "penalty": 0.1} | change
    with pytest.raises(InputError, match=said) as error:
        PooledFitter(given["pooling"], penalty=given["penalty"]).fit(given["X"], given["items"], given["y"])
    assert "\n" not in str(error.value)


def test_a_probe_refuses_another_width():
    X, items, y, _ = one_token_tells(60)
    with pytest.raises(InputError, match="fitted on 8"):
        PooledFitter("mean").fit(X, items, y).decision_function(X[:, :5], items)


def test_a_device_that_does_not_exist_is_refused():
    X = np.random.default_rng(0).normal(size=(80, 2))
    with pytest.raises(InputError, match="device 'tpu9'"):
        PooledFitter(device="tpu9").fit(X, np.arange(80) // 2, np.arange(40) % 2)
