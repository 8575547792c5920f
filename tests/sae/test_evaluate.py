import numpy as np
import pytest
import torch

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae import SparseAutoencoder, evaluate, holdout, train
from mechdecouple.sae._saelens import saelens


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
    for perfect in (found.cosine, found.norm_ratio, found.shrinkage):
        assert perfect.value == pytest.approx(1)
    assert found.mse.value == pytest.approx(0, abs=1e-12)
    assert "4 latents fire on a row of 4 dimensions" in found.shortcomings  # no feat: any basis does that


def test_explained_variance_agrees_with_scikit_learn():
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)).astype(np.float32) @ rng.normal(size=(6, 6)).astype(np.float32) + 3
    noisy = X + rng.normal(size=X.shape)
    found = evaluate(Linear(lambda X: X, lambda z: noisy), X)
    variance_weighted = r2_score(X, noisy, multioutput="variance_weighted")
    assert found.explained_variance.value == pytest.approx(variance_weighted, rel=1e-6)


def test_a_reconstruction_too_small_by_a_factor_is_called_so():
    """x̂ = x̄ + s(x − x̄): scale s, explained variance 1 − (1 − s)², wherever the origin lies."""
    X = (np.random.default_rng(3).normal(size=(400, 6)) + 30).astype(np.float32)
    mean = X.mean(0, dtype=np.float64)
    for s in (0.5, 0.8, 1.3):
        found = evaluate(Linear(lambda X: X, lambda z, s=s: mean + s * (z - mean)), X)
        assert found.shrinkage.value == pytest.approx(s, rel=1e-6)
        assert found.explained_variance.value == pytest.approx(1 - (1 - s) ** 2, rel=1e-6)
        assert found.shrinkage.low <= s <= found.shrinkage.high
    assert found.norm_ratio.value == pytest.approx(1, abs=0.05)  # about the origin, the same shrinkage hardly shows


def test_leaving_a_part_out_is_not_shrinkage():
    """Least squares leaves out what it cannot hold: the norm falls, the scale does not."""
    X = np.random.default_rng(4).normal(size=(500, 6)).astype(np.float32)
    X -= X.mean(0)
    half = Linear(lambda X: X, lambda z: np.concatenate([z[:, :3], np.zeros((len(z), 3))], 1))
    found = evaluate(half, X)
    assert found.shrinkage.value == pytest.approx(1, abs=1e-5)
    assert found.norm_ratio.value < 0.8
    assert found.cosine.value == pytest.approx(found.norm_ratio.value, rel=1e-6)  # of a projection they are one


def test_cosine_and_error_have_the_mean_row_as_their_null():
    X = (np.random.default_rng(5).normal(size=(300, 5)) + 3).astype(np.float32)
    mean = X.mean(0, dtype=np.float64)
    found = evaluate(mean_predictor(mean), X)
    assert found.cosine.value == pytest.approx(found.cosine.null) and found.cosine.null > 0.8
    assert found.mse.value == pytest.approx(found.mse.null) == pytest.approx(X.astype(float).var(0).mean())
    assert np.isnan(found.shrinkage.value) and "mean row" in found.shrinkage.reason
    moved = evaluate(Linear(lambda X: X, lambda z: 2 * z), 2 * X), evaluate(Linear(lambda X: X, lambda z: 2 * z), X)
    assert moved[0].cosine.value == pytest.approx(moved[1].cosine.value) == pytest.approx(1)
    assert moved[0].norm_ratio.value == pytest.approx(2)


def test_activations_on_disk_are_read_in_batches_by_item(tmp_path, trained):
    sae, X, *_ = trained
    items = np.repeat(np.arange(500), 6)
    acts = Activations.from_arrays(
        {"blocks.1.hook_resid_post": X, "other": X[:, :3]}, [f"i{i:03d}" for i in items], position="all"
    )
    stored = acts.save(tmp_path / "acts")
    found, plain = evaluate(sae, stored), evaluate(sae, X, groups=items)
    assert found.l0 == plain.l0 and found.l0.n == 500
    assert found.explained_variance.value == pytest.approx(plain.explained_variance.value, rel=1e-6)
    assert found.explained_variance.low == pytest.approx(plain.explained_variance.low, rel=1e-6)
    np.testing.assert_array_equal(found.frequency, plain.frequency)
    with pytest.raises(MismatchError, match=r"trained on hook point 'blocks.1.hook_resid_post', not 'other'"):
        evaluate(sae, stored, "other")
    with pytest.raises(InputError, match=r"hook point 'blocks.1.hook_resid_post' of the SAE is not here"):
        evaluate(sae, Activations.from_arrays({"other": X[:5]}, list("abcde")))
    with pytest.raises(InputError, match="width 3, this SAE reads width 32"):
        evaluate(sae, X[:, :3])
    with pytest.raises(InputError, match="no rows"):
        evaluate(sae, stored.select([]))
    assert evaluate(sae, stored.select(items < 100)).l0.n == 100


def test_rows_brought_to_one_scale_by_the_sae_are_judged_on_their_own():
    X = np.random.default_rng(6).normal(size=(200, 8)).astype(np.float32) * np.linspace(1, 9, 200)[:, None]
    fields = {"architecture": "topk", "d_in": 8, "d_sae": 32, "k": 4, "dtype": "float32", "device": "cpu"}
    torch.manual_seed(0)
    sae = SparseAutoencoder(saelens().SAE.from_dict({**fields, "normalize_activations": "layer_norm"}))
    rebuilt = sae.reconstruct(X)
    expected = 1 - np.square(X - rebuilt).sum() / np.square(X - X.mean(0)).sum()
    assert evaluate(sae, X, batch_size=64).explained_variance.value == pytest.approx(expected, rel=1e-5)


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

    def scale(rows):
        x, r = X[rows].astype(float), rebuilt[rows].astype(float)
        return ((r - x.mean(0)) ** 2).sum() / ((r - x.mean(0)) * (x - x.mean(0))).sum()

    low, high = jackknife(scale, jackknife_blocks(groups, 20, 0), 60).interval()
    assert (found.shrinkage.low, found.shrinkage.high) == pytest.approx((low, high), rel=1e-6)
    every = evaluate(Linear(lambda X: codes, lambda z: rebuilt), X, n_blocks=180)
    half = (every.l0.high - every.l0.low) / 2
    assert half == pytest.approx(1.97 * codes.sum(1).std(ddof=1) / np.sqrt(180), rel=0.01)


def test_a_trained_sae_is_good_enough_on_held_out_groups(planted):
    X, *_ = planted()
    groups = np.arange(len(X)) // 3
    kept = holdout(groups)
    sae = train(X[~kept], width=128, k=6, steps=300)
    found = evaluate(sae, X[kept], groups=groups[kept])
    assert found.explained_variance.value > 0.8
    assert found.explained_variance.low < found.explained_variance.value < found.explained_variance.high
    assert found.l0.value == pytest.approx(6, abs=0.1)
    assert found.good_enough, found.shortcomings
    table = found.frame()
    assert table.metric.is_unique and {"sae_l0", "sae_explained_variance", "sae_dead_latents"} <= set(table.metric)
    assert table.value.notna().all()
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
    acts = Activations.from_arrays({"only": X.copy()}, [f"i{i}" for i in range(20)])
    acts["only"][7, 1] = np.inf
    with pytest.raises(InputError, match="item 'i7', row 7 of the activations holds NaN or infinity"):
        evaluate(dictionary, acts, batch_size=3)
    with pytest.raises(InputError, match="expected \\[rows, width\\] with at least one row"):
        evaluate(dictionary, X[:0])
    two = Activations.from_arrays({"a": X, "b": X}, [f"i{i}" for i in range(20)])
    with pytest.raises(InputError, match="which hook point does this SAE read\\? name one of a, b"):
        evaluate(dictionary, two)
    with pytest.raises(InputError, match="share is 0"):
        holdout(np.arange(5), share=0.0)
    with pytest.raises(InputError, match="one group"):
        holdout(np.zeros(5))
    constant = evaluate(dictionary, np.full((20, 3), 0.1, np.float32))
    assert np.isnan(constant.explained_variance.value)
    assert "do not vary" in constant.explained_variance.reason
    one_group = evaluate(dictionary, X, groups=np.zeros(20))
    assert np.isnan(one_group.explained_variance.low) and "no interval" in one_group.explained_variance.reason
