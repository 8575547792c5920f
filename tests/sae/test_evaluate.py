import numpy as np
import pytest

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae import evaluate, holdout, train


class Linear:
    """A dictionary whose latents and reconstruction are given by functions."""

    def __init__(self, encode, decode):
        self.encode, self.decode = encode, decode


def mean_predictor(mean, width=5):
    return Linear(lambda X: np.zeros((len(X), width), np.float32), lambda z: np.tile(mean, (len(z), 1)))


def test_predicting_the_mean_explains_nothing():
    rng = np.random.default_rng(0)
    X = (100 + rng.normal(size=(500, 8))).astype(np.float32)  # far from 0: an uncentred EV is near 1
    found = evaluate(mean_predictor(X.mean(0, dtype=np.float64)), X)
    assert found.explained_variance.value == pytest.approx(0, abs=1e-9)
    assert found.fvu.value == pytest.approx(1, abs=1e-9)
    assert found.l0.value == 0
    assert found.dead.value == 1
    assert not found.good_enough
    assert "explained variance" in found.shortcomings and "100% of its latents are dead" in found.shortcomings


def test_batches_do_not_change_the_result():
    """Averaging per-batch ratios is the known mistake: with groups in order, each batch has another mean."""
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(300, 4)) + np.repeat(np.arange(30), 10)[:, None]).astype(np.float32)
    dictionary = mean_predictor(X.mean(0, dtype=np.float64))
    whole, pieces = evaluate(dictionary, X), evaluate(dictionary, X, batch_size=10)
    assert pieces.explained_variance.value == pytest.approx(0, abs=1e-9)
    assert pieces.explained_variance.low == pytest.approx(whole.explained_variance.low)


def test_the_identity_explains_everything():
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    identity = Linear(lambda X: np.concatenate([X.clip(0), (-X).clip(0)], 1), lambda z: z[:, :4] - z[:, 4:])
    found = evaluate(identity, X)
    assert found.explained_variance.value == pytest.approx(1)
    assert found.l0.value == 4
    assert found.dense.value == 1
    assert found.dead.value == 0
    np.testing.assert_allclose(found.frequency.reshape(2, 4).sum(0), 1)
    assert found.good_enough


def test_explained_variance_agrees_with_scikit_learn():
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)).astype(np.float32) @ rng.normal(size=(6, 6)).astype(np.float32) + 3
    noisy = X + rng.normal(size=X.shape)
    found = evaluate(Linear(lambda X: X, lambda z: noisy), X)
    variance_weighted = r2_score(X, noisy, multioutput="variance_weighted")
    assert found.explained_variance.value == pytest.approx(variance_weighted, rel=1e-6)


def test_intervals_are_the_jackknife_over_groups():
    """Against the generic jackknife on the same blocks, and against the standard error of a mean."""
    from mechdecouple.stats import jackknife, jackknife_blocks

    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 3)
    X = (rng.normal(size=(180, 5)) + 10).astype(np.float32)
    rebuilt = X + 0.5 * rng.normal(size=X.shape)
    codes = (rng.random((180, 7)) < 0.4).astype(np.float32)

    def ev(rows):
        x = X[rows].astype(float)
        return 1 - ((x - rebuilt[rows]) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()

    found = evaluate(Linear(lambda X: codes, lambda z: rebuilt), X, groups=groups)
    oracle = jackknife(ev, jackknife_blocks(groups, 20, 0), 60)
    low, high = oracle.interval()
    assert (found.explained_variance.low, found.explained_variance.high) == pytest.approx((low, high), rel=1e-5)
    assert found.explained_variance.n == 60
    every = evaluate(Linear(lambda X: codes, lambda z: rebuilt), X, n_blocks=180)
    half = (every.l0.high - every.l0.low) / 2
    assert half == pytest.approx(1.97 * codes.sum(1).std(ddof=1) / np.sqrt(180), rel=0.01)


def test_a_trained_sae_is_good_enough_on_held_out_groups(planted):
    X, *_ = planted()
    groups = np.arange(len(X)) // 3
    kept = holdout(groups)
    sae = train(X[~kept], width=128, k=6, steps=600)
    found = evaluate(sae, X[kept], groups=groups[kept])
    assert found.explained_variance.value > 0.8
    assert found.explained_variance.low < found.explained_variance.value < found.explained_variance.high
    assert found.l0.value == pytest.approx(6, abs=0.1)
    assert found.good_enough, found.shortcomings
    table = found.frame()
    assert list(table.metric) == ["sae_l0", "sae_explained_variance", "sae_dead_latents"]
    assert "good enough" in found._repr_html_()


def test_an_untrained_sae_is_not_good_enough(planted):
    X, *_ = planted(n=400)
    found = evaluate(train(X, width=64, k=4, steps=1), X)
    assert not found.good_enough


def test_holdout_keeps_groups_together():
    groups = np.random.default_rng(0).integers(0, 100, 1000)
    kept = holdout(groups, share=0.25)
    assert kept.mean() == pytest.approx(0.25, abs=0.02)
    assert not set(groups[kept]) & set(groups[~kept])
    assert np.array_equal(kept, holdout(groups, share=0.25))
    assert not np.array_equal(kept, holdout(groups, share=0.25, seed=1))


def test_what_cannot_be_evaluated_is_refused_or_has_a_reason():
    X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    dictionary = mean_predictor(X.mean(0))
    with pytest.raises(MismatchError, match="19 groups for 20 rows"):
        evaluate(dictionary, X, groups=np.arange(19))
    with pytest.raises(InputError, match="holds NaN"):
        evaluate(dictionary, np.where(X > 1, np.nan, X))
    with pytest.raises(InputError, match="share is 0"):
        holdout(np.arange(5), share=0.0)
    with pytest.raises(InputError, match="one group"):
        holdout(np.zeros(5))
    constant = evaluate(dictionary, np.full((20, 3), 0.1, np.float32))
    assert np.isnan(constant.explained_variance.value)
    assert "do not vary" in constant.explained_variance.reason
    one_group = evaluate(dictionary, X, groups=np.zeros(20))
    assert np.isnan(one_group.explained_variance.low) and "no interval" in one_group.explained_variance.reason
