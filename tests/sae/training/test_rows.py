import numpy as np
import pytest
import torch

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError
from mechdecouple.sae.training import rows
from mechdecouple.sae.training.rows import Moments, Order, Stored, table


def numbered(n, d=3, dtype=np.float32):
    """Rows that say their number: row i is [i, i + 0.25, i + 0.5]."""
    return (np.arange(n)[:, None] + np.arange(d) / 4).astype(dtype)


def stored(tmp_path, n, d=3, points=("x",)):
    arrays = {name: numbered(n, d) + 1000 * i for i, name in enumerate(points)}
    return Activations.from_arrays(arrays, [f"item {i}" for i in range(n)]).save(tmp_path / "store")


@pytest.mark.parametrize(("n", "batch", "steps"), [(10, 4, 5), (10, 10, 3), (7, 3, 20), (100, 32, 50)])
def test_each_row_comes_as_often_as_it_should(n, batch, steps):
    order = Order(n, seed=0)
    drawn = [order.take(batch) for _ in range(steps)]
    assert all(len(b) == batch for b in drawn)
    seen = np.bincount(np.concatenate(drawn), minlength=n)
    assert set(seen) <= {steps * batch // n, -(-steps * batch // n)}


def test_each_epoch_has_its_own_permutation_and_mixes_the_whole_array():
    n = 1000
    order = Order(n, seed=0)
    first, second = order.take(n), order.take(n)
    assert sorted(first) == sorted(second) == list(range(n))
    # Independent permutations agree at about one place, and a row's place says nothing about its new place.
    assert (first == second).sum() < 10
    assert abs(np.corrcoef(first, np.arange(n))[0, 1]) < 0.15
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


@pytest.mark.parametrize("skipped", [0, 3, 10, 25, 40])
def test_skipping_is_taking_without_looking(skipped):
    whole, rest = Order(10, seed=1), Order(10, seed=1)
    rest.skip(skipped)
    assert np.array_equal(whole.take(50)[skipped:], rest.take(50 - skipped))


def sources(tmp_path, kind, n):
    if kind == "array":
        return numbered(n)
    if kind == "half precision":
        return numbered(n, dtype=np.float16)
    if kind == "memory map":
        np.save(tmp_path / "x.npy", numbered(n))
        return np.load(tmp_path / "x.npy", mmap_mode="r")
    if kind == "activations":
        return Activations.from_arrays({"x": numbered(n)}, [str(i) for i in range(n)])
    return stored(tmp_path, n)


@pytest.mark.parametrize("kind", ["array", "half precision", "memory map", "activations", "disk"])
@pytest.mark.parametrize("window", [1, 60, 10**9])
def test_the_order_is_that_of_the_permutations_wherever_rows_lie(tmp_path, monkeypatch, kind, window):
    """Reading in windows, sorted within each, changes neither the order nor the values, whatever the window."""
    monkeypatch.setattr(rows, "_DISK_WINDOW", window)
    monkeypatch.setattr(rows, "_MEMORY_WINDOW", window)
    n, batch, steps = 23, 4, 13
    feed = Stored(table(sources(tmp_path, kind, n), ("x",)), batch_size=batch, seed=5)
    batches = [b["x"] for b in feed.batches(steps)]
    expected = Order(n, seed=5).take(batch * steps).reshape(steps, batch)
    assert [b.dtype for b in batches] == [torch.float32] * steps
    assert np.array_equal(torch.stack(batches).numpy(), numbered(n)[expected])


def test_hook_points_are_read_at_the_same_rows(tmp_path):
    activations = stored(tmp_path, 40, points=("x", "y"))
    for batch in Stored(table(activations, ("y", "x")), batch_size=8).batches(10):
        assert torch.equal(batch["y"], batch["x"] + 1000)


def test_rows_of_a_selection_are_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_DISK_WINDOW", 60)
    chosen = stored(tmp_path, 40).select([30, 31, 5])
    seen = torch.cat([b["x"] for b in Stored(table(chosen, ("x",)), batch_size=3).batches(4)])[:, 0]
    assert sorted(seen.tolist()) == sorted([5.0, 30.0, 31.0] * 4)


def test_each_window_on_disk_is_read_once_in_sorted_order(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_DISK_WINDOW", 10 * 12)
    activations = stored(tmp_path, 40)
    asked = []
    select = Activations.select
    monkeypatch.setattr(Activations, "select", lambda self, r: (asked.append(np.array(r)), select(self, r))[1])
    list(Stored(table(activations, ("x",)), batch_size=5).batches(16))
    assert [len(r) for r in asked] == [10] * 8
    assert all((np.diff(r) >= 0).all() for r in asked)


def test_a_feed_goes_on_where_it_was(tmp_path):
    whole = Stored(table(numbered(30), ("x",)), batch_size=4, seed=2)
    batches = whole.batches(20)
    first = [next(batches) for _ in range(7)]
    state = whole.state()
    again = Stored(table(numbered(30), ("x",)), batch_size=4, seed=2)
    again.restore(state)
    assert len(first) == 7
    for mine, theirs in zip(again.batches(13), batches, strict=True):
        assert torch.equal(mine["x"], theirs["x"])


def test_moments_are_mean_and_spread_in_double_precision():
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(10_000, 4))).astype(np.float32)
    found = Moments.of(X)
    np.testing.assert_allclose(found.mean, X.astype(np.float64).mean(0), rtol=1e-12)
    assert found.rms == pytest.approx(np.sqrt(X.astype(np.float64).var(0).sum()), rel=1e-9)
    assert found.rows == 10_000


def test_large_sources_are_sampled(monkeypatch):
    monkeypatch.setattr(rows, "SAMPLE_ROWS", 2000)
    X = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    found = Stored(table(X, ("x",)), batch_size=10).moments()["x"]
    assert found.rows == 2000
    assert np.abs(found.mean).max() < 5 / np.sqrt(2000)
    assert found.rms == pytest.approx(2, rel=0.05)


def test_fingerprints_tell_rows_apart():
    X = numbered(20)
    other = X.copy()
    other[3, 1] += 1

    def fingerprint(array):
        return Stored(table(array, ("x",)), batch_size=5).fingerprint["x"]

    assert fingerprint(X) == fingerprint(X.copy())
    assert fingerprint(X) != fingerprint(other)


def test_a_row_that_is_not_finite_is_named(tmp_path):
    broken = numbered(20)
    broken[13, 1] = np.nan
    with pytest.raises(InputError, match="row 13 of the activations holds NaN or infinity"):
        list(Stored(table(broken, ("x",)), batch_size=5).batches(4))
    activations = Activations.from_arrays({"x": numbered(20)}, [f"item {i}" for i in range(20)])
    activations["x"][7, 0] = np.inf
    with pytest.raises(InputError, match=r"item 'item 7' of the activations .* at hook point 'x'"):
        list(Stored(table(activations, ("x",)), batch_size=5).batches(4))
    tokens = Activations.from_arrays({"x": numbered(6)}, ["a"] * 4 + ["b"] * 2, position="all")
    tokens["x"][5, 0] = np.nan
    with pytest.raises(InputError, match=r"item 'b' \(token 1\)"):
        list(Stored(table(tokens, ("x",)), batch_size=3).batches(2))


def test_large_finite_values_are_not_taken_for_infinite():
    huge = np.full((10, 4), 3e38, np.float32)
    huge[::2] *= -1
    huge[:, 0] = 3e38
    assert len(list(Stored(table(huge, ("x",)), batch_size=5).batches(2))) == 2


def test_what_is_no_table_is_refused(tmp_path):
    for array, words in (
        (np.zeros(5), "shape"),
        (np.zeros((0, 3)), "at least one row"),
        (np.zeros((3, 0)), "shape"),
        (np.full((3, 2), "a"), "dtype"),
    ):
        with pytest.raises(InputError, match=words):
            table(array, ("x",))
    with pytest.raises(InputError, match="an array holds one hook point, the recipes name x, y"):
        table(numbered(5), ("x", "y"))
    activations = stored(tmp_path, 5)
    with pytest.raises(InputError, match="'z' was not extracted"):
        table(activations, ("z",))
    with pytest.raises(InputError, match="no rows"):
        table(activations.select([]), ("x",))
