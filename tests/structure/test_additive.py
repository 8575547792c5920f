import itertools

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.additive import AdditiveShare, additive_share

K, C = 6, 8
# METRICS of the planted truth; the closed forms are 1, 1/C and k/(2^k - 1).
EXPECTED = {
    "factored": 1,
    "rotated": 1,
    "oblique": 1,
    "duplicated": 1,
    "fractured": 1 / C,
    "fractured + rotated": 1 / C,
    "one-hot": K / (2**K - 1),
}


def by_definition(X, Y, context, groups):
    """Products of condition means over pairs of rows of different groups, by context; regressions written out."""
    names, cell = np.unique(np.column_stack([context, Y]), axis=0, return_inverse=True)
    cell = cell.ravel()
    several = [len(np.unique(groups[cell == c])) > 1 for c in range(len(names))]
    names, cells = names[several], np.flatnonzero(several)
    means = np.stack([X[cell == c].mean(axis=0) for c in cells])
    X = X - np.stack([means[names[:, 0] == c].mean(axis=0) for c in context])
    G = np.zeros((len(cells), len(cells)))
    for (i, a), (j, b) in itertools.product(enumerate(cells), repeat=2):
        apart = [(r, s) for r in np.flatnonzero(cell == a) for s in np.flatnonzero(cell == b) if groups[r] != groups[s]]
        G[i, j] = np.mean([X[r] @ X[s] for r, s in apart])
    dummies = (names[:, :1] == np.unique(names[:, 0])).astype(float)
    of_context = dummies @ np.linalg.pinv(dummies)
    both = np.column_stack([dummies, names[:, 1:]])
    of_both = both @ np.linalg.pinv(both)
    return np.trace((of_both - of_context) @ G) / np.trace((np.eye(len(cells)) - of_context) @ G)


def graded(alpha, Y, context, n_contexts):
    """u_fc = √(1-α) e_f + √α e_fc."""
    n, k = Y.shape
    X = np.zeros((n, k + k * n_contexts))
    X[:, :k] = np.sqrt(1 - alpha) * (2 * Y - 1)
    for f in range(k):
        X[np.arange(n), k + f * n_contexts + context] = np.sqrt(alpha) * (2 * Y[:, f] - 1)
    return X


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_truth(planted, name):
    p = planted(name)
    assert additive_share(p.X, p.y, p.context) == pytest.approx(EXPECTED[name], abs=1e-3)


def test_large_inert_dimensions_add_noise_but_no_bias(planted):
    p = planted("factored + inert")
    result = jackknife(AdditiveShare(p.X, p.y, p.context), jackknife_blocks(np.arange(len(p.X)), 10))
    low, high = result.interval()
    assert low < 1 < high and high - low < 0.15


@pytest.mark.parametrize("name", EXPECTED)
def test_closed_forms_on_the_noise_free_factorial(planted, name):
    p = planted(name, balanced=True, sigma=0.0)
    twice = np.tile(np.arange(len(p.X)), 2)
    assert additive_share(p.X[twice], p.y[twice], p.context[twice]) == pytest.approx(EXPECTED[name], abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_graded_fracture_has_its_closed_form(planted, alpha):
    p = planted("factored", balanced=True, sigma=0.0)
    X = graded(alpha, p.y, p.context, C)
    twice = np.tile(np.arange(len(X)), 2)
    share = additive_share(X[twice], p.y[twice], p.context[twice])
    assert share == pytest.approx(1 - alpha + alpha / C, abs=1e-6)


def test_is_the_ratio_written_out():
    rng = np.random.default_rng(0)
    Y, context, groups = rng.integers(0, 2, (90, 2)), rng.integers(0, 3, 90), rng.integers(0, 25, 90)
    X = rng.normal(size=(90, 5)) + rng.normal(size=(2, 2, 3, 5))[Y[:, 0], Y[:, 1], context]
    assert additive_share(X, Y, context, groups) == pytest.approx(by_definition(X, Y, context, groups), abs=1e-9)
    assert additive_share(X, Y, context) == pytest.approx(by_definition(X, Y, context, np.arange(90)), abs=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_noise_adds_neither_to_interactions_nor_to_main_effects(alpha):
    """Noise of ten times the variance of the signal, some four rows a condition."""
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        Y, context = rng.integers(0, 2, (256, 3)), rng.integers(0, 4, 256)
        X = graded(alpha, Y, context, 4)
        values.append(AdditiveShare(X + 1.4 * rng.normal(size=X.shape), Y, context)())
    expected = 1 - alpha + alpha / 4
    assert np.median(values) == pytest.approx(expected, abs=4 * np.std(values) / np.sqrt(60))
    assert np.std(values) < 0.25


def test_what_a_group_has_of_its_own_does_not_count():
    """Each group is asked in all contexts with the same labels: its own offset is no effect of the concepts."""
    values = {True: [], False: []}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        group, context = np.repeat(np.arange(40), 4), np.tile(np.arange(4), 40)
        Y = rng.integers(0, 2, (40, 2))[group]
        X = graded(1.0, Y, context, 4)
        X += 1.5 * rng.normal(size=(40, X.shape[1]))[group]
        for known in values:
            values[known].append(AdditiveShare(X, Y, context, group if known else None)())
    assert np.median(values[True]) == pytest.approx(1 / 4, abs=0.06)
    assert np.median(values[False]) > 0.4


def test_offsets_of_contexts_neither_hide_fracture_nor_add_to_it():
    rng = np.random.default_rng(0)
    Y, context = rng.integers(0, 2, (2000, 3)), rng.integers(0, 4, 2000)
    X = graded(1.0, Y, context, 4)
    offset = 10 * rng.normal(size=(4, X.shape[1]))[context]
    assert additive_share(X + offset, Y, context) == pytest.approx(1 / 4, abs=1e-6)


def test_unequal_frequencies_do_not_matter():
    """Conditions count alike: contexts of 70, 15, 10 and 5 % and correlated concepts, all combinations filled."""
    rng = np.random.default_rng(0)
    context = rng.choice(4, 6000, p=[0.7, 0.15, 0.1, 0.05])
    first = rng.integers(0, 2, 6000)
    Y = np.column_stack([first, np.where(rng.random(6000) < 0.8, first, 1 - first)])
    for alpha in (0.0, 0.5, 1.0):
        share = additive_share(graded(alpha, Y, context, 4), Y, context)
        assert share == pytest.approx(1 - alpha + alpha / 4, abs=1e-6)


def test_empty_conditions_leave_a_tidy_code_tidy():
    rng = np.random.default_rng(0)
    Y, context = rng.integers(0, 2, (400, 3)), rng.integers(0, 4, 400)
    kept = ~((context == 1) & (Y[:, 0] == 1)) & ~((context == 2) & (Y.sum(axis=1) > 1))
    Y, context = Y[kept], context[kept]
    assert additive_share(graded(0.0, Y, context, 4), Y, context) == pytest.approx(1, abs=1e-9)
    assert additive_share(graded(1.0, Y, context, 4), Y, context) < 0.6


def test_conditions_of_one_group_and_unknown_labels_are_left_out():
    rng = np.random.default_rng(0)
    Y, context = rng.integers(0, 2, (300, 2)).astype(float), rng.integers(0, 3, 300)
    X = graded(0.5, Y, context, 3) + 0.3 * rng.normal(size=(300, 8))
    expected = additive_share(X, Y, context)
    more = np.full((4, 8), 100.0), np.array([[0, 1], [0, np.nan], [np.nan, 1], [1, 1]]), np.array([7, 0, 0, 8])
    X, Y, context = (np.concatenate(pair) for pair in zip((X, Y, context), more, strict=True))
    assert additive_share(X, Y, context) == pytest.approx(expected, abs=1e-9)


def test_condition_means_without_order_reach_the_null():
    values, null = [], np.nan
    for seed in range(60):
        rng = np.random.default_rng(seed)
        Y, context = np.tile(np.array(list(itertools.product((0, 1), repeat=3))), (8, 1)), np.repeat(np.arange(4), 16)
        X = rng.normal(size=(4, 2, 2, 2, 50))[context, *Y.T] + 0.5 * rng.normal(size=(64, 50))
        statistic = AdditiveShare(X, Y, context)
        values.append(statistic())
        null = statistic.null()
    assert null == pytest.approx(3 / (32 - 4))
    assert np.mean(values) == pytest.approx(null, abs=4 * np.std(values) / np.sqrt(60))


@pytest.mark.parametrize("d", [10, 300])
def test_unchanged_by_rotation_translation_and_scale(d):
    rng = np.random.default_rng(0)
    Y, context = rng.integers(0, 2, (200, 2)), rng.integers(0, 3, 200)
    X = np.pad(graded(0.5, Y, context, 3), ((0, 0), (0, d - 8))) + 0.3 * rng.normal(size=(200, d))
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    value = additive_share(X, Y, context)
    assert additive_share(0.01 * X @ rotation + 3, Y, context) == pytest.approx(value, abs=1e-8)
    assert additive_share(X, 1 - Y, context) == pytest.approx(value, abs=1e-9)
    order = rng.permutation(200)
    assert additive_share(X[order], Y[order], context[order]) == pytest.approx(value, abs=1e-9)


def test_kept_rows_equal_a_fresh_start():
    rng = np.random.default_rng(0)
    Y, context, groups = rng.integers(0, 2, (300, 2)), rng.integers(0, 3, 300), np.arange(300) // 2
    X = graded(0.5, Y, context, 3) + 0.3 * rng.normal(size=(300, 8))
    rows = np.flatnonzero(np.arange(300) % 7 > 0)
    fresh = additive_share(X[rows], Y[rows], context[rows], groups[rows])
    assert AdditiveShare(X, Y, context, groups)(rows) == pytest.approx(fresh, abs=1e-9)


def test_jackknife_error_is_the_spread_over_fresh_samples():
    values, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        Y, context = rng.integers(0, 2, (400, 2)), rng.integers(0, 4, 400)
        X = graded(0.5, Y, context, 4) + 0.5 * rng.normal(size=(400, 10))
        result = jackknife(AdditiveShare(X, Y, context), jackknife_blocks(np.arange(400), 10))
        values.append(result.value)
        errors.append(result.standard_error())
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.3)


@pytest.mark.parametrize(
    ("Y", "context"),
    [
        (np.arange(40) % 2, None),
        (np.arange(40) % 2, np.zeros(40)),
        (np.zeros((40, 2)), np.arange(40) % 2),
        (np.full((40, 2), np.nan), None),
        (np.arange(40) % 2, np.arange(40)),
    ],
)
def test_undefined_without_something_to_cross(Y, context):
    statistic = AdditiveShare(np.random.default_rng(0).normal(size=(40, 3)), Y, context)
    assert np.isnan(statistic()) and np.isnan(statistic.null())
    assert "more conditions" in statistic.reason


def test_constant_activations_are_undefined_and_one_concept_in_two_contexts_is_not():
    y, context = np.tile([0, 0, 1, 1], 10), np.tile([0, 1, 0, 1], 10)
    assert np.isnan(additive_share(np.ones((40, 3)), y, context))
    assert additive_share(np.outer(y, np.ones(3)), y, context) == pytest.approx(1)
    assert additive_share(np.outer(np.where(context, y, -y), np.ones(3)), y, context) == pytest.approx(0, abs=1e-12)


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match="row 1, dimension 0"):
        additive_share(np.array([[1.0], [np.inf]]), np.array([0, 1]))
    with pytest.raises(InputError, match="context has shape"):
        additive_share(np.zeros((2, 1)), np.array([0, 1]), np.zeros(3))
