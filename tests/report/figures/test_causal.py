import matplotlib
import numpy as np
import pandas as pd
import pytest

from mechdecouple.beliefs.erasing import KINDS, Erasure
from mechdecouple.beliefs.steering import Steering
from mechdecouple.beliefs.subspace import SubspaceAblation
from mechdecouple.report.figures.causal import draw_erasure, draw_steering, draw_subspace
from mechdecouple.report.style import new_figure, styled
from mechdecouple.results import Estimate

NONE = Estimate.undefined("only 3 groups hold a true statement")


def near(value, null=0.0):
    return Estimate(value=value, low=value - 0.05, high=value + 0.05, null=null)


def steering(**other):
    random = {"random": np.array([0.02]), "random_mirror": np.array([-0.01])}
    effects = {"nie": near(1.01), "mirror": near(0.93), "decodable": near(0.9), "spread": near(0.8)}
    facts = {"model": "m", "hook_point": "h", "position": "last", "length": 2.0, "used": True, **random, **effects}
    return Steering(**(facts | other))


def erasure(drop=None):
    claims = pd.DataFrame({"kind": KINDS, "accuracy": [0.97, 0.6, 0.33, 0.95]})
    claims["accuracy_low"], claims["accuracy_high"] = claims.accuracy - 0.03, claims.accuracy + 0.03
    return Erasure(model="m", position="last", hook_points=("h",), claims=claims, drop=drop or near(0.35),
                   decodable={"h": near(0.9)}, used=True)  # fmt: skip


def subspace(ceiling=None):
    return SubspaceAblation(
        model="m", hook_point="h", position="last", ranks=(1, 2, 8),
        comprehensiveness=(near(0.3), near(0.4), near(0.5)),
        sufficiency=(near(0.02), near(0.01), near(0.0)), random_comprehensiveness=np.array([[0.01, 0.02, 0.07]]),
        random_sufficiency=np.array([[0.49, 0.45, 0.4]]), ceiling=ceiling or near(0.51), directions=np.eye(8),
        decodable=near(0.9), used=True,
    )  # fmt: skip


@pytest.fixture
def drawn():
    def draw(function, result):
        with styled():
            figure = new_figure(3.3, 2.3)
            function(result, figure.add_subplot())
            figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < 3.32 and box.y1 < 2.32
        ax = figure.axes[0]
        points = {round(float(x), 6) for line in ax.get_lines() for x in np.ravel(line.get_xdata())}
        heights = {round(float(y), 6) for line in ax.get_lines() for y in np.ravel(line.get_ydata())}
        return points, heights, " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))

    return draw


def test_both_effects_and_random_ones_are_at_their_places(drawn):
    points, _, words = drawn(draw_steering, steering())
    assert {1.01, 0.93, 0.02, -0.01} <= points
    assert "random directions" in words


def test_claims_of_every_kind_of_erasure_are_at_their_places(drawn):
    points, _, words = drawn(draw_erasure, erasure())
    assert {0.97, 0.6, 0.33, 0.95} <= points
    assert "random labels erased" in words


def test_every_rank_is_at_its_place(drawn):
    points, heights, words = drawn(draw_subspace, subspace())
    assert {1, 2, 8} <= points
    assert {0.3, 0.4, 0.5, 0.02, 0.01, 0.0, 0.51, 0.07, 0.45} <= heights
    assert "with nothing else" in words


def test_what_is_undefined_is_said(drawn):
    assert "only 3 groups" in drawn(draw_steering, steering(nie=NONE))[2].replace("\n", " ")
    assert "only 3 groups" in drawn(draw_erasure, erasure(NONE))[2].replace("\n", " ")
    assert "only 3 groups" in drawn(draw_subspace, subspace(NONE))[2].replace("\n", " ")
