import itertools

import numpy as np
import pytest

from mechdecouple.stats.segments import LEAST, best_segments, fitted, starts


def by_hand(x, k):
    """The least sum of squares over every way to cut, and where the segments of the best one begin."""
    best = (np.inf, ())
    for cut in itertools.combinations(range(1, len(x)), k - 1):
        edges = (0, *cut, len(x))
        if min(np.diff(edges)) >= LEAST:
            parts = [x[i:j] for i, j in itertools.pairwise(edges)]
            best = min(best, (sum(((p - p.mean()) ** 2).sum() for p in parts), cut))
    return best


@pytest.mark.parametrize("t", [6, 9, 11])
def test_no_other_way_to_cut_fits_better(t):
    x = np.random.default_rng(t).normal(3, 1, (7, t))
    most = t // LEAST
    sums, links = best_segments(x, most)
    for row in range(len(x)):
        for k in range(1, most + 1):
            least, cut = by_hand(x[row], k)
            assert sums[row, k - 1] == pytest.approx(least, abs=1e-12)
            if k > 1:
                assert tuple(starts(links, k, t)[row]) == cut


def test_more_segments_than_values_allow_cannot_be():
    sums, _ = best_segments(np.random.default_rng(0).normal(size=(2, 5)), 3)
    assert np.isfinite(sums[:, :2]).all() and np.isinf(sums[:, 2]).all()


def test_chunks_change_nothing(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 8))
    whole, links = best_segments(x, 3)
    monkeypatch.setattr("mechdecouple.stats.segments._CELLS", 64 * 7)
    parts, parts_links = best_segments(x, 3)
    assert np.array_equal(whole, parts) and all(np.array_equal(a, b) for a, b in zip(links, parts_links, strict=True))


def test_the_levels_are_the_means():
    x = np.array([[1.0, 3.0, 10.0, 12.0, 14.0], [0.0, 0.0, 4.0, 4.0, 4.0]])
    assert fitted(x, np.array([[2], [2]])).tolist() == [[2, 2, 12, 12, 12], [0, 0, 4, 4, 4]]
