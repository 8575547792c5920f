import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import Ccgp, ccgp, probe_accuracy
from mechdecouple.structure._readout import covariance, scores

# METRICS table of the planted truth: CCGP over contexts, CCGP over the other factors.
EXPECTED = {
    "factored": (1, 1),
    "rotated": (1, 1),
    "oblique": (1, 1),
    "duplicated": (1, 1),
    "fractured": (0.5, 1),
    "fractured + rotated": (0.5, 1),
    "one-hot": (1, 0.5),
    "factored + inert": (1, 1),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_truth(planted, name):
    p = planted(name)
    over_contexts, over_factors = EXPECTED[name]
    assert ccgp(p.X, p.y, p.context).mean() == pytest.approx(over_contexts, abs=0.02)
    assert ccgp(p.X, p.y[:, 0], p.others[:, 0]) == pytest.approx(over_factors, abs=0.03)


@pytest.mark.parametrize("name", EXPECTED)
def test_exact_on_the_noise_free_factorial(planted, name):
    p = planted(name, balanced=True, sigma=0.0)
    np.testing.assert_allclose(ccgp(p.X, p.y, p.context), EXPECTED[name][0], atol=1e-6)


def test_graded_fracture_with_noise_in_span_follows_its_dose():
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 4000), rng.integers(0, 8, 4000)
    noise = rng.normal(size=(4000, 16))
    values = []
    for alpha in np.linspace(0, 1, 6):
        X = noise.copy()
        X[:, 8] += 2 * np.sqrt(1 - alpha) * (2 * y - 1)
        X[np.arange(4000), context] += 2 * np.sqrt(alpha) * (2 * y - 1)
        values.append(ccgp(X, y, context))
    assert (np.diff(values) < 0).all()
    assert values[0] > 0.95
    assert values[-1] == pytest.approx(0.5, abs=0.04)


def test_agrees_with_the_discriminant_written_out():
    """Two contexts of equal cells: fitted in one, tested in the other, with scikit-learn's covariance."""
    rng = np.random.default_rng(0)
    y, context = np.tile([0, 1], 200), np.repeat([0, 1], 200)
    X = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 0.8 * y[:, None]
    expected = []
    for c in (0, 1):
        fit, labels = X[context != c], y[context != c]
        means = np.stack([fit[labels == 0].mean(axis=0), fit[labels == 1].mean(axis=0)])
        w = np.linalg.solve(OAS().fit(fit).covariance_, means[1] - means[0])
        right = ((X[context == c] - means.mean(axis=0)) @ w > 0) == y[context == c]
        expected.append((right[0::2].mean() + right[1::2].mean()) / 2)
    np.testing.assert_allclose(Ccgp(X, y, context).by_context(), expected, atol=1e-12)


def test_discriminant_direction_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 5000)
    X = rng.normal(size=(10_000, 5)) @ (rng.normal(size=(5, 5)) + 2 * np.eye(5)) + np.outer(y, np.ones(5))
    means = np.stack([X[y == 0].mean(axis=0), X[y == 1].mean(axis=0)])
    sigma = covariance(1e4, X.sum(axis=0), X.T @ X)
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y).decision_function(X)
    score = scores(means[None, None], sigma, X)[:, 0]
    assert np.corrcoef(score, oracle)[0, 1] > 0.9999


def test_shrinkage_agrees_with_scikit_learn():
    X = np.random.default_rng(0).normal(size=(40, 12)) @ np.diag(np.arange(1, 13))
    np.testing.assert_allclose(covariance(40.0, X.sum(axis=0), X.T @ X), OAS().fit(X).covariance_, rtol=1e-9, atol=1e-9)


def test_unchanged_by_rotation_translation_and_scale(planted):
    p = planted("fractured", n=1024)
    X = p.X + np.random.default_rng(0).normal(size=p.X.shape)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(128, 128)))[0]
    np.testing.assert_allclose(ccgp(37 * X @ rotation + 5, p.y, p.context), ccgp(X, p.y, p.context), atol=2e-3)


@pytest.mark.parametrize("d", [20, 700])
def test_labels_without_signal_are_at_chance(d):
    rng = np.random.default_rng(0)
    values = [ccgp(rng.normal(size=(400, d)), rng.integers(0, 2, 400), rng.integers(0, 4, 400)) for _ in range(10)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)


def test_a_concept_more_frequent_in_one_context_is_not_read_off_the_context():
    rng = np.random.default_rng(0)
    context = rng.integers(0, 4, 2000)
    y = (rng.random(2000) < np.array([0.1, 0.4, 0.6, 0.9])[context]).astype(int)
    X = 0.3 * rng.normal(size=(2000, 8)) + 3 * context[:, None] * (np.arange(8) == 0)
    assert ccgp(X, y, context) == pytest.approx(0.5, abs=0.04)


def test_groups_in_several_contexts_are_not_learnt_by_heart():
    """Every group has a label and a signature of its own, the same in all contexts; the concept is not coded."""
    rng = np.random.default_rng(0)
    group = np.tile(np.arange(100), 4)
    y, context = (np.arange(100) % 2)[group], np.repeat(np.arange(4), 100)
    X = rng.normal(size=(100, 200))[group] + 0.1 * rng.normal(size=(400, 200))
    assert ccgp(X, y, context) > 0.9
    assert ccgp(X, y, context, group) == pytest.approx(0.5, abs=0.12)


def test_kept_rows_equal_a_fresh_start_and_the_jackknife_runs():
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, (600, 2)), rng.integers(0, 3, 600)
    X = rng.normal(size=(600, 6)) + 1.0 * y[:, :1]
    statistic = Ccgp(X, y, context)
    rows = np.flatnonzero(np.arange(600) % 7 > 0)
    np.testing.assert_allclose(statistic(rows), ccgp(X[rows], y[rows], context[rows]), atol=1e-12)
    result = jackknife(statistic, jackknife_blocks(np.arange(600), 20))
    low, high = result[0].interval()
    assert 0.5 < low < result[0].value < high < 1
    assert result[1].interval()[0] < 0.5 < result[1].interval()[1]


def test_unknown_labels_and_one_sided_contexts_do_not_count():
    rng = np.random.default_rng(0)
    y, context = rng.integers(0, 2, 500).astype(float), rng.integers(0, 5, 500)
    X = 0.1 * rng.normal(size=(500, 4)) + y[:, None]
    y[context == 4] = 1.0
    y[:50] = np.nan
    statistic = Ccgp(X, y, context)
    assert np.isnan(statistic.by_context()).tolist() == [False] * 4 + [True]
    assert statistic() == 1.0


def test_undefined_with_a_reason():
    rng = np.random.default_rng(0)
    statistic = Ccgp(rng.normal(size=(40, 3)), np.arange(40) % 2, np.zeros(40))
    assert np.isnan(statistic())
    assert "two or more contexts" in statistic.reason


def test_constant_activations_are_at_chance():
    assert ccgp(np.ones((40, 3)), np.arange(40) % 2, np.arange(40) % 4 // 2) == 0.5


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.array([[1.0], [np.nan]]), np.array([0, 1]), "row 1, dimension 0"),
        (np.zeros((2, 1)), np.array([0, 2]), "label 2 at row 1"),
        (np.zeros((2, 1)), np.array([0, 1, 1]), "shape"),
    ],
)
def test_unusable_input_is_refused(X, y, message):
    with pytest.raises(InputError, match=message):
        probe_accuracy(X, y)
