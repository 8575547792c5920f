"""Faithfulness drawn: what stands in the table is what stands in the figure."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import mechdecouple as md
from mechdecouple.compare import compare
from mechdecouple.faithfulness import measure
from mechdecouple.models import wrap
from mechdecouple.report.page import render
from mechdecouple.report.view import View
from mechdecouple.tasks import Task


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    x = rng.normal(size=(100, 8))
    x[:, 0] = 2 * y - 1
    frame = pd.DataFrame({"answer": y})
    return Task.from_frame(frame, inputs=x.astype(np.float32), performance="class", name="numbers")


def net(seed, name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    return wrap(modules, name=name)


@pytest.fixture(scope="module")
def comparison(task):
    options = {"families": ["faithfulness"], "progress": False, "blocks": 5, "bootstrap": 200}
    return compare(net(0, "one"), net(1, "two & <b>"), task, hook_points=["1"], **options)


def test_every_explanation_of_both_models_is_drawn_where_it_is(comparison):
    axes = Figure().subplots()
    md.plot(comparison, "racu", ax=axes)
    table = comparison.frame().query("metric == 'racu' and context == 'probability'")
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("o", "s")]
    assert sorted(drawn) == pytest.approx(sorted(table.value))
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == ["gradient norm", "input x gradient", "integrated gradients", "leave one out"]


def test_masked_items_that_look_unlike(comparison):
    axes = Figure().subplots()
    md.plot(comparison, "known_masks", ax=axes)
    table = comparison.frame().query("metric == 'masf_rate' and model == 'one'")
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 11)
    assert curve.get_ydata() == pytest.approx(table.value.to_numpy())
    assert curve.get_xdata() == pytest.approx(np.arange(0, 101, 10))


def test_the_page_tells_it(comparison):
    page = render(View(comparison), {}, {})
    assert "Faithfulness: do explanations tell what answers depend on" in page
    assert "Explanations of one: Numbers that are masked are replaced by their mean" in page
    assert "two & <b>" not in page


def test_masking_curves_of_one_model(task):
    found = measure(net(0, "one"), task, progress=False)
    axes = Figure().subplots()
    assert md.plot(found, ax=axes) is axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["leave one out"] == pytest.approx(found.curves["leave_one_out"].probability.mean(axis=1))
    assert lines["at random"] == pytest.approx(found.random.probability.mean(axis=1))


def test_what_was_not_measured_says_so(comparison, task):
    other = compare(net(0, "one"), net(1, "two"), task, hook_points=["1"], families=[], progress=False)
    axes = Figure().subplots()
    md.plot(other, "racu", ax=axes)
    assert any("Not measured" in text.get_text() for text in axes.texts)
