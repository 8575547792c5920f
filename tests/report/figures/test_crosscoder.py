import matplotlib
import numpy as np
import pandas as pd
import pytest

from mechdecouple.report.figures.crosscoder import draw_crosscoder, draw_crosscoder_evaluation, draw_exclusivity
from mechdecouple.report.style import new_figure, styled
from mechdecouple.results import Estimate
from mechdecouple.sae.crosscoder import Crosscoder, CrosscoderEvaluation, Exclusivity

KINDS = ["shared"] * 5 + ["only a", "only b", "only b", "artefact", "dead"]
NORMS = [0.5, 0.45, 0.55, 0.3, 0.2, 0.99, 0.01, 0.02, 1.0, np.nan]


def _evaluation(b=0.75):
    a = Estimate(value=0.9, low=0.88, high=0.92)
    of_b = Estimate(value=b, low=b - 0.02, high=b + 0.02) if np.isfinite(b) else Estimate.undefined("no variance")
    return CrosscoderEvaluation(a, of_b, Estimate(value=3.04), np.full(10, 0.1), 500)


def _exclusivity(kinds=KINDS):
    return Exclusivity(pd.DataFrame({"kind": kinds, "relative_norm": NORMS}), _evaluation())


def _crosscoder(curve):
    z = np.zeros
    arrays = dict(encoder_a=z((2, 4)), encoder_b=z((3, 4)), bias=z(4), threshold=z(4), decoder_a=z((4, 2)),
                  decoder_b=z((4, 3)), b_dec_a=z(2), b_dec_b=z(3), mean_a=z(2), mean_b=z(3))  # fmt: skip
    return Crosscoder(**arrays, scale_a=1.0, scale_b=1.0, kind="l1", training={"curve": curve})


@pytest.fixture
def drawn():
    def draw(function, result):
        with styled():
            figure = new_figure(3.3, 2.4)
            function(result, figure.add_subplot())
            figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < 3.32 and box.y1 < 2.42
        return figure.axes, " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))

    return draw


def test_every_live_latent_is_in_a_bar(drawn):
    axes, words = drawn(draw_exclusivity, _exclusivity())
    assert sum(bar.get_height() for bar in axes[0].patches) == 9
    for words_of_kind in ("shared (5)", "only in A (1)", "only in B (2)", "not shown exclusive (1)"):
        assert words_of_kind in words


def test_undecided_latents_are_drawn_and_dead_ones_are_said(drawn):
    assert "undecided (9)" in drawn(draw_exclusivity, _exclusivity(["undecided"] * 9 + ["dead"]))[1]
    assert "All latents" in drawn(draw_exclusivity, _exclusivity(["dead"] * 10))[1]


def test_explained_variance_of_both_models_is_at_its_place(drawn):
    axes, words = drawn(draw_crosscoder_evaluation, _evaluation())
    values = {float(line.get_xdata()[0]) for line in axes[0].get_lines() if len(line.get_xdata()) == 1}
    assert {0.9, 0.75} <= values
    assert "3.0 active latents" in words
    assert "no variance" in drawn(draw_crosscoder_evaluation, _evaluation(np.nan))[1]


def test_the_course_of_a_training(drawn):
    curve = [{"step": s, "loss": 1.0, "l0": 3.0, "fvu": 1 / (1 + s)} for s in range(10)]
    axes, words = drawn(draw_crosscoder, _crosscoder(curve))
    np.testing.assert_allclose(axes[0].get_lines()[0].get_ydata(), [1 / (1 + s) for s in range(10)])
    assert "Crosscoder: l1, 4 latents" in words
    assert "does not say" in drawn(draw_crosscoder, _crosscoder([]))[1]
