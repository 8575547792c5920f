import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mechdecouple.errors import InputError
from mechdecouple.probes._design import Design
from mechdecouple.probes.description_length import PORTIONS, _bits, _portions, description_length


def test_labels_that_mean_nothing_cost_a_bit_each():
    rng = np.random.default_rng(0)
    found = [description_length(rng.normal(size=(600, 20)), rng.permutation(600) % 2) for _ in range(4)]
    compression = np.array([f.compression for f in found])
    assert (compression < 1.01).all() and (compression > 0.85).all()
    assert all(f.base_compression == pytest.approx(1, abs=0.05) for f in found)


def test_a_concept_that_can_be_read_costs_little_more_than_its_first_portions():
    rng = np.random.default_rng(0)
    y = rng.permutation(2000) % 2
    found = description_length(rng.normal(size=(2000, 4)) * 0.05 + y[:, None], y)
    # Two rows of .1 % go uncoded; with them, or a few more, both classes are known and the rest is nearly free.
    assert found.bits < 40
    assert found.compression > 50
    assert found.ends[0, [0, 1, -1]].tolist() == [2, 4, 2000]


def test_the_code_is_monotone_in_what_can_be_read():
    rng = np.random.default_rng(0)
    y, noise = rng.permutation(500) % 2, rng.normal(size=(500, 12))
    bits = [description_length(noise + gap * y[:, None], y).bits for gap in (0.0, 0.3, 0.6, 1.2)]
    assert bits == sorted(bits, reverse=True)


def test_a_weak_code_costs_no_less_than_its_entropy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    p = 1 / (1 + np.exp(-2 * x))
    y = (rng.random(4000) < p).astype(int)
    entropy = float(-np.log2(np.where(y == 1, p, 1 - p)).mean())
    found = description_length(x[:, None], y, orders=2)
    assert entropy < found.bits_per_label < 1.03 * entropy + 11 / 4000 * 4


def test_a_rare_class_is_cheap_without_any_reading():
    rng = np.random.default_rng(0)
    y = (np.arange(1000) < 100)[rng.permutation(1000)].astype(int)
    found = description_length(rng.normal(size=(1000, 3)), y)
    entropy = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9))
    assert found.base_compression == pytest.approx(1 / entropy, rel=0.08)
    assert found.compression == pytest.approx(found.base_compression, rel=0.08)


def test_portions_are_coded_by_probes_of_what_came_before():
    rng = np.random.default_rng(3)
    n = 120
    X, y = rng.normal(size=(n, 5)), rng.integers(0, 2, n).astype(float)
    X[:, 0] += y
    portions = np.repeat([0, 4, 7, 9], [20, 20, 40, 40])[None]
    one_fold = np.full((1, n), 99)  # no rows in any fold: nothing to choose by, so the strongest penalty
    bits = _bits(Design.of(X, "cpu"), y, portions, one_fold)[0]
    np.testing.assert_array_equal(bits[:20], 1.0)
    Z = StandardScaler().fit_transform(X)
    for portion in (4, 7, 9):
        train, test = portions[0] < portion, portions[0] == portion
        model = LogisticRegression(C=1 / (train.sum() * 100.0), tol=1e-10).fit(Z[train], y[train])
        probability = model.predict_proba(Z[test])[np.arange(test.sum()), y[test].astype(int)]
        np.testing.assert_allclose(bits[test], -np.log2(probability), atol=2e-2)


def test_groups_never_straddle_portions():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 400)
    groups = np.unique(groups, return_inverse=True)[1]
    portion = _portions(groups, rng)
    assert all(len(np.unique(portion[groups == g])) == 1 for g in np.unique(groups))
    sent = np.array([(portion <= i).mean() for i in range(len(PORTIONS))])
    assert (sent <= np.array(PORTIONS) + 1e-12).all() and sent[-1] == 1
    assert sent[-2] > 0.5 - 20 / 400


def test_copies_within_groups_do_not_make_labels_cheaper():
    rng = np.random.default_rng(0)
    y = rng.permutation(200) % 2
    X = rng.normal(size=(200, 300))
    rows = np.repeat(np.arange(200), 4)
    assert description_length(X[rows], y[rows], rows).compression < 1.02
    assert description_length(X[rows], y[rows]).compression > 1.3  # without groups the copies are looked up


def test_rows_of_unknown_label_are_left_out():
    rng = np.random.default_rng(0)
    y = rng.permutation(300) % 2
    X = rng.normal(size=(300, 6)) + y[:, None]
    unknown = np.concatenate([y, np.full(50, np.nan)])
    more = description_length(np.vstack([X, X[:50] + 99]), unknown)
    assert more.bits == pytest.approx(description_length(X, y).bits, rel=1e-6)
    assert len(more.rows) == 300


def test_rows_keep_their_bits():
    rng = np.random.default_rng(0)
    y = rng.permutation(200) % 2
    found = description_length(rng.normal(size=(200, 6)) + y[:, None], y, orders=3)
    assert found.by_row.sum() == pytest.approx(found.bits)
    assert found.by_order.mean() == pytest.approx(found.bits)
    assert found(np.arange(50)) == pytest.approx(found.by_row[:50].mean())
    assert found() == pytest.approx(found.bits_per_label)


@pytest.mark.parametrize(
    ("y", "groups"),
    [
        (np.ones(30), None),
        (np.full(30, np.nan), None),
        (np.arange(30) % 2, np.zeros(30)),
    ],
)
def test_undefined_with_a_reason(y, groups):
    found = description_length(np.random.default_rng(0).normal(size=(30, 3)), y.astype(float), groups)
    assert np.isnan(found.bits) and np.isnan(found.compression) and np.isnan(found.base_compression)
    assert "both classes" in found.reason


def test_constant_columns_tiny_n_and_more_dimensions_than_rows():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    assert description_length(np.full((40, 3), 1.5), y).compression == pytest.approx(1, abs=0.15)
    assert np.isfinite(description_length(rng.normal(size=(40, 500)), y).bits)
    assert description_length(rng.normal(size=(3, 2)), np.array([0, 1, 0])).bits > 0


def test_unusable_input_is_refused():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 2
    for change, message in [
        ((np.where(X.max() == X, np.inf, X), y), "expected finite"),
        ((X, y + 1), "expected 0, 1 or NaN"),
        ((X, y[:-1]), "labels have shape"),
        ((X, y, y[:-1]), "groups have shape"),
    ]:
        with pytest.raises(InputError, match=message):
            description_length(*change)
    with pytest.raises(InputError, match="orders is 0"):
        description_length(X, y, orders=0)
