import numpy as np

from mechdecouple.report.view import View, interval, number, place, shorten
from mechdecouple.results import Estimate


def test_labels_of_hook_points_are_short_and_unique():
    points = ("hook_embed", "blocks.0.hook_resid_post", "blocks.11.hook_resid_post")
    assert shorten(points) == ["emb", "0", "11"] and place(points) == "residual stream after block"
    assert shorten(("blocks.0.hook_resid_pre", *points[1:])) == ["in", "0", "11"]
    assert shorten(("blocks.0.hook_mlp_out", "blocks.0.hook_resid_post")) == ["0.mlp_out", "0.resid_post"]
    long = ("encoder.layers.0.attention.output", "encoder.layers.1.attention.output")
    assert len(set(shorten(long))) == 2 and place(long) == "hook point"
    assert shorten(()) == []


def test_numbers():
    assert number(0.12345) == "0.123" and number(-0.5, signed=True) == "−0.500" and number(np.nan) == "–"
    assert number(1e-9) == "1.0e−09" and number(-1e-17, signed=True) == "0" and number(1234.56) == "1234.6"
    assert interval(Estimate(value=0.5, low=0.4, high=0.6)) == "0.500 [0.400, 0.600]"
    assert interval(Estimate(value=0.5)) == "0.500" and interval(Estimate.undefined("no")) == "–"


def test_curve_follows_hook_points_and_knows_the_inert(whole):
    curve = View(whole).curve("ccgp", whole.b, "truth")
    assert curve.points[0] == "hook_embed" and list(curve.inert) == [False] * 5 + [True]
    assert np.isfinite(curve.value).all() and (curve.low < curve.value).all()


def test_items_of_the_gate_are_the_honest_ones(whole):
    assert set(View(whole).gate_items(whole.a).condition) == {"honest"}


def test_contrasts_without_a_statement_carry_the_reason(whole):
    rows = View(whole).contrasts.set_index("metric")
    assert np.isnan(rows.value["participation_ratio"]) and "constant" in rows.reason["participation_ratio"]
    assert np.isnan(rows.value["matched_share_excess"]) and "not good enough" in rows.reason["matched_share_excess"]
