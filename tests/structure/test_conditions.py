import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure.ccgp import ccgp
from mechdecouple.structure.conditions import (
    CCGP_CONCEPTS,
    PARALLELISM_CONCEPTS,
    CcgpOverConcepts,
    ParallelismOverConcepts,
    other_concepts,
)
from mechdecouple.structure.parallelism import parallelism

NAMES = ["factored", "rotated", "oblique", "duplicated", "fractured", "fractured + rotated", "factored + inert"]


def test_codes_tell_the_combinations_of_the_others_apart():
    Y = np.random.default_rng(0).integers(0, 2, (200, 4))
    codes = other_concepts(Y)
    for f in range(4):
        others = np.delete(Y, f, axis=1)
        same = (others[:, None] == others).all(axis=2)
        np.testing.assert_array_equal(codes[:, [f]] == codes[:, f], same)


def test_codes_do_not_change_with_the_concept_itself():
    Y = np.random.default_rng(0).integers(0, 2, (50, 3))
    flipped = Y.copy()
    flipped[:, 1] = 1 - Y[:, 1]
    np.testing.assert_array_equal(other_concepts(Y)[:, 1], other_concepts(flipped)[:, 1])


def test_an_unknown_label_makes_the_condition_of_the_others_unknown():
    Y = np.array([[0, 1, np.nan], [0, 1, 1]])
    assert other_concepts(Y).tolist() == [[-1, -1, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", NAMES)
def test_codes_that_add_up(planted, name):
    p = planted(name)
    np.testing.assert_allclose(CcgpOverConcepts(p.X, p.y)(), 1, atol=0.01)
    assert ParallelismOverConcepts(p.X, p.y)().mean() == pytest.approx(1, abs=0.02)


def test_one_hot_is_conjunctive(planted):
    p = planted("one-hot")
    assert CcgpOverConcepts(p.X, p.y)().mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(ParallelismOverConcepts(p.X, p.y)(), 0, atol=0.01)


@pytest.mark.parametrize("name", ["factored", "oblique", "duplicated", "one-hot"])
def test_exact_on_the_noise_free_factorial(planted, name):
    p = planted(name, balanced=True, sigma=0.0)
    np.testing.assert_allclose(CcgpOverConcepts(p.X, p.y)(), 0.5 if name == "one-hot" else 1, atol=1e-6)
    np.testing.assert_allclose(ParallelismOverConcepts(p.X, p.y)(), 0 if name == "one-hot" else 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_parallelism_over_contexts_is_one_minus_the_graded_fracture(alpha):
    """u_fc = √(1-α) e_f + √α e_fc, eight contexts; over the other concepts nothing is fractured."""
    k, C, n = 3, 8, 24_000
    rng = np.random.default_rng(0)
    Y, context = rng.integers(0, 2, (n, k)), rng.integers(0, C, n)
    X = 0.3 * rng.normal(size=(n, k + k * C))
    X[:, :k] += np.sqrt(1 - alpha) * Y
    for f in range(k):
        X[np.arange(n), k + f * C + context] += np.sqrt(alpha) * Y[:, f]
    np.testing.assert_allclose(parallelism(X, Y, context), 1 - alpha, atol=0.03)
    np.testing.assert_allclose(ParallelismOverConcepts(X, Y)(), 1, atol=0.03)


def test_an_exclusive_or_of_two_concepts_touches_only_these():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (4000, 3))
    X = 0.1 * rng.normal(size=(4000, 6))
    X[:, 0] += Y[:, 0] ^ Y[:, 1]
    X[:, 1] += Y[:, 2]
    value = ParallelismOverConcepts(X, Y)()
    # A coding vector turns round with the other concept: of four combinations, two by two the same.
    np.testing.assert_allclose(value, [-1 / 3, -1 / 3, 1], atol=0.01)


@pytest.mark.parametrize("n", [150, 300])
def test_sparse_combinations(n):
    """Sixty-four combinations of six concepts: two to five rows each."""
    values = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        Y, noise = rng.integers(0, 2, (n, 6)), 0.3 * rng.normal(size=(n, 64))
        one_hot = noise.copy()
        one_hot[np.arange(n), Y @ 2 ** np.arange(6)] += np.sqrt(6)
        factored = noise + np.pad(2.0 * Y - 1, ((0, 0), (0, 58)))
        values.append([CcgpOverConcepts(X, Y)().mean() for X in (factored, one_hot, noise)])
    np.testing.assert_allclose(np.mean(values, axis=0), [1, 0.5, 0.5], atol=0.05)


def test_rows_without_a_usable_condition_do_not_count():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (400, 2)).astype(float)
    X = 0.1 * rng.normal(size=(400, 4)) + np.pad(Y, ((0, 0), (0, 2)))
    Y[:40, 1] = np.nan
    X[:40] *= -50
    assert CcgpOverConcepts(X, Y)()[0] == ccgp(X, np.where(np.isnan(Y[:, 1]), np.nan, Y[:, 0]), other_concepts(Y)[:, 0])
    np.testing.assert_allclose(ParallelismOverConcepts(X, Y)()[0], 1, atol=0.01)


def test_kept_rows_jackknife_and_groups():
    rng = np.random.default_rng(0)
    Y, groups = rng.integers(0, 2, (600, 3)), np.arange(600) // 2
    X = 1.0 * rng.normal(size=(600, 6)) + np.pad(Y, ((0, 0), (0, 3)))
    for statistic in (CcgpOverConcepts(X, Y, groups), ParallelismOverConcepts(X, Y, groups)):
        result = jackknife(statistic, jackknife_blocks(groups, 20), 300)
        assert result.shape == (3,)
        for one in result:
            low, high = one.interval()
            assert low < one.value < high


def test_no_error_at_all_is_no_certainty():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (600, 3))
    result = jackknife(CcgpOverConcepts(np.pad(Y, ((0, 0), (0, 3))) * 1.0, Y), jackknife_blocks(np.arange(600)))
    np.testing.assert_array_equal(result.value, 1)
    assert (result.standard_error() > 1 / 600).all()


def test_rows_left_out_do_not_count():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (300, 3))
    X = 0.5 * rng.normal(size=(300, 6)) + np.pad(Y, ((0, 0), (0, 3)))
    kept = np.arange(300) % 5 > 0
    first, second = (CcgpOverConcepts(V, Y)(np.flatnonzero(kept)) for V in (X, np.where(kept[:, None], X, 100.0)))
    np.testing.assert_allclose(first, second, atol=1e-9)


@pytest.mark.parametrize("statistic", [CcgpOverConcepts, ParallelismOverConcepts])
@pytest.mark.parametrize("Y", [np.arange(40)[:, None] % 2, np.tile(np.arange(40)[:, None] % 2, 2), np.zeros((40, 2))])
def test_one_concept_or_concepts_that_never_part_are_undefined(statistic, Y):
    measured = statistic(np.random.default_rng(0).normal(size=(40, 3)), Y)
    assert np.isnan(measured()).all()
    assert "two or more combinations" in measured.reason


def test_unusable_labels_are_refused():
    with pytest.raises(InputError, match="label 2 at row 1, concept 0"):
        other_concepts(np.array([[0, 1], [2, 1]]))
    with pytest.raises(InputError, match="shape"):
        CcgpOverConcepts(np.zeros((3, 2)), np.zeros((4, 2)))


def test_metrics_have_names_of_their_own():
    assert CCGP_CONCEPTS.name == "ccgp_concepts" and np.isnan(CCGP_CONCEPTS.margin)
    assert PARALLELISM_CONCEPTS.name == "parallelism_concepts"
