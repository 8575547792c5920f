import dataclasses

import matplotlib
import numpy as np
import pytest

from mechdecouple.beliefs.trajectory import Trajectories, Trajectory
from mechdecouple.errors import InputError
from mechdecouple.report.figures.trajectory import draw_trajectory, figure_trajectory
from mechdecouple.report.style import new_figure, styled
from mechdecouple.stats import Replicates

READ = {"honest": [0.5, 0.8, 0.98], "pressured": [0.5, 0.8, 0.97]}
SAID = {"honest": [0.5, 0.6, 0.96], "pressured": [0.5, 0.5, 0.04]}


def curve(values):
    value = np.array(values)
    return Replicates(value, value + 0.01 * np.array([[-1], [1]]), "jackknife", 40)


def made(name="alpha", reason=""):
    return Trajectory(
        model=name, hook_points=("e", "b0", "b1"), depth=np.array([0, 0.5, 1]), positions=("position_statement",),
        conditions=("honest", "pressured"), represented={("position_statement", c): curve(v) for c, v in READ.items()},
        expressed={} if reason else {c: curve(v) for c, v in SAID.items()}, reason=reason, ids=np.array(["i"]),
    )  # fmt: skip


def lines(ax):
    return [tuple(np.round(line.get_ydata(), 6)) for line in ax.get_lines() if len(line.get_xdata()) == 3]


def words(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_a_panel_a_condition_with_every_curve_of_both_models():
    figure = figure_trajectory(Trajectories(made(), made("beta")))
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    for ax, condition in zip(figure.axes, ("honest", "pressured"), strict=True):
        assert lines(ax) == 2 * [tuple(READ[condition]), tuple(SAID[condition])]
        assert ax.get_title(loc="left") == condition
    for word in ("alpha", "beta", "read at statement", "would be said"):
        assert word in words(figure)


@pytest.mark.parametrize("condition", [None, "pressured"])
def test_one_condition_in_an_axes_of_the_caller(condition):
    with styled():
        figure = new_figure(3.3, 2.3)
        draw_trajectory(made(), figure.add_subplot(), condition)
        figure.draw_without_rendering()
    assert lines(figure.axes[0]) == [tuple(READ[condition or "honest"]), tuple(SAID[condition or "honest"])]
    box = figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < 3.32 and box.y1 < 2.32


def test_a_model_that_says_nothing_is_told():
    figure = figure_trajectory(Trajectories(made(), made("beta", reason="headless")))
    assert "would be said (not by beta)" in words(figure)
    assert [len(lines(ax)) for ax in figure.axes] == [3, 3]
    alone = figure_trajectory(made(reason="headless"))
    assert "would be said" not in words(alone)


def test_one_condition_makes_one_panel_and_unknown_ones_are_refused():
    one = dataclasses.replace(made(), conditions=("honest",))
    assert len(figure_trajectory(one).axes) == 1
    with pytest.raises(InputError, match="'flattered' is unknown"):
        draw_trajectory(one, new_figure(3, 2).add_subplot(), "flattered")
