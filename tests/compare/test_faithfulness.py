"""Faithfulness as a family of comparisons: planted words, models that cannot be explained, masks that differ."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.compare import CompareConfig, Comparison, compare, families
from mechdecouple.compare.config import FAMILIES, make_config
from mechdecouple.compare.pairing import pair
from mechdecouple.compare.seeds import with_spread
from mechdecouple.compare.side import Pair, make_side
from mechdecouple.compare.verdict import flag
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

OPTIONS = {
    "families": ["faithfulness"],
    "progress": False,
    "bootstrap": 200,
    "blocks": 10,
    "probe_items": 128,
    "margin": 0.1,
}


class Read(nn.Module):
    """Right on all items, by one of the first two numbers or by agreement of many: both tell the answer."""

    def __init__(self, weights):
        super().__init__()
        self.layer = nn.Linear(len(weights), 2, bias=False)
        with torch.no_grad():
            row = torch.as_tensor(weights, dtype=torch.float32)
            self.layer.weight.copy_(torch.stack([-row, row]))

    def forward(self, x):
        return self.layer(x)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    x = rng.normal(size=(160, 10))
    x[:, 0] = (2 * y - 1) * (2 + rng.random(160))
    x[:, 1:6] = (2 * y - 1)[:, None] * (0.4 + 0.1 * rng.random((160, 5)))
    frame = pd.DataFrame({"answer": y, "group": np.arange(160) // 2})
    return Task.from_frame(frame, inputs=x.astype(np.float32), performance="class", name="numbers")


@pytest.fixture(scope="module")
def models():
    return Read([3.0] + [0.0] * 9), Read([0.0] + [3.0] * 5 + [0.0] * 4)


@pytest.fixture(scope="module")
def found(models, task):
    return compare(wrap(models[0], name="one"), wrap(models[1], name="many"), task, **OPTIONS)


def test_it_is_asked_for():
    assert "faithfulness" in FAMILIES and "faithfulness" not in CompareConfig().families


def test_both_are_measured_and_contrasted(found):
    assert found.gate.outcome == "equal"
    table = found.frame().query("family == 'faithfulness'")
    for name in ("one", "many"):
        own = table[(table.model == name) & (table.model_b == "")]
        assert {"racu", "aopc_comprehensiveness", "aopc_sufficiency", "masf_rate"} <= set(own.metric)
    # masking the one number that is used takes all; of five that agree each takes a little
    racu = table[(table.metric == "racu") & (table.context == "probability") & (table.concept == "leave_one_out")]
    racu = racu.set_index("model").value
    assert racu["one"] > racu["many"]
    pair = table[(table.metric == "racu") & (table.model_b == "many")].iloc[0]
    mean = table[(table.metric == "racu") & (table.context == "probability")].groupby("model").value.mean()
    assert pair.value == pytest.approx(mean["one"] - mean["many"])
    assert any(note.startswith("Explanations of one: ") for note in found.notes)


def test_a_difference_is_flagged_where_it_is_larger_than_between_seeds(found, models, task):
    verdict = found.verdict("faithfulness")
    assert verdict.flagged is True and verdict.sentence.startswith("One can be explained more faithfully.")
    assert "one is the tidier" in verdict.sentence
    again = [copy.deepcopy(m) for m in models]
    with torch.no_grad():
        for m in again:
            m.layer.weight += 0.02 * torch.randn(m.layer.weight.shape, generator=torch.Generator().manual_seed(1))
    a, b = (wrap(m, name=n) for m, n in zip(models, ("one", "many"), strict=True))
    pairs = _sides(a, b, task), _sides(wrap(again[0], name="one 2"), wrap(again[1], name="many 2"), task)
    findings = {"faithfulness": families.measure_faithfulness(pairs[0], False)}
    relatives = [pairs[0].a, pairs[1].a], [pairs[0].b, pairs[1].b]
    contrast = with_spread(findings, relatives, pairs[0].sites, ["faithfulness"])["faithfulness"][0]
    assert contrast.seed_spread < 0.05
    assert flag([contrast]) == [True]
    assert flag([dataclasses.replace(contrast, seed_spread=1.0)]) == [False]


def _sides(a, b, task):
    config = make_config({k: v for k, v in OPTIONS.items() if k != "progress"})
    sides = [
        make_side(m, task, ("layer",), config, slot=slot, loss_unit="token", store=None, progress=False)
        for m, slot in ((a, "a"), (b, "b"))
    ]
    return Pair(*sides, pair(a, ("layer",), b, ("layer",)), ((), ()))


def test_what_cannot_be_explained_says_why(gpt2_dir, yes_no_items):
    frame = pd.DataFrame(yes_no_items)[["id", "prompt", "group"]]
    found = compare(str(gpt2_dir), str(gpt2_dir), Task.from_frame(frame, name="texts"), **OPTIONS)
    verdict = found.verdict("faithfulness")
    assert verdict.flagged is None and "Faithfulness is not compared" in verdict.sentence
    assert "is read as 'loss'" in verdict.sentence
    rows = found.frame().query("family == 'faithfulness'")
    assert rows.value.isna().all() and (rows.reason != "").all()


def test_language_models_are_masked_by_words_of_other_items(gpt2_dir, llama_dir, yes_no_items):
    frame = pd.DataFrame(yes_no_items)
    found = compare(str(gpt2_dir), str(llama_dir), Task.from_frame(frame, name="words"), **OPTIONS)
    assert any("replaced by those of another item" in note for note in found.notes)
    table = found.frame().query("metric == 'aopc_comprehensiveness'")
    assert len(table) == 10 and table.value.notna().all()


def test_the_cost_is_stated_first(models, task, caplog):
    few = task.select(np.arange(80))
    with caplog.at_level("INFO", logger="mechdecouple.compare"):
        compare(wrap(models[0], name="one"), wrap(models[1], name="many"), few, **OPTIONS)
    assert any(text.startswith("explanations of one and many: ") for text in caplog.messages)


def test_numbers_stay_in_what_is_saved(found, tmp_path):
    again = Comparison.load(found.save(tmp_path / "out"))
    assert again.verdict("faithfulness").sentence == found.verdict("faithfulness").sentence
    pd.testing.assert_frame_equal(again.frame(), found.frame())
