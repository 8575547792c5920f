"""U-statistics over rows of distinct groups: against their definition, and unbiased where rows of a group are alike."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mechdecouple.errors import MismatchError
from mechdecouple.stats import jackknife_blocks
from mechdecouple.structure import _distinct_pairs as pairs
from mechdecouple.structure import cka_matrix, participation_ratio, participation_ratio_jackknife
from mechdecouple.structure._distinct import distinct


def by_definition(X, Y, group):
    """Averages over rows i, j, k, l of four distinct groups."""
    cross, ends, count = 0.0, 0.0, 0
    for i, j, k, l in itertools.permutations(range(len(X)), 4):
        if len({group[i], group[j], group[k], group[l]}) == 4:
            cross += ((X[i] - X[j]) @ (X[k] - X[l])) * ((Y[i] - Y[j]) @ (Y[k] - Y[l])) / 4
            ends += ((X[i] - X[j]) @ (X[i] - X[j])) * ((Y[k] - Y[l]) @ (Y[k] - Y[l])) / 4
            count += 1
    return cross / count, ends / count


def assert_drawn_in(found, expected):
    """Replicates equal the expected ones, but for one factor of .7 to 1 on their distance from the mean."""
    found, expected = (np.asarray(x) - np.mean(x) for x in (found, expected))
    factor = (found @ expected) / (expected @ expected)
    assert 0.5**0.5 - 1e-9 <= factor <= 1 + 1e-9
    np.testing.assert_allclose(found, factor * expected, atol=1e-7 * np.abs(expected).max())


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 3)) + 5
    return X, rng.normal(size=(12, 2)) + X[:, :2]


@pytest.mark.parametrize("group", [np.repeat(np.arange(6), 2), np.tile(np.arange(4), 3), np.arange(12)])
def test_is_the_average_over_distinct_groups(pair, group):
    found = distinct(*pair, group)
    cross, ends = by_definition(*pair, group)
    assert found.cross[0] == pytest.approx(cross, rel=1e-10)
    assert found.squared_trace[0] == pytest.approx(ends, rel=1e-10)


def test_leaving_a_block_out_is_the_statistic_of_the_others(pair):
    X, Y = pair
    group = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 5, 5])
    blocks = np.array([0, 1, 0, 1, 2, 2])[group]
    found = distinct(X, Y, group, blocks)
    assert len(found.cross) == 4
    for b in range(3):
        kept = blocks != b
        alone = distinct(X[kept], Y[kept], np.unique(group[kept], return_inverse=True)[1])
        assert found.cross[b + 1] == pytest.approx(alone.cross[0], rel=1e-9)
        assert found.squared_trace[b + 1] == pytest.approx(alone.squared_trace[0], rel=1e-9)


def test_is_unbiased_where_rows_of_a_group_are_nearly_the_same():
    """Sixty groups of three nearly equal rows in 80 dimensions: row by row the ratio comes out 25 % too low."""
    rng = np.random.default_rng(1)
    spread = np.sqrt(0.95 ** np.arange(80))
    truth = (spread**2).sum() ** 2 / (spread**4).sum()
    group = np.repeat(np.arange(60), 3)
    by_row, by_group = [], []
    for _ in range(60):
        X = (0.95 * rng.normal(size=(60, 80))[group] + np.sqrt(1 - 0.95**2) * rng.normal(size=(180, 80))) * spread
        by_row.append(participation_ratio(X))
        by_group.append(participation_ratio(X, group))
    error = np.std(by_group) / np.sqrt(60)
    assert np.mean(by_group) == pytest.approx(truth, abs=4 * error + 0.01 * truth)
    assert np.mean(by_row) < 0.8 * truth


def test_participation_ratio_by_group_pairs_with_blocks_and_names_a_wrong_length():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(30), 2)
    X = rng.normal(size=(60, 5))
    blocks = jackknife_blocks(group, 10)
    found = participation_ratio_jackknife(X, blocks, 30, group)
    assert found.value == pytest.approx(participation_ratio(X, group))
    expected = [participation_ratio(X[blocks != b], group[blocks != b]) for b in range(10)]
    assert_drawn_in(found.replicates, expected)
    alone = participation_ratio_jackknife(X, blocks, 60, np.arange(60))
    assert alone.value == pytest.approx(participation_ratio(X))
    with pytest.raises(MismatchError, match="3 groups for 60 rows"):
        participation_ratio(X, np.arange(3))


def test_fewer_than_four_groups_are_too_few():
    X = np.random.default_rng(3).normal(size=(12, 3))
    assert np.isnan(participation_ratio(X, np.arange(12) // 4))


@pytest.mark.parametrize("tile", [512, 7])
@pytest.mark.parametrize("sizes", [3, (1, 4)])
def test_all_pairs_of_layers_equal_one_pair_at_a_time(monkeypatch, tile, sizes):
    """Groups lie scattered over the rows, a tile holds one group or all of a block, layers are narrow and wide."""
    monkeypatch.setattr(pairs, "_TILE_ROWS", tile)
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(40), sizes if isinstance(sizes, int) else rng.integers(*sizes, 40))
    group = group[rng.permutation(len(group))]
    X = [rng.normal(size=(len(group), d)) for d in (5, 90, 7)]
    X[2][:, :5] += X[0]
    found = cka_matrix(X[:1], X[1:], group, n_blocks=8, n_permutations=0, device="cpu").value
    blocks = jackknife_blocks(group, 8)
    for j, Y in enumerate(X[1:]):
        cross, own_x, own_y = (distinct(a, b, group, blocks).cross for a, b in ((X[0], Y), (X[0], X[0]), (Y, Y)))
        expected = cross / np.sqrt(own_x * own_y)
        assert found.value[0, j] == pytest.approx(expected[0], rel=1e-9)
        # About which centre rows are taken matters, and little, only where groups differ in size.
        if sizes == 3:
            assert_drawn_in(found.replicates[:, 0, j], expected[1:])
        assert found.replicates[:, 0, j].mean() == pytest.approx(expected[1:].mean(), abs=0.002)


def test_cka_of_unrelated_layers_is_zero_where_rows_of_a_group_are_alike():
    """Sixty groups of three nearly equal rows in 80 dimensions: row by row CKA comes out above .3."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(60), 3)

    def layer():
        return 0.95 * rng.normal(size=(60, 80))[group] + np.sqrt(1 - 0.95**2) * rng.normal(size=(180, 80))

    by_group, by_row = [], []
    for _ in range(40):
        X, Y = layer(), layer()
        by_group.append(cka_matrix([X], [Y], group, n_blocks=0, n_permutations=0, device="cpu").value.value[0, 0])
        by_row.append(cka_matrix([X], [Y], None, n_blocks=0, n_permutations=0, device="cpu").value.value[0, 0])
    assert np.mean(by_group) == pytest.approx(0, abs=4 * np.std(by_group) / np.sqrt(40))
    assert np.mean(by_row) > 0.3
