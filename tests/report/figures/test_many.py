import dataclasses

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mechdecouple.errors import InputError
from mechdecouple.report.figures.many import draw_many
from mechdecouple.report.style import png
from mechdecouple.results import Estimate
from mechdecouple.structure import CCGP


def words(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_the_whole_figure_shows_runs_arms_and_metrics(made):
    text = words(draw_many(made()))
    for name in (*(run for own in made().arms.values() for run in own), *made().arms, "Tree of runs", "stress"):
        assert name in text, name
    assert "CCGP" in text and "Participation" not in text


def test_every_run_is_a_mark_at_its_value(made):
    ax = Figure().add_subplot()
    many = made()
    draw_many(many, "ccgp", ax)
    drawn = [y for line in ax.get_lines() if line.get_marker() != "None" for y in line.get_ydata()]
    assert sorted(drawn) == pytest.approx(sorted(np.concatenate(list(many.values("ccgp").values()))))
    low, high = ax.get_ylim()
    assert high - low >= 2 * CCGP.margin


def test_the_map_keeps_both_axes_to_one_scale(made):
    ax = Figure().add_subplot()
    draw_many(made(), "map", ax)
    assert ax.get_aspect() == 1.0 and ax.get_xlim() == ax.get_ylim()


def test_what_is_missing_says_why(made):
    without = made(distances=False)
    assert "nothing matters" in words(draw_many(without)).replace("\n", " ")
    assert "constant" in words(draw_many(without, "participation_ratio")).replace("\n", " ")


def test_text_is_large_enough_and_inside(made):
    figure = draw_many(made())
    figure.draw_without_rendering()
    (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02
    for text in figure.findobj(matplotlib.text.Text):
        assert not text.get_text() or text.get_fontsize() >= 7
    assert png(figure) == png(draw_many(made()))


def test_kinds_that_are_none(made):
    with pytest.raises(InputError, match=r"kind 'cgp' is unknown \(did you mean ccgp"):
        draw_many(made(), "cgp")
    with pytest.raises(InputError, match="several panels"):
        draw_many(made(), ax=Figure().add_subplot())


def test_equal_runs_are_not_drawn_apart(made):
    many = made()
    same = tuple(
        dataclasses.replace(row, estimate=Estimate(value=1.0)) if row.metric == "ccgp" else row for row in many.runs
    )
    ax = Figure().add_subplot()
    draw_many(dataclasses.replace(many, runs=same), "ccgp", ax)
    assert ax.get_ylim() == pytest.approx((1 - CCGP.margin, 1 + CCGP.margin))
