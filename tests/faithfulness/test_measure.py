import numpy as np
import pandas as pd
import pytest

from mechdecouple import faithfulness
from mechdecouple.errors import InputError
from mechdecouple.faithfulness import (
    AOPC_COMPREHENSIVENESS,
    AOPC_SUFFICIENCY,
    RACU,
    Maskable,
    attribute,
    measure,
    passes,
)
from mechdecouple.faithfulness.measure import drawn
from mechdecouple.faithfulness.racu import racu
from mechdecouple.results import COLUMNS

MASK = 1


@pytest.fixture(scope="module")
def found(words):
    model, task, used = words
    return measure(model, task, mask=MASK, used=used, progress=False)


def row(found, metric, method, context=""):
    table = found.frame()
    return table[(table.metric == metric) & (table.concept == method) & (table.context == context)].iloc[0]


def test_the_planted_word_makes_explanations_faithful(found):
    drop = 1 / (1 + np.exp(-8 / 7)) - 0.5
    for method in ("input_x_gradient", "integrated_gradients", "leave_one_out"):
        full = row(found, "aopc_comprehensiveness", method)
        assert full.value == pytest.approx(drop, abs=1e-5)
        assert full.p < 0.01 and full.null < drop / 2
        alone = row(found, "aopc_sufficiency", method)
        assert alone.value == pytest.approx(0, abs=1e-5)
        assert alone.p < 0.01 and alone.null > 0.1
        assert row(found, "rationale_auroc", method).value == pytest.approx(1)
        assert row(found, "racu", method, "probability").value > 0.7
        assert row(found, "rationale_comprehensiveness", method, "top 20%").value == pytest.approx(drop, abs=1e-5)


def test_explanations_that_say_nothing_are_at_chance(found):
    for method in ("gradient_norm", "attention"):
        share = row(found, "racu", method, "probability")
        assert share.low < 0 < share.high or abs(share.value) < 0.15
        assert row(found, "rationale_auroc", method).value == pytest.approx(
            {"gradient_norm": 5 * 0.5 / 6, "attention": 0.5}[method], abs=1e-3
        )
        full = row(found, "aopc_comprehensiveness", method)
        assert full.value == pytest.approx(full.null, abs=0.05)
        assert full.p > 0.01


def test_racu_is_that_of_the_curves(found):
    curve = found.curves["leave_one_out"].probability.mean(axis=1)
    expected = racu(found.random.ratios, curve, found.random.probability.mean(axis=1))
    assert row(found, "racu", "leave_one_out", "probability").value == pytest.approx(float(expected))
    correct = racu(found.random.ratios, found.curves["attention"].correct.mean(1), found.random.correct.mean(1))
    assert row(found, "racu", "attention", "correct").value == pytest.approx(float(correct))


def test_scores_over_explanations(found):
    assert found.score(RACU).value == pytest.approx(np.mean(found.racu.value[0]))
    for metric in (AOPC_COMPREHENSIVENESS, AOPC_SUFFICIENCY):
        own = found.frame().query("metric == @metric.name").value
        assert found.score(metric).value == pytest.approx(own.mean())
    assert found.score(RACU, ["leave_one_out"]).value == found.racu.value[0, found.methods.index("leave_one_out")]
    with pytest.raises(InputError, match="'random' was not measured"):
        found.score(RACU, ["random"])


def test_tables_and_words(found, words):
    table = found.frame()
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(["metric", "concept", "context"]).any()
    assert (table.family == "faithfulness").all() and (table.model == "bag of words").all()
    assert (table.reason[table.value.isna()] != "").all()
    assert (table.metric == "masf_rate").sum() == 11
    items = found.items()
    assert len(items) == found.maskable.sum() and items.leave_one_out.notna().all()
    assert list(found.table().explanation) == [*found.methods, "random"]
    assert "bag of words: " in found.summary() and "replaced by token 1" in found.summary()
    html = found._repr_html_()
    assert "<table" in html and "replaced by token 1" in html
    assert repr(found) == "<Faithfulness of 'bag of words': 5 explanations of 80 items>"


def test_same_numbers_again(found, words):
    model, task, used = words
    again = measure(model, task, mask=MASK, used=used, progress=False)
    pd.testing.assert_frame_equal(again.frame(), found.frame())


def test_a_model_that_reads_nothing_has_no_share(linear):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model, task = linear([0.0, 0.0, 0.0], x)
    found = measure(model, task, progress=False)
    own = row(found, "racu", "leave_one_out", "probability")
    assert np.isnan(own.value) and "masking everything changes nothing" in own.reason
    assert "no area to share" in found.summary()


def test_masks_that_a_model_does_not_know_are_named(linear):
    rng = np.random.default_rng(0)
    x = np.sign(rng.normal(size=(160, 12))).astype(np.float32)
    model, task = linear(np.ones(12), x)
    found = measure(model, task, progress=False)
    table = found.frame().query("metric == 'masf_rate'").set_index("context").value
    assert table["0% masked at random"] < 0.15
    whole = measure(model, task, mask="resample", progress=False)
    assert not any("Out of distribution" in limit for limit in whole.limits)


def test_at_most_the_passes_that_are_told(words, linear):
    model, task, _ = words
    found = measure(model, task, mask=MASK, progress=False)
    lengths = found.maskable.sum(axis=1).tolist()
    told = passes(lengths, methods=found.methods)
    assert 0.2 * told < found.passes <= told
    x = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    wide = measure(*linear(np.ones(40), x), progress=False)
    told = passes([40] * 50, methods=wide.methods)
    assert 0.5 * told < wide.passes <= told


def test_whole_groups_are_drawn():
    groups = np.repeat(np.arange(50), 4)
    rows = drawn(groups, 30, seed=0)
    assert len(rows) == 32
    assert (np.unique(groups[rows], return_counts=True)[1] == 4).all()
    assert (np.diff(rows) > 0).all()
    assert len(drawn(groups, 200, seed=0)) == 200
    with pytest.raises(InputError, match="limit is 1"):
        drawn(groups, 1, seed=0)


def test_limited_items_keep_their_own_features(words):
    model, task, used = words
    found = measure(model, task, mask=MASK, used=used, among=[np.arange(7) < 6] * 80, limit=20, progress=False)
    assert len(found.ids) == 20
    assert row(found, "rationale_auroc", "leave_one_out").value == pytest.approx(1)
    assert not found.maskable[:, 6].any()


def test_what_is_refused(words):
    model, task, _ = words
    with pytest.raises(InputError, match="'lime' is unknown"):
        measure(model, task, methods=["lime"], progress=False)
    with pytest.raises(InputError, match="one group"):
        measure(model, task.select(np.arange(2)), progress=False)
    with pytest.raises(InputError, match="must rise from 0 to 1"):
        measure(model, task, ratios=(0, 0.5), progress=False)


def test_public_names_are_there():
    for name in faithfulness.__all__:
        assert getattr(faithfulness, name) is not None
    assert attribute is faithfulness.attribute and Maskable is faithfulness.Maskable
