import dataclasses
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError
from mechdecouple.report import plot
from mechdecouple.report.plot import SHEETS
from mechdecouple.report.style import COLOURS, png


def drawn(figure):
    """Labels and texts of a figure, after drawing it."""
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("kind", SHEETS)
@pytest.mark.parametrize("which", ["whole", "undefined", "little"])
def test_every_kind_draws_or_says_why_not(kind, which, request):
    figure = plot(request.getfixturevalue(which), kind)
    words = drawn(figure)
    if which == "undefined":
        words = words.replace("\n", " ")
        assert any(why in words for why in ("no output head", "No contrast", "No measure of structure is defined"))
    for text in figure.findobj(matplotlib.text.Text):
        assert not text.get_text() or text.get_fontsize() >= 7


def test_a_comparison_without_measurements(whole):
    bare = dataclasses.replace(whole, measurements=(), items=whole.items.head(0))
    for kind in SHEETS:
        drawn(plot(bare, kind))


def test_names_of_models_are_drawn_as_they_are(whole):
    assert "fractured & <b>7M</b>" in drawn(plot(whole, "structure"))


def test_text_stays_inside_the_figure(whole, many_concepts):
    for comparison in (whole, many_concepts):
        for kind in ("contrasts", "gate", "structure", "similarity", "robustness", "sae", "beliefs", "calibration"):
            figure = plot(comparison, kind)
            figure.draw_without_rendering()
            (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
            assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02, (kind, box)


def test_models_keep_their_colours_and_markers(whole):
    ax = Figure().add_subplot()
    plot(whole, "ccgp", ax)
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) > 2]
    a, b = ([line for line in lines if line.get_color() == c or line.get_markeredgecolor() == c] for c in COLOURS)
    assert a and b
    assert {line.get_marker() for line in a} & {"o"} and {line.get_marker() for line in b} & {"s"}


def test_inert_hook_points_are_hollow(whole):
    ax = Figure().add_subplot()
    plot(whole, "ccgp", ax)
    hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert len(hollow) == 2 and all(len(line.get_xdata()) == 1 for line in hollow)
    assert all(abs(line.get_xdata()[0] - 5) < 0.2 for line in hollow)


def test_a_curve_shows_the_values_of_the_table(whole):
    ax = Figure().add_subplot()
    plot(whole, "participation_ratio", ax)
    table = whole.frame().query("metric == 'participation_ratio' and model_b == '' and model == @whole.a")
    curves = [np.asarray(line.get_ydata(), float) for line in ax.get_lines() if line.get_marker() == "None"]
    assert any(len(y) == len(table) and np.allclose(y, table.value) for y in curves)
    assert ax.get_yscale() == "log"


def test_the_forest_is_in_units_of_each_margin(whole):
    ax = Figure().add_subplot()
    plot(whole, "contrasts", ax)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    at = {labels[round(-line.get_ydata()[0])]: line for line in ax.get_lines() if line.get_marker() == "D"}
    assert at["CCGP over contexts"].get_xdata()[0] == pytest.approx(0.41 / 0.05)
    assert at["CCGP over contexts"].get_markerfacecolor() == "black"
    assert at["Performance"].get_xdata()[0] == pytest.approx(0.003 / 0.02)
    assert at["Performance"].get_markerfacecolor() == "white"
    assert "Participation ratio" not in labels
    # the verdict says that the autoencoders support no statement
    assert "Shared features beyond seeds" not in labels


def test_one_panel_into_an_axes(whole):
    figure = Figure()
    ax = figure.add_subplot()
    assert plot(whole, "gap", ax) is ax and ax.get_title(loc="left") == "Belief and claim"
    assert isinstance(plot(whole, "cka"), Figure)


def test_more_concepts_than_line_styles_show_their_mean(many_concepts):
    assert "mean of 5 concepts" in drawn(plot(many_concepts, "ccgp"))


def test_unknown_kind_lists_what_there_is(whole):
    with pytest.raises(InputError, match=r"'structur' is unknown \(did you mean structure\?\).*gate.*reliability"):
        plot(whole, "structur")


def test_a_sheet_of_panels_wants_its_own_figure(whole):
    with pytest.raises(InputError, match=r"'gate' has several panels.*scores, difference"):
        plot(whole, "gate", Figure().add_subplot())


def test_other_results():
    rng = np.random.default_rng(0)
    acts = Activations.from_arrays({"hook_embed": rng.normal(size=(20, 4))}, [str(i) for i in range(20)])
    figure = plot(acts)
    assert isinstance(figure.axes[0], Axes) and "position" in drawn(figure)
    with pytest.raises(InputError, match="drawn in one way"):
        plot(acts, "gate")
    with pytest.raises(InputError, match="cannot draw a dict; it draws Comparison, ManyComparison, Activations"):
        plot({})


def test_sparse_autoencoders_and_their_matching():
    from mechdecouple import sae

    rng = np.random.default_rng(0)
    A = np.maximum(rng.normal(size=(200, 12)), 0)
    matching = sae.match(A, A[:, ::-1] + 0.01, n_permutations=0)
    assert "matched" in drawn(plot(matching)).lower()


def test_answers_draw_their_reliability(whole):
    import pandas as pd

    from mechdecouple.behavior import Answers
    from mechdecouple.tasks import Task

    table = pd.DataFrame({"prompt": list("abcd"), "choices": ["x|y"] * 4, "answer": list("xyxy")})
    task = Task.from_frame(table)
    said = Answers.of(
        task,
        score=np.array([1.0, 0, 1, 1]),
        correct=np.array([1, 0, 1, 1], bool),
        confidence=np.array([0.9, 0.6, 0.8, 0.95]),
    )
    assert "share right" in drawn(plot(said))
    assert "nothing read" in drawn(plot(Answers.nothing(task, "nothing read"))).lower()


def test_settings_of_the_user_are_left_alone_and_do_not_leak_in(whole):
    plain = png(plot(whole, "gate"))
    with matplotlib.rc_context({"font.size": 22, "lines.linewidth": 9, "pdf.fonttype": 3}):
        before = dict(matplotlib.rcParams)
        assert png(plot(whole, "gate")) == plain
        assert dict(matplotlib.rcParams) == before


def test_no_pyplot_and_no_backend_is_chosen():
    code = "import sys, mechdecouple.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
