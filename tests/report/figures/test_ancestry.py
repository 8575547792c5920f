from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mechdecouple.report.figures.ancestry import SHEET
from mechdecouple.report.style import COLOURS
from mechdecouple.report.view import View
from mechdecouple.results import Estimate, Measurement, frame

PARTS = {
    "embed": 0.1,
    "blocks.0.attn.q": 0.0,
    "blocks.0.ln1": 0.02,
    "blocks.1.attn.q": 0.5,
    "blocks.1.ln1": 0.01,
    "unembed": 0.2,
}
POINTS = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def row(metric, place, value, model="base"):
    other = "tuned" if model == "base" else "base"
    estimate = (
        Estimate.undefined("the two models answer alike")
        if value is None
        else Estimate(value=value, low=value - 0.05, high=value + 0.05)
    )
    return Measurement(
        metric=metric, family="ancestry", model=model, model_b=other, hook_point=place, estimate=estimate
    )  # fmt: skip


def view(parts=PARTS, related=True):
    rows = []
    if related:
        for i, point in enumerate(POINTS):
            rows += [row("mean_shift", point, None if i == 0 else 0.2 * i), row("mean_cosine", point, 1 - 0.3 * i)]
        for part, change in parts.items():
            rank = 1.5 if change > 0.05 else None
            rows += [row("weight_change", part, change), row("weight_change_rank", part, rank)]
        for model in ("base", "tuned"):
            for i, block in enumerate(("embed", "blocks.0", "blocks.1", "unembed")):
                rows += [
                    row("graft_effect", block, 0.1 * i, model), row("graft_performance", block, -0.1 * i, model),
                    row("graft_closed", block, None, model),
                ]  # fmt: skip
    table = frame(rows)
    return View(SimpleNamespace(a="base", b="tuned", frame=lambda: table))


def words(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def panel(name, seen):
    ax = Figure().add_subplot()
    next(p for p in SHEET.panels(seen) if p.name == name).into(seen, ax)
    return ax


def test_the_sheet_shows_states_weights_and_grafts():
    text = words(SHEET.figure(view()))
    for word in ("Shift of the mean state", "Cosine", "Change of weights", "attn.q", "1.5", "unembed", "base", "tuned"):
        assert word in text, word
    assert "Way to the other closed" not in text, "undefined throughout: left out"


def test_the_heat_map_holds_every_part_at_its_place():
    ax = panel("weight_change", view())
    grid = np.ma.filled(ax.get_images()[0].get_array(), np.nan)
    rows = [t.get_text() for t in ax.get_yticklabels()]
    columns = [t.get_text() for t in ax.get_xticklabels()]
    assert rows == ["embed", "attn.q", "ln1", "unembed"] and columns == ["outside", "0", "1"]
    expected = [[0.1, np.nan, np.nan], [np.nan, 0.0, 0.5], [np.nan, 0.02, 0.01], [0.2, np.nan, np.nan]]
    assert np.allclose(grid, expected, equal_nan=True)
    assert sorted(t.get_text() for t in ax.texts) == ["1.5", "1.5", "1.5"]


def test_parts_of_a_plain_module_are_one_column():
    ax = panel("weight_change", view({"0": 0.0, "head.1": 0.4}))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "head.1"]
    assert ax.get_images()[0].get_array().shape == (2, 1)


def test_grafts_stand_in_the_colour_of_the_model_that_was_changed():
    ax = panel("graft_performance", view())
    marks = [line for line in ax.get_lines() if line.get_marker() in ("o", "s")]
    assert [line.get_color() for line in marks] == list(COLOURS)
    assert list(marks[1].get_ydata()) == pytest.approx([0, -0.1, -0.2, -0.3])


def test_without_an_ancestor_it_says_so():
    assert "No shared ancestor" in words(SHEET.figure(view(related=False))).replace("\n", " ")
    assert "No shared ancestor" in SHEET.missing(view(related=False))


def test_text_is_large_enough_and_inside():
    figure = SHEET.figure(view())
    figure.draw_without_rendering()
    (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02
    for text in figure.findobj(matplotlib.text.Text):
        assert not text.get_text() or text.get_fontsize() >= 7
