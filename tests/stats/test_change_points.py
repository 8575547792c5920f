import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats.change_points import _noise, change_points, step_tests

SERIES, DRAWS = 500, 999


def noise(t, persistence=0.0, seed=1, rows=SERIES):
    return _noise(rows, np.arange(t), persistence, np.random.default_rng(seed))


def false_positives(x, **options):
    """Share of series with p <= 0.05, and what it may be if the truth is 0.05: three standard errors above it."""
    return (step_tests(x, draws=DRAWS, **options).p <= 0.05).mean(), 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(x))


class TestNull:
    """Series without a jump: at most 5 % are said to have one, within the noise of 500 series."""

    @pytest.mark.parametrize("t", [6, 12, 24])
    @pytest.mark.parametrize("persistence", [0.0, 0.5, 0.8])
    def test_noise(self, t, persistence):
        share, most = false_positives(noise(t, persistence))
        assert share <= most

    @pytest.mark.parametrize("rise", [3, 10, 100])
    def test_drift(self, rise):
        share, most = false_positives(noise(12) + np.linspace(0, rise, 12))
        assert share <= most

    def test_random_walks(self):
        share, most = false_positives(np.cumsum(noise(12), axis=1))
        assert share <= most

    def test_heavy_tails_and_shares_near_one(self):
        rng = np.random.default_rng(0)
        for x in (rng.standard_t(3, (SERIES, 12)), rng.binomial(200, 0.98, (SERIES, 12)) / 200):
            share, most = false_positives(x)
            assert share <= most

    def test_smooth_learning_curves(self):
        time = np.arange(16)
        for curve in (1 - np.exp(-time / 4), 1 / (1 + np.exp(-(time - 8) / 2))):
            share, most = false_positives(noise(16, rows=200) + 20 * curve)
            assert share <= most

    def test_with_values_missing(self):
        at = np.array([0, 1, 4, 5, 6, 9, 10, 11])
        share, most = false_positives(np.cumsum(noise(12), axis=1)[:, at], at=at)
        assert share <= most

    def test_drift_is_told_from_nothing(self):
        for x in (noise(12), noise(12, 0.6)):
            assert (step_tests(x, draws=DRAWS).p_drift <= 0.05).mean() <= 0.05
        assert (step_tests(noise(12) + np.linspace(0, 20, 12), draws=DRAWS).p_drift <= 0.05).mean() > 0.95


class TestPlanted:
    def test_one_jump(self):
        x = noise(12, seed=2, rows=200) + 15.0 * (np.arange(12) >= 5)
        found = step_tests(x, draws=DRAWS)
        assert (found.p <= 0.01).mean() > 0.95 and (found.segments == 2).mean() > 0.85
        one = change_points(x[0], draws=DRAWS)
        assert one.begins.tolist() == [5] and one.low[0] <= 5 <= one.high[0]
        assert one.levels == pytest.approx([x[0, :5].mean(), x[0, 5:].mean()])
        rise, half = one.difference(0)
        assert abs(rise - 15) < half < 5

    def test_two_jumps_up_and_down(self):
        for second in (0.0, 2.0):
            level = np.repeat([0.0, 1.0, second], [6, 7, 7])
            found = change_points(level + 0.05 * noise(20)[3], draws=DRAWS)
            assert found.p <= 0.01 and found.begins.tolist() == [6, 13]
            assert found.levels == pytest.approx([0, 1, second], abs=0.1)

    def test_a_jump_without_noise(self):
        found = change_points(np.repeat([0.97, 0.55], [6, 6]), draws=DRAWS)
        assert found.p <= 0.01 and found.begins.tolist() == [6] == found.low.tolist() == found.high.tolist()

    def test_the_place_is_less_certain_where_noise_is_larger(self):
        x, jump = noise(20, seed=3)[:30], 3.0 * (np.arange(20) >= 10)
        held, widths = [], []
        for row in x:
            found = change_points(row + jump, draws=DRAWS)
            if len(found.begins) == 1:
                held.append(found.low[0] <= 10 <= found.high[0])
                widths.append(found.high[0] - found.low[0])
        assert np.mean(held) >= 0.85 and np.mean(widths) > 0.5

    def test_across_missing_values(self):
        at = np.array([0, 1, 2, 3, 9, 10, 11, 12])
        found = change_points(10.0 * (at >= 9) + 0.1 * np.sin(at), at, draws=DRAWS)
        assert found.p <= 0.01 and found.begins.tolist() == [4]

    def test_an_outlier_is_no_level(self):
        x = 0.1 * noise(14)[0]
        x[6] += 5
        assert change_points(x, draws=DRAWS).p > 0.05


def test_scale_and_place_cancel():
    x = noise(12)[:50]
    one, other = step_tests(x, draws=DRAWS), step_tests(1e-3 * x + 7, draws=DRAWS)
    assert np.allclose(one.p, other.p) and (one.segments == other.segments).all()


def test_a_constant_has_no_change():
    found = step_tests(np.full((1, 8), 0.99), draws=DRAWS)
    assert found.p[0] == found.p_drift[0] == 1
    assert change_points(np.full(8, 0.99), draws=DRAWS).levels == pytest.approx([0.99, 0.99])


@pytest.mark.parametrize("values", [np.arange(5.0), np.array([1, 2, np.nan, 4, 5, 6, 7.0])])
def test_what_cannot_be_cut_is_refused(values):
    with pytest.raises(InputError, match="6 values or more"):
        change_points(values)
    with pytest.raises(InputError, match="increasing place"):
        change_points(np.arange(6.0), np.array([0, 1, 1, 2, 3, 4]))
