from itertools import combinations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.probes import cross_validated, fit_many, grouped_folds
from mechdecouple.probes.many import PATH, held_out_auroc


def oracle(X, y, train, penalty):
    scaler = StandardScaler().fit(X[train])
    model = LogisticRegression(C=1 / (train.sum() * penalty), tol=1e-8, max_iter=20_000)
    return model.fit(scaler.transform(X[train]), y[train]).decision_function(scaler.transform(X))


@pytest.mark.parametrize(("n", "d"), [(400, 12), (80, 150)])
def test_every_layer_fold_and_penalty_agrees_with_scikit_learn(two_classes, n, d):
    X, y, groups = two_classes(n, d, gap=1.0)
    layers, fold, penalties = [X, X[:, ::2] ** 3], grouped_folds(y, groups, 4), (10.0, 0.1, 1e-3)
    path = fit_many(layers, y, fold, penalties, tolerance=1e-5)
    assert path.penalties.tolist() == [10.0, 0.1, 1e-3]
    for l, layer in enumerate(layers):
        for p, penalty in enumerate(penalties):
            expected = np.zeros(n)
            for f in range(4):
                expected[fold == f] = oracle(layer, y, fold != f, penalty)[fold == f]
            np.testing.assert_allclose(path.score[l, :, 0, p], expected, atol=2e-3 * np.abs(expected).max())
            auroc = held_out_auroc(expected[None, :, None], y[:, None].astype(float), fold)[0, 0]
            assert path.auroc()[l, 0, p] == pytest.approx(auroc, abs=0.003)
            probability = 1 / (1 + np.exp(-expected))
            assert path.loss()[l, 0, p] == pytest.approx(log_loss(y, probability), rel=5e-3)


def test_the_tolerance_left_by_default_does_not_move_the_auroc(two_classes):
    X, y, groups = two_classes(600, 200, gap=0.7)
    fold = grouped_folds(y, groups)
    quick, exact = fit_many([X], y, fold), fit_many([X], y, fold, tolerance=1e-5)
    np.testing.assert_allclose(quick.auroc(), exact.auroc(), atol=0.003)


def test_the_penalty_is_chosen_by_probes_that_saw_neither_fold(two_classes):
    X, y, groups = two_classes(160, 60, gap=0.5)
    fold, penalties = grouped_folds(y, groups, 4), np.array([100.0, 10.0, 1.0, 0.1, 0.01, 1e-3])
    found = cross_validated([X], y, fold=fold, penalties=penalties, tolerance=1e-5)
    loss = np.zeros((4, 6))
    for f, g in combinations(range(4), 2):
        for p, penalty in enumerate(penalties):
            score = oracle(X, y, (fold != f) & (fold != g), penalty)
            for outer, inner in ((f, g), (g, f)):
                rows = fold == inner
                loss[outer, p] += np.sum(np.logaddexp(0, score[rows]) - y[rows] * score[rows])
    np.testing.assert_array_equal(found.penalty[0, 0], penalties[loss.argmin(axis=1)])
    for f in range(4):
        expected = oracle(X, y, fold != f, found.penalty[0, 0, f])[fold == f]
        np.testing.assert_allclose(found.score[0, fold == f, 0], expected, atol=2e-3 * np.abs(expected).max())


def test_labels_of_a_fold_have_no_part_in_its_scores(two_classes):
    X, y, groups = two_classes(200, 20, gap=0.8)
    fold = grouped_folds(y, groups)
    other = np.where(fold == 2, np.roll(y, 3), y)
    one, two = (cross_validated([X], labels, fold=fold) for labels in (y, other))
    np.testing.assert_allclose(one.score[0, fold == 2], two.score[0, fold == 2], atol=1e-3)
    assert np.abs(one.score[0, fold == 1] - two.score[0, fold == 1]).max() > 0.01


def test_rows_of_unknown_label_count_for_nothing_but_are_scored(two_classes):
    X, y, groups = two_classes(300, 10)
    fold = grouped_folds(y, groups)
    hidden = np.arange(300) % 3 == 0
    found = fit_many([X], np.where(hidden, np.nan, y), fold, (0.1,), tolerance=1e-5)
    for f in range(5):
        train = fold != f
        scaled = StandardScaler().fit(X[train]).transform(X)  # on all fitted rows: spread needs no label
        known = train & ~hidden
        model = LogisticRegression(C=1 / (known.sum() * 0.1), tol=1e-8, max_iter=20_000).fit(scaled[known], y[known])
        expected = model.decision_function(scaled[fold == f])
        np.testing.assert_allclose(found.score[0, fold == f, 0, 0], expected, atol=1e-3)
    assert found.auroc()[0, 0, 0] == pytest.approx(
        held_out_auroc(found.score[..., 0][:, ~hidden], y[~hidden, None].astype(float), fold[~hidden])[0, 0]
    )


def test_a_concept_with_one_class_is_nan_and_spoils_no_other(two_classes):
    X, y, groups = two_classes(100, 8)
    found = cross_validated([X], np.column_stack([np.ones(100), y]), groups)
    assert np.isnan(found.score[0, :, 0]).all()
    assert np.isnan(found.auroc()[0, 0]) and np.isnan(found.accuracy()[0, 0])
    assert found.auroc()[0, 1] > 0.8


def test_a_class_found_in_one_fold_only_is_nan_there(two_classes):
    X, _, _ = two_classes(90, 8)
    fold = np.arange(90) % 3
    y = np.where(fold == 0, (np.arange(90) // 3) % 2, 0)
    found = fit_many([X], y, fold)
    assert np.isnan(found.score[0, fold == 0]).all()
    assert np.isfinite(found.score[0, fold != 0]).all()


def test_columns_that_are_constant_on_the_fitted_rows_are_left_out(two_classes):
    X, y, groups = two_classes(200, 6)
    fold = grouped_folds(y, groups)
    odd = np.column_stack([X, np.full(200, 3.0), np.where(fold == 0, 1e4 * y, 7.0)])
    plain, wide = fit_many([X], y, fold, tolerance=1e-5), fit_many([odd], y, fold, tolerance=1e-5)
    np.testing.assert_allclose(wide.score[0, fold == 0], plain.score[0, fold == 0], atol=1e-3)


def test_constant_activations_give_ties_at_chance():
    y = np.arange(60) % 2
    found = cross_validated([np.full((60, 5), 2.5)], y)
    assert found.auroc()[0, 0] == 0.5


def test_nothing_to_gain_costs_no_iterations(monkeypatch):
    monkeypatch.setattr("mechdecouple.probes._lbfgs._ITERATIONS", 2)
    rng = np.random.default_rng(0)
    y = (rng.random(90) < 0.3).astype(int)
    rate = [y[np.arange(90) % 3 != f].mean() for f in range(3)]
    path = fit_many([np.full((90, 4), 1.5)], y, np.arange(90) % 3, tolerance=1e-6)
    expected = np.log(np.array(rate) / (1 - np.array(rate)))[np.arange(90) % 3]
    np.testing.assert_allclose(path.score[0, :, 0, 0], expected, atol=1e-5)


def test_a_strong_penalty_leaves_the_difference_of_the_class_means(two_classes):
    X, y, groups = two_classes(400, 12, gap=0.6)
    fold = grouped_folds(y, groups)
    path = fit_many([X], y, fold, (1e4,))
    expected = np.zeros(400)
    for f in range(5):
        train = fold != f
        Z = StandardScaler().fit(X[train]).transform(X)
        expected[fold == f] = (Z @ (Z[train].T @ (y[train] - y[train].mean())))[fold == f]
    limit = held_out_auroc(expected[None, :, None], y[:, None].astype(float), fold)
    np.testing.assert_allclose(path.auroc()[..., 0], limit, atol=0.003)


def test_permuted_labels_are_at_chance(two_classes):
    X, _, groups = two_classes(400, 40, gap=0.0)
    Y = np.stack([np.repeat(np.random.default_rng(50 + s).permutation(200) % 2, 2) for s in range(60)], axis=1)
    found = cross_validated([X], Y, groups)
    assert found.auroc().mean() == pytest.approx(0.5, abs=0.02)
    assert found.accuracy().mean() == pytest.approx(0.5, abs=0.02)


def test_auroc_compares_rows_of_one_fold():
    rng = np.random.default_rng(0)
    score, y, fold = rng.normal(size=120), rng.integers(0, 2, 120).astype(float), rng.integers(0, 3, 120)
    parts = [roc_auc_score(y[fold == f], score[fold == f]) for f in range(3)]
    pairs = [(y[fold == f] == 1).sum() * (y[fold == f] == 0).sum() for f in range(3)]
    moved = score + 10.0 * fold
    found = held_out_auroc(moved[None, :, None], y[:, None], fold)[0, 0]
    assert found == pytest.approx(np.average(parts, weights=pairs))


def test_accuracy_is_balanced_and_measured_from_the_fitted_base_rate(two_classes):
    X, y, groups = two_classes(240, 10, gap=1.0)
    kept = (y == 0) | (np.arange(240) % 4 < 2)
    X, y, groups = X[kept], y[kept], groups[kept]
    found = cross_validated([X], y, groups)
    rate = np.array([y[found.fold != f].mean() for f in found.fold])
    said = found.score[0, :, 0] > np.log(rate / (1 - rate))
    assert found.accuracy()[0, 0] == pytest.approx(balanced_accuracy_score(y, said))
    rows = np.arange(50)
    assert found.accuracy(rows)[0, 0] == pytest.approx(balanced_accuracy_score(y[:50], said[:50]))


def test_results_do_not_depend_on_which_concepts_are_probed_together(two_classes):
    X, y, groups = two_classes(200, 12)
    other = np.roll(y, 7)
    both = cross_validated([X], np.column_stack([y, other]), groups)
    alone = cross_validated([X], other, groups)
    np.testing.assert_array_equal(both.fold, alone.fold)
    np.testing.assert_allclose(both.score[0, :, 1], alone.score[0, :, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X, y, g: (([np.where(X.max() == X, np.nan, X)], y, g)), InputError, "expected finite"),
        (lambda X, y, g: (([X, X[:-1]], y, g)), MismatchError, "layer 1 has 99 rows"),
        (lambda X, y, g: (([], y, g)), InputError, "no layers"),
        (lambda X, y, g: (([X], y * 2, g)), InputError, "expected 0, 1 or NaN"),
        (lambda X, y, g: (([X], y[:-1], g)), InputError, "labels have shape"),
        (lambda X, y, g: (([X], y, g[:-1])), InputError, "groups have shape"),
        (lambda X, y, g: (([X], y, np.arange(100) // 50)), InputError, "2 folds"),
        (lambda X, y, g: (([X], y, np.zeros(100))), InputError, "two groups"),
    ],
)
def test_unusable_input_is_refused_in_one_line(two_classes, change, error, message):
    X, y, groups = two_classes(100, 6)
    with pytest.raises(error, match=message) as caught:
        cross_validated(*change(X, y, groups))
    assert "\n" not in str(caught.value)


def test_options_are_checked(two_classes):
    X, y, groups = two_classes(100, 6)
    fold = grouped_folds(y, groups)
    with pytest.raises(InputError, match="above zero"):
        fit_many([X], y, fold, (0.0, 1.0))
    with pytest.raises(InputError, match="device 'abacus'"):
        fit_many([X], y, fold, device="abacus")
    with pytest.raises(InputError, match="1 folds"):
        fit_many([X], y, np.zeros(100, dtype=int))
    assert cross_validated([X], y, np.arange(100) // 50, penalties=(0.1,)).fold.max() == 1
    assert tuple(sorted(PATH, reverse=True)) == PATH
