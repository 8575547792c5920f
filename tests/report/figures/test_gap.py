from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mechdecouple.beliefs.scores import gap_from_scores
from mechdecouple.report.figures.gap import draw_bullshit, draw_gap, draw_hidden_knowledge, draw_reliability, figure
from mechdecouple.report.style import new_figure, styled

N = 120


def report(**change):
    rng = np.random.default_rng(0)
    truth = np.tile([1.0, 0.0], N // 2)
    columns = {
        "id": np.arange(N), "group": np.arange(N) // 2, "truth": truth,
        "represented": expit(4 * (truth - 0.5) + rng.normal(size=N)), "expressed": 0.7 + 0.2 * rng.random(N),
        "stratum": np.where(np.arange(N) // 2 % 2, "a_very_long_name of a stratum $x$ that goes on", "b"),
    }  # fmt: skip
    table = {name: value for name, value in (columns | change).items() if value is not None}
    return gap_from_scores(pd.DataFrame(table), n_resamples=100, n_permutations=19)


@pytest.fixture(scope="module")
def found():
    return report()


def drawn(draw, result):
    with styled():
        made = new_figure(3.3, 2.4)
        draw(result, made.add_subplot())
        made.draw_without_rendering()
    return made.axes[0], " ".join(t.get_text() for t in made.findobj(matplotlib.text.Text))


@pytest.mark.parametrize(
    ("draw", "of", "filled", "hollow"),
    [
        (draw_gap, "gap", "represented_auroc", "expressed_auroc"),
        (draw_hidden_knowledge, "knowledge", "knowledge_internal", "knowledge_external"),
        (draw_bullshit, "gap", "bullshit_index", "bullshit_index_truthful"),
    ],
)
def test_both_values_of_each_stratum_are_at_their_places(found, draw, of, filled, hollow):
    axes, _ = drawn(draw, found)
    at = {}
    for line in axes.get_lines():
        if line.get_marker() == "o":
            kind = "hollow" if line.get_markerfacecolor() == "white" else "filled"
            at[kind, round(-line.get_ydata()[0])] = line.get_xdata()[0]
    for i, stratum in enumerate(found.strata):
        level = getattr(found.levels[""][stratum], of)
        assert at["filled", i] == pytest.approx(getattr(level, filled).value)
        assert at["hollow", i] == pytest.approx(getattr(level, hollow).value)


def test_long_names_are_cut_and_chance_is_marked(found):
    axes, words = drawn(draw_gap, found)
    assert "…" in words and axes.get_xlim()[0] < 0.5 < axes.get_xlim()[1]


def test_reliability_draws_both_channels(found):
    axes, _ = drawn(draw_reliability, found)
    lines = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [line.get_linestyle() for line in lines] == ["-", ":"]
    assert all(0.7 <= x <= 0.9 for x in lines[1].get_xdata())


def test_what_cannot_be_drawn_says_why():
    found = report(expressed=None, claim=np.ones(N), truth=np.ones(N))
    assert "constant claims" in drawn(draw_bullshit, found)[1] or "every statement is true" in drawn(draw_gap, found)[1]
    assert "every statement is true" in drawn(draw_gap, found)[1]
    assert "no question has both" in drawn(draw_hidden_knowledge, found)[1]


def test_the_figure_holds_all_within_its_edges(found):
    made = figure(found)
    made.draw_without_rendering()
    box = made.get_tightbbox()
    width, height = made.get_size_inches()
    assert box.x0 > -0.05 and box.y0 > -0.05 and box.x1 < width + 0.05 and box.y1 < height + 0.05
    assert [ax.get_title(loc="left") for ax in made.axes] == [
        "Belief and claim", "Hidden knowledge", "Bullshit index", "Calibration",
    ]  # fmt: skip
