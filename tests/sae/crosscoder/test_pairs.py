import numpy as np
import pytest

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.crosscoder import pairs as module
from mechdecouple.sae.crosscoder.pairs import pair_rows


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 3)).astype(np.float32), rng.normal(size=(50, 5)).astype(np.float32)


def _activations(table, ids, position="all", name="h"):
    return Activations.from_arrays({name: table}, ids, position)


def test_rows_of_both_models_stay_together(tables):
    a, b = tables
    rows = np.hstack([a, b])
    for x, y in pair_rows(a, b).shuffled(8, 20, seed=0):
        assert (np.hstack([x, y])[:, None] == rows[None]).all(2).any(1).all()


@pytest.mark.parametrize("window", [1, 8 * 16, 2**24])
def test_every_row_is_seen_as_often_as_it_should(window, monkeypatch, tables):
    monkeypatch.setattr(module, "_WINDOW", window)
    number = np.arange(50, dtype=np.float32)[:, None]
    for steps in (1, 6, 7, 25):
        seen = np.concatenate([x[:, 0] for x, _ in pair_rows(number, tables[1]).shuffled(8, steps, seed=0)])
        assert len(seen) == 8 * steps
        counts = np.bincount(seen.astype(int), minlength=50)
        assert counts.min() == 8 * steps // 50
        assert counts.max() == -(-8 * steps // 50)


def test_the_window_changes_memory_and_not_the_order(monkeypatch, tables):
    def order(window):
        monkeypatch.setattr(module, "_WINDOW", window)
        return np.concatenate([x for x, _ in pair_rows(*tables).shuffled(8, 20, seed=1)])

    np.testing.assert_array_equal(order(1), order(2**24))


def test_each_epoch_has_an_order_of_its_own_and_the_seed_fixes_them(tables):
    def order(seed):
        return np.concatenate([x for x, _ in pair_rows(*tables).shuffled(50, 3, seed)]).reshape(3, 50, 3)

    first = order(0)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], order(1)[0])
    np.testing.assert_array_equal(first, order(0))


def test_stores_are_read_in_lock_step(tables, tmp_path):
    ids = [f"i{i // 5}" for i in range(50)]
    a = _activations(tables[0], ids).save(tmp_path / "a")
    b = _activations(tables[1], ids).save(tmp_path / "b")
    stored, arrays = pair_rows(a, b), pair_rows(*tables)
    for (x, y), (u, v) in zip(stored.shuffled(7, 9, 0), arrays.shuffled(7, 9, 0), strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)


def test_scaled_rows_of_both_models_have_the_same_size(tables):
    a, b = 100 * tables[0] + 7, 0.01 * tables[1] - 3
    of_a, of_b = pair_rows(a, b).moments()
    for x, found in ((a, of_a), (b, of_b)):
        np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5)
        scaled = (x - found.mean) * found.scale
        assert np.square(scaled).sum(1).mean() == pytest.approx((3 + 5) / 2, rel=1e-4)


def test_the_first_row_of_another_item_is_named(tables):
    ids = [f"i{i}" for i in range(50)]
    other = [*ids[:7], "x", *ids[8:]]
    a, b = _activations(tables[0], ids, "last"), _activations(tables[1], other, "last")
    with pytest.raises(MismatchError, match="row 7 is 'i7' here and 'x' there"):
        pair_rows(a, b)


def test_the_first_row_of_another_token_is_named(tables):
    ids = ["i0"] * 25 + ["i1"] * 25
    a, b = _activations(tables[0], ids), _activations(tables[1], ids)
    skipped = b.select([*range(3), 4, 4, *range(5, 50)])
    with pytest.raises(MismatchError, match=r"row 3 \(item 'i0'\) is token 3 in model A and 4 in model B"):
        pair_rows(a, skipped)


def test_positions_must_agree(tables):
    ids = [f"i{i}" for i in range(50)]
    with pytest.raises(MismatchError, match="position 'all' and model B at 'last'"):
        pair_rows(_activations(tables[0], ids), _activations(tables[1], ids, "last"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda a, b: (a[:10], b), MismatchError, "model A has 10 rows and model B 50"),
        (lambda a, b: (a[:0], b[:0]), InputError, "there are no rows"),
        (lambda a, b: (a[:, 0], b), InputError, r"rows of model A have shape \(50,\)"),
        (lambda a, b: (a, b.tolist()), InputError, "rows of model B have shape list"),
    ],
)
def test_bad_tables_are_named(change, error, words, tables):
    with pytest.raises(error, match=words):
        pair_rows(*change(*tables))


def test_the_hook_point_must_be_told_where_there_are_several(tables):
    ids = [f"i{i}" for i in range(50)]
    a = Activations.from_arrays({"p": tables[0], "q": tables[1]}, ids)
    b = _activations(tables[1], ids, "last")
    with pytest.raises(InputError, match="model A has hook points p, q; name one with hook_point_a"):
        pair_rows(a, b)
    assert pair_rows(a, b, "q").d_a == 5
    with pytest.raises(InputError, match="hook point 'r' was not extracted"):
        pair_rows(a, b, "r")


def test_rows_that_are_not_finite_are_named(tables):
    a = tables[0].copy()
    a[13, 1] = np.inf
    with pytest.raises(InputError, match="row 13 of model A holds NaN or infinity"):
        pair_rows(a, tables[1]).moments()


def test_rows_that_do_not_differ_are_refused(tables):
    with pytest.raises(InputError, match="all 50 rows of model B are the same"):
        pair_rows(tables[0], np.full((50, 4), 3.0, np.float32)).moments()
