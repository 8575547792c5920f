import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mechdecouple.compare.trends import Trends
from mechdecouple.compare.trends.find import adjusted
from mechdecouple.compare.trends.series import Series
from mechdecouple.compare.trends.trend import find_trends
from mechdecouple.errors import InputError
from mechdecouple.report import plot
from mechdecouple.report.figures.trends import _short
from mechdecouple.report.style import png
from mechdecouple.stats import change_points

STEPS = np.array([0, 1, 10, 100, 1000, 3000, 10_000, 30_000, 60_000, 143_000])


@pytest.fixture(autouse=True, scope="module")
def _few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_points, "_enough", lambda t: 499)
        yield


def series(metric, values, family="fracture", run="runs/a/step-*", point="blocks.2.hook_resid_post", half=0.02, n=10):
    values = np.asarray(values, float)
    place = ("job", "items.csv", run, metric, family, point, "last", "", "", "")
    return Series(*place, tuple(f"m{i}" for i in range(n)), STEPS[:n], values, values - half, values + half)


def made(*all_series):
    return Trends(tuple(adjusted(find_trends(all_series, 0.05, 0), 0.05)), 0.02, 0.05)


NOISE = np.random.default_rng(0).normal(0, 0.005, (6, 10))
JUMP = np.where(np.arange(10) < 4, 0.95, 0.55)


@pytest.fixture(scope="module")
def found():
    return made(
        series("ccgp", JUMP + NOISE[0]),
        series("ccgp", 0.9 + NOISE[1], point="blocks.0.hook_resid_post"),
        series("parallelism", np.linspace(0.2, 0.8, 10) + NOISE[2]),
        series("performance", 0.99 + NOISE[3] / 5, "behavior", point=""),
    )


def words(figure):
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def dashed(ax):
    return [
        line for line in ax.get_lines() if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    ]


def test_performance_stands_above_and_jumps_are_marked_where_they_are(found):
    figure = plot(found)
    top, *below = figure.axes
    assert top.get_title(loc="left") == "Performance"
    assert below[0].get_title(loc="left") == "CCGP over contexts (block 2)"
    for ax in (top, below[0]):
        assert [line.get_xdata()[0] for line in dashed(ax)] == [3.5]
    assert not dashed(below[1])


def test_levels_and_values_are_those_of_the_trend(found):
    ax = plot(found, "ccgp").axes[0]
    (change,) = found.trend("ccgp", hook_point="blocks.2.hook_resid_post").changes
    flat = [line for line in ax.get_lines() if len(line.get_xdata()) == 2 and np.ptp(line.get_ydata()) == 0]
    assert sorted(line.get_ydata()[0] for line in flat) == pytest.approx(sorted([change.before, change.after]))
    curves = [np.asarray(line.get_ydata(), float) for line in ax.get_lines() if len(line.get_xdata()) == 10]
    assert any(np.allclose(curve, JUMP + NOISE[0]) for curve in curves)


def test_checkpoints_are_named_by_their_steps(found):
    labels = words(plot(found))
    assert "143k" in labels and "step of the checkpoint (in order, not to scale)" in labels
    assert [_short(n) for n in (0, 999, 1000, 1500, 143_000, 1_000_000)] == ["0", "999", "1k", "1.5k", "143k", "1M"]


def test_several_runs_are_told_apart():
    pair = made(series("ccgp", JUMP + NOISE[0]), series("ccgp", 0.9 + NOISE[1], run="runs/b/step-*"))
    assert {"runs/a/step-*", "runs/b/step-*"} <= set(words(plot(pair)))
    assert "runs/a/step-*" not in words(plot(made(series("ccgp", JUMP))))


def test_text_is_large_enough_and_inside(found):
    figure = plot(found)
    figure.draw_without_rendering()
    (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02
    assert all(t.get_fontsize() >= 7 for t in figure.findobj(matplotlib.text.Text) if t.get_text())


def test_missing_values_break_the_line_and_little_is_drawn_all_the_same():
    gap = np.where(np.arange(10) == 5, np.nan, JUMP)
    assert png(plot(made(series("ccgp", gap)))) == png(plot(made(series("ccgp", gap))))
    few = made(series("ccgp", JUMP[:3], n=3), series("performance", [0.5, 0.6, np.nan], "behavior", point="", n=3))
    assert [ax.get_title(loc="left") for ax in plot(few).axes] == ["Performance", "CCGP over contexts (block 2)"]
    assert "No series has the 6 checkpoints" in " ".join(words(plot(made()))).replace("\n", " ")


def test_into_given_axes(found):
    ax = Figure().add_subplot()
    assert plot(found, "parallelism", ax) is ax and ax.get_lines()


def test_unknown_kinds_are_refused(found):
    with pytest.raises(InputError, match=r"'cgp' is unknown \(did you mean ccgp\?\)"):
        plot(found, "cgp")
    with pytest.raises(InputError, match="several panels"):
        plot(found, ax=Figure().add_subplot())
