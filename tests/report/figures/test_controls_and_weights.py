import numpy as np
import pytest
from matplotlib.figure import Figure

from mechdecouple.report import plot
from mechdecouple.report.plot import SHEETS
from mechdecouple.report.style import COLOURS, LINES
from mechdecouple.report.view import View


def lines(ax, colour):
    """The curves of a colour by their style; markers are drawn apart."""
    return {line.get_linestyle(): line for line in ax.get_lines() if line.get_color() == colour}


def test_a_probe_stands_beside_its_baselines(whole):
    ax = Figure().add_subplot()
    plot(whole, "probe_baselines", ax)
    for colour, held in zip(COLOURS, (0.98, 0.9), strict=True):
        drawn = lines(ax, colour)
        assert np.allclose(drawn["-"].get_ydata(), held) and len(drawn["-"].get_ydata()) == 3
        assert np.allclose(drawn[":"].get_ydata(), 0.7) and np.allclose(drawn["-."].get_ydata(), 0.6)
        assert drawn[":"].get_linewidth() < drawn["-"].get_linewidth()
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"untrained copy", "first hook point"}


def test_many_concepts_show_their_mean(many_concepts):
    ax = Figure().add_subplot()
    plot(many_concepts, "probe_baselines", ax)
    assert "mean of 5 concepts" in ax.get_ylabel()
    assert np.allclose(lines(ax, COLOURS[0])["-"].get_ydata(), 0.98)
    plot(many_concepts, "probe_selectivity", ax)
    thick = max(ax.get_lines(), key=lambda line: line.get_linewidth())
    assert list(thick.get_ydata()) == pytest.approx([0.1, 0.2, 0.3])


def test_no_style_of_a_concept_stands_for_the_functional_version():
    from mechdecouple.report.figures.layers import USED

    assert USED not in LINES


def test_weights_stand_beside_fresh_ones(whole):
    ax = Figure().add_subplot()
    plot(whole, "weight_modularity", ax)
    marks = [line for line in ax.get_lines() if line.get_marker() == "|" and line.get_xdata()[0] == 0.15]
    assert len(marks) == 2
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["fresh weights"]


def test_ablation_areas_by_place_and_units(whole):
    ax = Figure().add_subplot()
    plot(whole, "ablation_area", ax)
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == [f"{units}, at block {i}" for i in (0, 2) for units in ("coordinates", "principal axes")]
    at = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() in ("o", "s")]
    assert sorted(at) == pytest.approx([0.7] * 4 + [0.85] * 4)


@pytest.mark.parametrize("kind", ["controls", "weights", "ancestry", "structure_further"])
def test_text_stays_inside(whole, kind):
    figure = SHEETS[kind].figure(View(whole))
    figure.draw_without_rendering()
    (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02
