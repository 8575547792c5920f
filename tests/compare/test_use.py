"""Use as a family of comparisons: planted rules, confidence and heads; what cannot be measured says why."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mechdecouple as md
from mechdecouple.compare import Comparison, compare
from mechdecouple.compare.config import make_config
from mechdecouple.compare.cost import compare_cost
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

OPTIONS = {"families": ["use"], "progress": False, "blocks": 10, "margin": 0.1, "hook_points": ["inside"]}
TREE = "tree of depth 3"


class Planted(nn.Module):
    """Holds the right answer inside; its head adds what disturbs it."""

    def __init__(self, lean=0.0, twist=0.0):
        super().__init__()
        self.inside = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.inside.weight)
        self.lean, self.twist = lean, twist

    def forward(self, x):
        h = self.inside(x)
        score = h[:, 0] + self.lean + self.twist * h[:, 1]
        return torch.stack([-score, score], dim=1)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    n = 320
    y, other, group = np.arange(n) % 2, rng.integers(0, 2, n), np.arange(n) // 2
    x = np.column_stack([2.0 * y - 1 + 0.5 * rng.standard_normal(n), 2.0 * other - 1, rng.standard_normal((n, 4)).T[0]])
    frame = pd.DataFrame(
        {"answer": y, "group": group, "concept_right": y, "concept_other": other,
         "split": np.where(group % 4 == 0, "shift", "test")}
    )  # fmt: skip
    return Task.from_frame(frame, inputs=x.astype(np.float32), performance="class", name="planted")


@pytest.fixture(scope="module")
def found(task):
    return compare(wrap(Planted(), name="plain"), wrap(Planted(lean=1.0), name="leaning"), task, **OPTIONS)


def value(found, metric, model, concept="", context="", model_b=""):
    table = found.frame().query("family == 'use'")
    for column, wanted in {
        "metric": metric,
        "model": model,
        "concept": concept,
        "context": context,
        "model_b": model_b,
    }.items():
        table = table[table[column] == wanted]
    assert len(table) == 1
    return table.iloc[0]


def test_it_costs_no_pass_of_the_models(found, task):
    cost = compare_cost(wrap(Planted()), wrap(Planted()), task, make_config({"families": ["use"]}))
    assert set(cost.passes) == {"answers", "activations"}


def test_what_is_planted_is_found(found):
    # the one that leans says 1 too often, and a new head on the same activations mends it
    assert abs(value(found, "recoverable_accuracy", "plain").value) < 0.03
    gain = value(found, "recoverable_accuracy", "leaning")
    assert gain.low > 0.05 and gain.hook_point == "inside"
    pair = value(found, "recoverable_accuracy", "plain", model_b="leaning")
    assert pair.high < 0 and pair.p < 0.01 and pair.hook_point_b == "inside"
    assert value(found, "simulatability", "plain", TREE).low > 0.85
    assert value(found, "simulatability", "leaning", TREE).value < value(found, "simulatability", "plain", TREE).value
    assert value(found, "simulatability", "plain", TREE, "shift").n == 40
    assert value(found, "selective_accuracy", "plain", context="coverage 0.8").value > found.gate.a.value
    assert value(found, "aurc_gain", "plain", model_b="leaning").direction == "higher"


def test_numbers_are_those_of_the_items(found):
    items = found.items[(found.items.model == "leaning") & (found.items.split == "test")]
    order = items.sort_values("confidence", ascending=False).correct.to_numpy()
    errors = np.cumsum(1 - order) / np.arange(1, len(order) + 1)
    assert value(found, "aurc", "leaning").value == pytest.approx(errors.mean())
    assert value(found, "aurc", "leaning").n == items.group.nunique() == 120


def test_nothing_is_flagged_and_nothing_is_lost(found, tmp_path):
    assert found.verdict("use") is None
    again = Comparison.load(found.save(tmp_path / "out"))
    pd.testing.assert_frame_equal(again.frame(), found.frame())


def test_what_cannot_be_measured_says_why(gpt2_dir, yes_no_items):
    frame = pd.DataFrame(yes_no_items)[["id", "prompt", "group"]]
    losses = compare(
        str(gpt2_dir), str(gpt2_dir), Task.from_frame(frame, name="texts"), **{**OPTIONS, "hook_points": None}
    )
    rows = losses.frame().query("family == 'use'")
    assert set(rows.metric) == {"simulatability", "aurc", "recoverable_accuracy"} and len(rows) == 6
    assert rows.value.isna().all() and rows.reason.str.contains("nats per token").all()


def test_words_of_a_language_model(gpt2_dir, llama_dir, yes_no_items):
    frame = pd.DataFrame(yes_no_items)
    bare = [c for c in frame if c in ("id", "prompt", "group", "answer", "choices")]
    words = compare(
        str(gpt2_dir), str(llama_dir), Task.from_frame(frame[bare], name="w"), **{**OPTIONS, "hook_points": None}
    )
    rows = words.frame().query("family == 'use'")
    assert rows[rows.metric == "simulatability"].reason.str.contains("columns concept_").all()
    assert rows[(rows.metric == "recoverable_accuracy") & (rows.model_b == "")].value.notna().all()


def test_the_figure_shows_the_numbers(found):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    md.plot(found, "recoverable_accuracy", ax=axes)
    drawn = sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("o", "s"))
    own = [value(found, "recoverable_accuracy", name).value for name in ("plain", "leaning")]
    assert drawn == pytest.approx(sorted(own))
    axes = Figure().subplots()
    md.plot(found, "risk_coverage", ax=axes)
    ends = [line.get_ydata()[-1] for line in axes.lines if len(line.get_ydata()) > 50]
    assert ends == pytest.approx([found.gate.a.value, found.gate.b.value])
    assert "Use: what a user can do with either model" in found._repr_html_() or md.plot(found, "use") is not None
