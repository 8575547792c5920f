"""Drawings of mechanism: they show the table's numbers, in shades and widths that grow with them, and say the rest."""

import dataclasses
import math
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mechdecouple.report import plot
from mechdecouple.report.figures.dots import Dot, Line, draw_lines, seed_marks
from mechdecouple.report.figures.evidence import draw_evidence, marks
from mechdecouple.report.figures.grids import Grid, draw_grid
from mechdecouple.report.figures.mechanism import alike_lines, bounded, share_lines, signature_lines
from mechdecouple.report.figures.parts import Part, draw_parts, height, parts_of, rows_of
from mechdecouple.report.figures.shared_variables import FOLLOWS, STITCHED, by_depth, interchange_grid, stitching_grid
from mechdecouple.report.metrics import METRICS
from mechdecouple.report.numbers import pair_tables
from mechdecouple.report.sections import SECTIONS
from mechdecouple.report.view import View, is_difference

SHEETS = ("evidence", "mechanism", "signature", "stitching", "interchange")
SECTION = next(section for section in SECTIONS if section.name == "mechanism")


def drawn(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def transformer(layers, heads, share=0.5):
    parts = [Part("embedding", "embedding", None, None, 0.0, 1.0)]
    for i in range(layers):
        parts += [
            Part(f"L{i} patterns", "pattern", None, i, i / layers, share),
            Part(f"L{i} attention", "attention", None, i, i / layers, share),
            *(Part(f"L{i}H{h}", "head", h, i, i / layers, share) for h in range(heads)),
            Part(f"skip around L{i} attention", "skip", None, i, i / layers, share),
            Part(f"L{i} MLP", "mlp", None, i, (i + 0.5) / layers, share),
            Part(f"skip around L{i} MLP", "skip", None, i, (i + 0.5) / layers, share),
        ]
    return parts


def drawing(models):
    figure = Figure(figsize=(6.9, height(models)))
    ax = figure.add_axes((0, 0, 1, 1))
    draw_parts(models, ax)
    return figure, ax


def boxes(ax, label):
    """Face colours of the boxes that hold this text, by the text's place."""
    found = []
    for text in ax.texts:
        if text.get_text() == label:
            x, y = text.get_position()
            found += [p for p in ax.patches if isinstance(p, Rectangle) and p.get_window_extent().contains(
                *ax.transData.transform((x + 0.01, y)))]  # fmt: skip
    return found


@pytest.mark.parametrize("kind", SHEETS)
def test_text_stays_inside_and_is_large_enough(whole, kind):
    figure = plot(whole, kind)
    drawn(figure)
    (width, tall), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < tall + 0.02
    assert all(t.get_fontsize() >= 7 for t in figure.findobj(matplotlib.text.Text) if t.get_text())


def test_rows_go_from_what_is_read_to_the_answer():
    rows = rows_of(list(reversed(transformer(2, 2))))
    assert rows[0].boxes[0].kind == "embedding"
    assert [row.side for row in rows] == [0, -1, 1, -1, 1], "attention to the left, MLPs to the right"
    assert [row.skip.name for row in rows[1:]] == [
        f"skip around L{i} {part}" for i in range(2) for part in ("attention", "MLP")
    ]


def test_modules_come_by_depth_and_those_of_one_depth_side_by_side():
    parts = [Part(name, "module", None, None, depth, 0.5) for name, depth in (("c", 0.9), ("a", 0.1), ("b", 0.1))]
    assert [[p.name for p in row.boxes] for row in rows_of(parts)] == [["a", "b"], ["c"]]


def test_boxes_are_the_darker_the_more_depends_on_them_also_in_grey():
    shades = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        figure, ax = drawing({"one": transformer(1, 0, share), "two": transformer(1, 0, 1 - share)})
        figure.draw_without_rendering()
        first, _ = sorted(boxes(ax, "MLP"), key=lambda p: p.get_x())
        shades.append(np.dot(to_rgb(first.get_facecolor()), (0.3, 0.59, 0.11)))
        assert f"{share:.2f}".removeprefix("0") in [t.get_text() for t in ax.texts]
    assert all(np.diff(shades) < -0.1) and shades[0] > 0.95


def test_the_way_past_is_as_thick_as_it_matters():
    widths = []
    for share in (0.0, 0.5, 1.0):
        _, ax = drawing({"one": transformer(1, 0, share)})
        widths.append(max(line.get_linewidth() for line in ax.get_lines()))
    assert widths[0] < widths[1] / 2 < widths[2] / 2


def test_parts_that_were_not_taken_out_are_hatched_and_told(whole):
    _, ax = drawing({"one": [*transformer(1, 0), Part("L0H0", "head", 0, 0, 0.0, math.nan)]})
    assert sum(bool(p.get_hatch()) for p in ax.patches) == 2 and "not taken out" in drawn(ax.figure)
    _, ax = drawing({"one": transformer(1, 2)})
    assert "not taken out" not in drawn(ax.figure)
    parts = parts_of(whole.parts[whole.parts.ablation == "resample"], whole.a)
    assert [p.head for p in parts if p.kind == "head"] == [0, 1, 0, 1]
    assert not any(p.name.startswith("all ") for p in parts), "what lies at several places is none of them"


@pytest.mark.parametrize("layers", [12, 48])
def test_deep_models_fit_on_a_page(layers):
    models = {"deep": transformer(layers, 12), "shallow": transformer(2, 2)}
    assert height(models) < 9
    figure, _ = drawing(models)
    assert f"L{layers - 1}" in drawn(figure)


def test_shares_of_like_parts_stand_on_one_line(whole):
    parts = whole.parts[whole.parts.ablation == "resample"]
    lines = {line.name: line for line in share_lines(parts, (whole.a, whole.b))}
    assert lines["L0 patterns"].dots[0].value == 0.05 and lines["L0 patterns"].dots[1].value == 0.8
    assert "L0H0" not in lines, "the first head of one model is not that of another"
    assert next(iter(lines)) == "all patterns" and list(lines)[-1] in ("embedding", "token 0")


def test_the_signature_shows_both_models_seeds_and_nulls(whole):
    seed = dataclasses.replace(
        next(m for m in whole.measurements if m.metric == "gradient_symmetry"), model="s", context="seed of b"
    )
    view = View(dataclasses.replace(whole, measurements=(*whole.measurements, seed)))
    lines = {line.name: line for line in signature_lines(view.table, view.names, bounded)}
    assert len(lines) == 4 and lines["Variance of the answer: a <b>"].dots[0].value == 0.3
    assert lines["Gradient symmetry"].null == 0.0 and lines["Gradient symmetry"].seeds == ((), (seed.estimate.value,))
    assert {h.get_label() for h in seed_marks(list(lines.values()))} == {"further seeds", "null"}
    (alike,) = alike_lines(view.table)
    assert alike.pair == Dot(0.4, 0.37, 0.43) or alike.pair.value == 0.4
    ax = Figure().add_subplot()
    draw_lines([alike], ax, title="", xlabel="", limits=(0.0, 1.0))
    assert any(line.get_marker() == "D" for line in ax.get_lines())


def test_counts_are_kept_apart_from_shares():
    assert bounded(METRICS["answer_variance_share"].range) and bounded(METRICS["group_sparsity"].range)
    assert not bounded(METRICS["effective_components"].range)


def test_intervals_end_where_the_axis_does():
    ax = Figure().add_subplot()
    draw_lines([Line("x", (Dot(0.9, 0.7, 1.2), None))], ax, title="", xlabel="", limits=(0.0, 1.0))
    assert max(x for line in ax.get_lines() for x in line.get_xdata()) == 1.0


def test_stitching_has_both_controls_and_the_ceiling_above_the_map(whole):
    table = View(whole).table
    grid = stitching_grid(table[table.metric == STITCHED], whole.b, whole.a, ("B", "A"))
    np.testing.assert_allclose(np.diag(grid.values), 0.9)
    assert grid.values[0, 2] == pytest.approx(0.3) and grid.struck.tolist() == [
        [abs(i - j) == 2 for j in range(3)] for i in range(3)
    ]
    assert [name for name, _ in grid.beside] == ["control: fresh B", "control: answer alone", "ceiling: A itself"]
    assert all(len(line) == 3 for _, line in grid.beside) and grid.beside[2][1][0] == 0.98


def test_interchange_marks_what_random_directions_do_as_well(whole):
    table = View(whole).table
    rows = table[(table.metric == FOLLOWS) & (table.model == whole.a)]
    grid = interchange_grid(rows)
    assert list(grid.rows) == ["b", "a"], "the first concept stands above"
    assert grid.values[1].tolist() == [0.9, 0.1, 0.1] and grid.struck[1].tolist() == [False, True, True]
    single = interchange_grid(pd.concat([rows, rows[rows.concept == "a"].assign(position="1")]))
    assert list(single.rows) == ["b", "a, token 1", "a"]


def test_hook_points_stand_in_order_of_depth():
    points = ["blocks.10.hook_resid_post", "blocks.0.hook_resid_mid", "hook_embed", "blocks.0.hook_resid_pre"]
    assert by_depth(points) == (points[2], points[3], points[1], points[0])
    assert by_depth(["late", "early"]) == ("late", "early")


def test_undefined_cells_are_dashes():
    ax = Figure().add_subplot()
    draw_grid(Grid(np.array([[np.nan, 0.4]]), ["r"], ["a", "b"]), ax, title="", xlabel="", ylabel="")
    assert [t.get_text() for t in ax.texts] == ["–", ".40"]


def test_evidence_shows_bounds_seeds_and_what_it_says(whole):
    ax = Figure().add_subplot()
    route = whole.evidence[whole.evidence.axis == "route"]
    draw_evidence(route, ax, "Route")
    assert "not measured" in [t.get_text() for t in ax.texts]
    markers = [line.get_marker() for line in ax.get_lines()]
    assert markers.count("D") == 1 and markers.count("o") == 1 and "v" in markers and ">" in markers
    labels = {mark.get_label() for mark in marks(route)}
    assert labels == {"says other", "says same", "alike", "apart from here on", "between seeds"}
    draw_evidence(route.head(0), Figure().add_subplot(), "Route")


def test_a_piece_whose_yardstick_fails_has_no_bound_to_be_apart(whole):
    stitching = whole.evidence[whole.evidence.evidence == "stitching"]
    ax = Figure().add_subplot()
    draw_evidence(stitching, ax, "")
    assert {line.get_marker() for line in ax.get_lines()} == {"None", "x", "v"}
    assert [round(bar.get_width(), 3) for bar in ax.patches] == [0.1], "its seeds widen nothing"
    assert {mark.get_label() for mark in marks(stitching)} == {"says nothing", "alike", "between seeds"}


def test_the_page_tells_what_speaks_for_and_against(results):
    text = (results / "report.html").read_text(encoding="utf-8")
    section = text.partition('<section aria-labelledby="mechanism">')[2].partition("</section>")[0]
    assert "≠ Other" in section and "? Cannot tell" in section
    assert "<strong>For it</strong>" in section and "causal profile speaks for another" in section
    assert "variance split speaks for the same: distance 0.100 &lt;b&gt;" in section
    assert [section.count(f'id="figure-{kind}"') for kind in SHEETS] == [1] * len(SHEETS)
    assert "<strong>For it</strong>" not in text.partition("</section>")[0], "the verdicts above are short"


def test_tables_say_which_model_is_driven_by_which(whole):
    view = View(whole)
    rows = dict(pair_tables(view, SECTION))["Accuracy when driven"]
    assert len(rows) == 2 * (9 + 9) and len({(r["metric"], r["place_a"], r["place_b"]) for r in rows}) == len(rows)
    row = SimpleNamespace(model_b="b", family="mechanism", metric="gradient_symmetry")
    assert is_difference(row) and not is_difference(SimpleNamespace(**{**vars(row), "metric": STITCHED}))


def test_hook_points_of_parts_are_none_of_the_layers(whole):
    assert not any("attn" in point or "mlp" in point for point in View(whole).points(whole.a))


def test_many_inputs_are_named_below_their_boxes():
    inputs = [Part(f"token {i}", "input", None, None, 0.0, 0.25) for i in range(6)]
    _, ax = drawing({"one": [*inputs, *transformer(1, 0)], "two": transformer(1, 0)})
    said = [t.get_text() for t in ax.texts]
    assert said.count("token") == 1 and said.count(".25") == 6 and {str(i) for i in range(6)} <= set(said)
    _, ax = drawing({"one": [*inputs[:2], *transformer(1, 0)], "two": transformer(1, 0)})
    assert {"token 0", "token 1"} <= {t.get_text() for t in ax.texts}
