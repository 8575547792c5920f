import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from mechdecouple.errors import InputError
from mechdecouple.probes import LeaceFitter
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.collateral import ErasureCollateral, _readouts, erasure_collateral

ORTHOGONAL = ["factored", "rotated", "duplicated", "fractured", "fractured + rotated", "one-hot", "factored + inert"]


def two_concepts(c, n=20_000, d=20):
    """Points of two balanced ±1 concepts along unit vectors of cosine c, without noise."""
    Y = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (n // 4, 1))
    directions = np.zeros((2, d))
    directions[0, 0], directions[1, :2] = 1, (c, np.sqrt(1 - c**2))
    return (2 * Y - 1) @ directions, Y


def closed_form(c, noise=1.0):
    """Accuracy of the best linear read-out of one of two concepts under noise, before and after the other is erased."""
    gram = np.array([[1, c], [c, 1]])
    weight = np.linalg.solve(gram + noise**2 * np.eye(2), [0, 1])  # along the two directions
    other, own = gram @ weight
    spread = noise * np.sqrt(weight @ gram @ weight)
    before = (norm.cdf((own + other) / spread) + norm.cdf((own - other) / spread)) / 2
    return before, norm.cdf(np.sqrt(1 - c**2) / noise)


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_orthogonal_codes_lose_nothing(planted, name):
    p = planted(name)
    np.testing.assert_allclose(erasure_collateral(p.X, p.y, p.context), 0, atol=5e-4)


@pytest.mark.parametrize("c", [0.0, 0.3, 0.6, 0.9])
def test_two_concepts_have_their_closed_form(c):
    X, Y = two_concepts(c)
    before, after = closed_form(c)
    np.testing.assert_allclose(erasure_collateral(X, Y), before - after, atol=1e-3)
    # Erased, a concept is at chance.
    np.testing.assert_allclose(np.diag(ErasureCollateral(X, Y).matrix()), before - 0.5, atol=1e-3)


def test_follows_the_dose_of_obliqueness(planted):
    doses = np.linspace(0, 0.9, 10)
    values = [erasure_collateral(p.X, p.y).mean() for p in (planted("oblique", cos=c) for c in doses)]
    assert spearmanr(doses, values).statistic >= 0.95
    assert abs(values[0]) < 5e-4 and values[-1] > 0.01


def test_only_the_concepts_that_overlap_lose():
    X, Y = two_concepts(0.8, n=8000)
    third = np.random.default_rng(0).integers(0, 2, 8000)
    X[:, 5] += 2 * third
    drop = ErasureCollateral(X, np.column_stack([Y, third])).matrix()
    before, after = closed_form(0.8)
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = before - after
    np.fill_diagonal(drop, 0)
    np.testing.assert_allclose(drop, expected, atol=2e-3)


def test_agrees_with_leace_on_drawn_noise_and_a_fresh_readout():
    """The same by hand: noise drawn, the reference eraser, a discriminant before and after, fresh rows to score."""
    c, rng = 0.8, np.random.default_rng(0)
    X, Y = two_concepts(c, n=40_000, d=4)
    fit, test = (X + rng.normal(size=X.shape) for _ in range(2))
    eraser = LeaceFitter(shrinkage=False).fit(fit, Y[:, 0])

    def accuracy(train, held_out):
        sigma = np.linalg.pinv(np.cov(train.T), rcond=1e-9)
        means = [train[Y[:, 1] == label].mean(axis=0) for label in (0, 1)]
        score = (held_out - (means[0] + means[1]) / 2) @ sigma @ (means[1] - means[0])
        return np.mean([(score[Y[:, 1] == 1] > 0).mean(), (score[Y[:, 1] == 0] < 0).mean()])

    drop = accuracy(fit, test) - accuracy(eraser(fit), eraser(test))
    assert drop > 0.02
    assert ErasureCollateral(X, Y).matrix()[0, 1] == pytest.approx(drop, abs=0.006)


def test_the_new_readout_is_the_old_one_on_erased_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    a, delta = rng.normal(size=(2, 6))
    sigma = np.cov(X.T)
    b = np.linalg.solve(sigma, a)
    erase = np.eye(6) - np.outer(a, b) / (a @ b)
    refitted = np.linalg.pinv(erase @ sigma @ erase.T, rcond=1e-10) @ erase @ delta
    before, after = _readouts(sigma, 0.0, a[None], delta).T
    np.testing.assert_allclose(after, erase.T @ refitted, atol=1e-9)
    np.testing.assert_allclose(after, erase.T @ before, atol=1e-9)


@pytest.mark.parametrize("d", [12, 400])
def test_noise_alone_and_codes_without_overlap_are_at_zero(d):
    values = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        Y = rng.integers(0, 2, (300, 3))
        X = 0.5 * rng.normal(size=(300, d)) + np.pad(2.0 * Y, ((0, 0), (0, d - 3)))
        values.append(erasure_collateral(X, Y).mean())
    assert np.mean(values) == pytest.approx(0, abs=max(4 * np.std(values) / np.sqrt(6), 2e-3))


@pytest.mark.parametrize("d", [10, 500])
def test_unchanged_by_rotation_translation_and_scale(d):
    rng = np.random.default_rng(0)
    X, Y = two_concepts(0.6, n=200, d=d)
    X = X + 0.3 * rng.normal(size=X.shape)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    value = erasure_collateral(X, Y)
    np.testing.assert_allclose(erasure_collateral(0.01 * X @ rotation + 3, Y), value, atol=1e-7)
    np.testing.assert_allclose(erasure_collateral(X, 1 - Y), value, atol=1e-9)


def test_contexts_count_alike_and_frequencies_do_not_matter():
    """One context in ten rows has overlapping concepts; the drop is the mean over both contexts."""
    X, Y = two_concepts(0.8, n=4000)
    rng = np.random.default_rng(0)
    rare = (rng.random(4000) < 0.9) & (Y[:, 1] == 1)
    value = erasure_collateral(X[~rare], Y[~rare])
    assert value[0] == pytest.approx(erasure_collateral(X, Y)[0], abs=0.02)
    np.testing.assert_allclose(erasure_collateral(X, Y, np.zeros(4000)), erasure_collateral(X, Y), atol=1e-12)


def test_kept_rows_and_jackknife():
    rng = np.random.default_rng(0)
    X, Y = two_concepts(0.8, n=800)
    X = X + 0.3 * rng.normal(size=X.shape)
    groups = np.arange(800) // 2
    result = jackknife(ErasureCollateral(X, Y, None, groups), jackknife_blocks(groups), 400)
    for one in result:
        low, high = one.interval()
        assert 0 < low < one.value < high < 0.2
    broken = X.copy()
    broken[::5] = 100.0
    kept = np.flatnonzero(np.arange(800) % 5 > 0)
    first, second = (ErasureCollateral(V, Y)(kept) for V in (X, broken))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_jackknife_error_is_the_spread_over_fresh_samples():
    values, errors = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        Y = rng.integers(0, 2, (400, 2))
        X = (2 * Y - 1) @ np.array([[1, 0, 0], [0.8, 0.6, 0]]) + 0.4 * rng.normal(size=(400, 3))
        result = jackknife(ErasureCollateral(X, Y), jackknife_blocks(np.arange(400), 6))[0]
        values.append(result.value)
        errors.append(result.standard_error())
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.45)


def test_groups_are_not_learnt_by_heart():
    """Each group has a signature and labels of its own; without concepts there is nothing to lose."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 5)
    Y, X = rng.integers(0, 2, (60, 2))[group], rng.normal(size=(60, 100))[group] + 0.01 * rng.normal(size=(300, 100))
    value = erasure_collateral(X, Y, None, group)
    assert (np.isnan(value) | (np.abs(value) < 0.06)).all()


@pytest.mark.parametrize("Y", [np.arange(40)[:, None] % 2, np.zeros((40, 2)), np.full((40, 2), np.nan)])
def test_undefined_with_a_reason(Y):
    statistic = ErasureCollateral(np.random.default_rng(0).normal(size=(40, 3)), Y)
    assert np.isnan(statistic()).all()
    assert "another concept" in statistic.reason


def test_constant_activations_and_unknown_labels():
    Y = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (10, 1)).astype(float)
    assert np.isnan(erasure_collateral(np.ones((40, 3)), Y)).all()
    X, Y = two_concepts(0.8, n=4000)
    unknown = Y.astype(float)
    unknown[::7, 0] = np.nan
    np.testing.assert_allclose(erasure_collateral(X, unknown), erasure_collateral(X, Y), atol=5e-3)


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="label 2 at row 1"):
        erasure_collateral(np.zeros((2, 1)), np.array([[0, 1], [2, 1]]))
