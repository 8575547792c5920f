import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mechdecouple.report.figures.latents import draw_effects, draw_knowing, figure
from mechdecouple.report.style import COLOURS, png

NAMES = ("tidy_7M", "fractured & <b>7M</b>")


def make_features(n=40, **changes):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"side": ["a", "b"] * n, "latent": range(2 * n), "kind": ["only", "shared", "split"] * 26 + ["only"] * 2}
    )
    for name in ("correlation", "represented", "expressed"):
        rows[name] = rng.uniform(0.3, 1, 2 * n)
    rows["attribution"] = rng.standard_t(3, 2 * n)
    rows["attribution_low"], rows["attribution_high"] = rows.attribution - 0.2, rows.attribution + 0.2
    rows["knows"] = np.where((rows.represented > 0.8) & (rows.expressed < 0.6), "represented only", "")
    return rows.assign(reason="the task has no truth", **changes)


def texts(drawn):
    return " ".join(t.get_text() for t in drawn.findobj(matplotlib.text.Text))


def marks(ax, colour, filled):
    """Points of one colour that are filled, or open."""
    lines = [line for line in ax.get_lines() if line.get_marker() not in ("None", None) and line.get_color() == colour]
    return sum(len(line.get_xdata()) for line in lines if (line.get_markerfacecolor() == colour) == filled)


def test_every_latent_is_a_mark_and_those_of_one_model_are_filled():
    features = make_features()
    for draw, filled in ((draw_effects, features.kind == "only"), (draw_knowing, features.knows == "represented only")):
        ax = Figure().add_subplot()
        draw(features, ax)
        for colour, side in zip(COLOURS, "ab", strict=True):
            assert marks(ax, colour, True) == (filled & (features.side == side)).sum()
            assert marks(ax, colour, False) == (~filled & (features.side == side)).sum()


def test_the_largest_effects_have_names_and_intervals():
    features = make_features()
    ax = Figure().add_subplot()
    draw_effects(features, ax)
    largest = features.loc[features.attribution.abs().idxmax()]
    assert f"{largest.side.upper()} {largest.latent}" in texts(ax.figure)
    spans = [s for c in ax.collections for s in c.get_segments()]
    assert len(spans) == 8 and any(
        np.allclose(s[:, 1], [largest.attribution - 0.2, largest.attribution + 0.2]) for s in spans
    )


def test_the_figure_names_both_models_and_stays_inside_itself():
    made = figure(make_features(), NAMES)
    made.draw_without_rendering()
    assert len(made.axes) == 2 and all(name in texts(made) for name in NAMES)
    (width, height), box = made.get_size_inches(), made.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02


@pytest.mark.parametrize(
    "missing", [["represented", "expressed"], ["attribution"], ["correlation", "represented", "expressed"]]
)
def test_what_is_not_measured_is_left_out_or_said(missing):
    features = make_features(**dict.fromkeys(missing, np.nan))
    words = texts(figure(features, NAMES)).replace("\n", " ")
    assert ("tells the truth" in words) == ("represented" not in missing)
    assert ("The task has no truth." in words) == ("attribution" in missing or "correlation" in missing)


def test_one_latent_and_no_spread():
    one = make_features().head(1).assign(attribution=0.0, attribution_low=np.nan, attribution_high=np.nan)
    png(figure(one, NAMES))
