"""CKA against pins, closed forms and an oracle; its intervals and its permutation null."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.structure import _products, cka, cka_matrix


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    legacy = np.random.RandomState(1337)
    X = legacy.randn(100, 10)
    return X, legacy.randn(100, 10) + X


def factorial(k: int = 6, n_contexts: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """All settings of k factors of +-1 in all contexts, once each."""
    factors = np.array(list(itertools.product([-1.0, 1.0], repeat=k)))
    return np.tile(factors, (n_contexts, 1)), np.repeat(np.arange(n_contexts), len(factors))


def test_pins(pair):
    X, Y = pair
    assert cka(X, Y, debiased=False) == pytest.approx(0.55761, abs=5e-6)
    assert cka(X, Y) == pytest.approx(0.51346, abs=5e-6)


def test_biased_cka_is_cosine_cov_of_euclidean_rdms():
    rsatoolbox = pytest.importorskip("rsatoolbox")
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 5)), rng.normal(size=(30, 8))
    Y[:, 0] += X[:, 0]
    try:
        rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(x), method="euclidean") for x in (X, Y)]
        expected = rsatoolbox.rdm.compare(*rdms, method="cosine_cov").item()
    except (AttributeError, DeprecationWarning, TypeError) as broken:
        pytest.skip(f"the oracle itself fails with this numpy: {broken}")
    assert cka(X, Y, debiased=False) == pytest.approx(expected, abs=1e-14)


def test_closed_forms_of_the_planted_models():
    k, n_contexts, c = 6, 8, 0.7
    factored, context = factorial(k, n_contexts)
    fractured = np.zeros((len(factored), k * n_contexts))
    for row, (f, place) in enumerate(zip(factored, context, strict=True)):
        fractured[row, place * k : (place + 1) * k] = f
    one_hot = np.tile(np.eye(2**k), (n_contexts, 1))
    mixing = np.linalg.cholesky(np.full((k, k), c) + (1 - c) * np.eye(k))
    oblique = factored @ mixing
    for X, expected in (
        (fractured, 1 / math.sqrt(n_contexts)),
        (one_hot, math.sqrt(k / (2**k - 1))),
        (oblique, math.sqrt(k / (k + k * (k - 1) * c**2))),
        (np.tile(factored, (1, 4)), 1.0),
    ):
        assert cka(factored, X, debiased=False) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n, d", [(200, 768), (100, 10)])
def test_biased_null_has_its_closed_form_and_the_debiased_one_is_zero(n, d):
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    spectra = [np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 for x in (X, Y)]
    closed = math.sqrt(np.prod([s.sum() ** 2 / (s**2).sum() for s in spectra])) / (n - 1)
    orders = [rng.permutation(n) for _ in range(60)]
    biased = np.array([cka(X, Y[order], debiased=False) for order in orders])
    assert biased.mean() == pytest.approx(closed, abs=5 * biased.std() / math.sqrt(60))
    assert closed == pytest.approx(d / (n + d), rel=0.02), "isotropic: .793 at n=200, d=768"
    debiased = np.array([cka(X, Y[order]) for order in orders])
    assert debiased.mean() == pytest.approx(0, abs=5 * debiased.std() / math.sqrt(60))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("d", [6, 90])
def test_invariances_and_symmetry(debiased, d):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(40, d))
    Y = X[:, :5] + rng.normal(size=(40, 5))
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    value = cka(X, Y, debiased=debiased)
    assert cka(1e4 * X @ rotation - 3e3, 1e-5 * Y + 1, debiased=debiased) == pytest.approx(value, rel=1e-9)
    assert cka(Y, X, debiased=debiased) == pytest.approx(value, rel=1e-12)
    assert cka(X, np.column_stack([X, np.ones(40)]), debiased=debiased) == pytest.approx(1.0)
    assert cka(X, -2 * X @ rotation, debiased=debiased) == pytest.approx(1.0)


def test_undefined_where_a_side_is_constant_or_rows_are_too_few():
    X = np.random.default_rng(3).normal(size=(20, 4))
    assert math.isnan(cka(X, np.ones((20, 4)))) and math.isnan(cka(X[:3], X[:3]))
    both = cka_matrix([X, np.ones((20, 2))], [X, X[:, :1]], n_permutations=50)
    assert np.isnan(both.value.value[1]).all() and np.isnan(both.p[1]).all() and np.isnan(both.p_adjusted[1]).all()
    assert "constant" in both.estimate(1, 0).reason
    assert both.estimate(0, 0).value == pytest.approx(1.0) and both.p[0, 0] == 1 / 51


def assert_drawn_in(found, expected):
    """Replicates equal the expected ones, but for one factor of .7 to 1 on their distance from the mean."""
    found, expected = (np.asarray(x) - np.mean(x) for x in (found, expected))
    factor = (found @ expected) / (expected @ expected)
    assert 0.5**0.5 - 1e-9 <= factor <= 1 + 1e-9
    np.testing.assert_allclose(found, factor * expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("n", [24, 150])
def test_all_pairs_equal_one_pair_at_a_time(n):
    rng = np.random.default_rng(4)
    A = [rng.normal(size=(n, d)) for d in (5, 40)]
    B = [A[0] @ rng.normal(size=(5, 30)), A[1] + rng.normal(size=(n, 40)), rng.normal(size=(n, 3))]
    result = cka_matrix(A, B, n_permutations=0)
    blocks = jackknife_blocks(np.arange(n))
    for i, j in itertools.product(range(2), range(3)):
        slow = jackknife(lambda rows, i=i, j=j: cka(A[i][rows], B[j][rows]), blocks)
        assert result.value.value[i, j] == pytest.approx(slow.value, abs=1e-10)
        assert result.value.replicates[:, i, j].mean() == pytest.approx(slow.replicates.mean(), abs=1e-10)
        assert_drawn_in(result.value.replicates[:, i, j], slow.replicates)
    assert result.value.n == n and np.isnan(result.p).all() and np.isnan(result.estimate(0, 0).p)


def test_both_sides_of_the_gram_trick_agree(monkeypatch, pair):
    results = []
    for cheaper in (True, False):
        monkeypatch.setattr(_products, "gram_is_cheaper", lambda *_, cheaper=cheaper: cheaper)
        results.append(cka_matrix([pair[0]], [pair[1]], n_permutations=0).value)
    np.testing.assert_allclose(results[0].replicates, results[1].replicates, rtol=1e-11)
    monkeypatch.setattr(_products, "_TILE_BYTES", 300)
    assert cka(*pair) == pytest.approx(results[0].value[0, 0], rel=1e-11)


def test_single_precision_is_close_to_double():
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(120, 300)).astype(np.float32) + 20, rng.normal(size=(120, 300)).astype(np.float32)
    assert cka(X, Y) == pytest.approx(cka(X.astype(float), Y.astype(float)), abs=2e-6)


def test_jackknife_and_subsampling_give_the_same_standard_error():
    rng = np.random.default_rng(6)
    n, m = 400, 200
    X = rng.normal(size=(n, 8))
    Y = X + rng.normal(size=(n, 8))
    spread = np.std([cka(X[rows], Y[rows]) for rows in (rng.choice(n, m, replace=False) for _ in range(400))])
    error = cka_matrix([X], [Y], n_permutations=0, n_blocks=100).value.standard_error()[0, 0]
    assert error == pytest.approx(spread * math.sqrt(m / (n - m)), rel=0.25)


def test_the_null_finds_a_weak_relation_and_leaves_none_alone():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(300, 20))
    Y = rng.normal(size=(300, 20))
    weak = Y + 0.5 * X
    result = cka_matrix([X, rng.normal(size=(300, 5))], [Y, weak], n_permutations=200)
    assert result.p[0, 1] == result.p_adjusted[0, 1] == 1 / 201
    assert (result.p_adjusted >= result.p).all() and result.p_adjusted[1].min() > 0.05
    assert "go by p" in result.estimate(1, 0).reason and result.estimate(0, 1).reason == ""
    assert result.n_null == 256
    again = cka_matrix([X], [Y], n_permutations=50, seed=3)
    assert (again.p == cka_matrix([X], [Y], n_permutations=50, seed=3).p).all()


def test_rows_of_a_group_do_not_fake_a_relation():
    """Five near copies of each item: rows look related through their groups; the test on group means does not."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(30), 5)
    X, Y = (rng.normal(size=(30, 25))[groups] + 0.05 * rng.normal(size=(150, 25)) for _ in range(2))
    naive = cka_matrix([X], [Y], n_permutations=200)
    grouped = cka_matrix([X], [Y], np.array([f"item {g}" for g in groups]), n_permutations=200)
    assert naive.p[0, 0] < 0.01 < 0.05 < grouped.p[0, 0]
    assert grouped.value.n == grouped.n_null == 30


def _false_positives(n: int, max_null: int, rows: int, n_sim: int) -> tuple[int, int]:
    """Single-pair and family-wise rejections at .05 among unrelated layers that are strongly related within a model."""
    rng = np.random.default_rng(9)
    single = family = 0
    for s in range(n_sim):
        base = [rng.standard_t(8, size=(n, 12)) * np.geomspace(1, 0.2, 12) for _ in range(2)]
        layers = [[np.repeat(x @ rng.normal(size=(12, 10)), rows, axis=0) for _ in range(3)] for x in base]
        groups = np.repeat(np.arange(n), rows)
        result = cka_matrix(*layers, groups, n_permutations=99, max_null_groups=max_null, n_blocks=2, seed=s)
        single += result.p[0, 0] <= 0.05
        family += (result.p_adjusted <= 0.05).any()
    return single, family


@pytest.mark.parametrize("n, max_null, rows", [(40, 256, 1), (120, 40, 1), (30, 256, 3)])
def test_false_positives_stay_at_the_level(n, max_null, rows):
    assert max(_false_positives(n, max_null, rows, 200)) <= sps.binom.ppf(0.999, 200, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n, max_null, rows", [(40, 256, 1), (120, 40, 1), (600, 128, 1), (60, 30, 3)])
def test_false_positives_stay_at_the_level_in_full(n, max_null, rows):
    assert max(_false_positives(n, max_null, rows, 1000)) <= sps.binom.ppf(0.999, 1000, 0.05)


def _coverage(n: int, strength: float, n_sim: int) -> float:
    """Y = strength X + noise; the true CKA follows from the covariances."""
    rng = np.random.default_rng(10)
    variances, noise = 1 / np.arange(1, 11), 0.3
    of_y = strength**2 * variances + noise
    true = strength * (variances**2).sum() * strength / math.sqrt((variances**2).sum() * (of_y**2).sum())
    hits = 0
    for s in range(n_sim):
        X = rng.normal(size=(n, 10)) * np.sqrt(variances)
        Y = strength * X + math.sqrt(noise) * rng.normal(size=(n, 10))
        low, high = cka_matrix([X], [Y], n_permutations=0, seed=s).value[0, 0].interval()
        hits += low <= true <= high
    return hits / n_sim


def test_interval_covers():
    assert 0.90 <= _coverage(200, 1.0, 250) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("n, strength", [(200, 1.0), (200, 0.4), (500, 1.0), (500, 0.4)])
def test_interval_covers_in_full(n, strength):
    assert 0.93 <= _coverage(n, strength, 2000) <= 0.97


def test_errors_name_the_place():
    X = np.ones((10, 3))
    bad = X.copy()
    bad[7, 1] = np.nan
    with pytest.raises(InputError, match=r"B\[1\] is nan at row 7, column 1"):
        cka_matrix([X], [X, bad])
    with pytest.raises(MismatchError, match="same items"):
        cka(X, X[:9])
    with pytest.raises(MismatchError, match=r"A\[1\] has 9 rows"):
        cka_matrix([X, X[:9]], [X])
    with pytest.raises(MismatchError, match="3 groups for 10 rows"):
        cka_matrix([X], [X], np.arange(3))
    with pytest.raises(InputError, match="holds no layers"):
        cka_matrix([], [X])
    with pytest.raises(InputError, match="expected real numbers"):
        cka_matrix([np.ones((10, 3), int)], [X])
    with pytest.raises(InputError, match="at least 4"):
        cka_matrix([X], [X], max_null_groups=3)


@pytest.mark.parametrize("name", ["rotated", "oblique", "duplicated", "fractured", "one-hot", "factored + inert"])
def test_functional_cka_sees_only_what_the_readout_uses(planted, name):
    """Projected on the span of the read-out, codes that differ in what nothing reads are one; mixed factors are not."""
    factored, other = (
        p.X @ np.linalg.qr(p.readout)[0] for p in (planted("factored", balanced=True), planted(name, balanced=True))
    )
    k, c = 6, 0.7
    expected = math.sqrt(k / (k + k * (k - 1) * c**2)) if name == "oblique" else 1.0
    assert cka(factored, other, debiased=False) == pytest.approx(expected, abs=1e-6)
