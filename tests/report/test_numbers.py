"""Tables of numbers, and what the page says of labels that are missing."""

import dataclasses

import numpy as np
import pandas as pd

from mechdecouple.compare.labels import Labels, wanted
from mechdecouple.report.numbers import number_tables, pair_tables
from mechdecouple.report.page import LABELLED, render
from mechdecouple.report.sections import SECTIONS, labels_wanted
from mechdecouple.report.view import View, is_difference
from mechdecouple.results import Estimate, Measurement
from mechdecouple.tasks import Task

STRUCTURE = next(s for s in SECTIONS if s.name == LABELLED)
ANCESTRY = next(s for s in SECTIONS if s.name == "ancestry")


def task(**columns):
    n = 40
    table = pd.DataFrame({"answer": np.arange(n) % 2, **{k: v[:n] for k, v in columns.items()}})
    return Task.from_frame(table, inputs=np.zeros((n, 2), np.float32))


def notes(**columns):
    made = task(**columns)
    return tuple(wanted(made, Labels.of(made, np.arange(len(made)), 5, 0)))


def test_every_note_on_missing_labels_is_known():
    bit, other = np.arange(40) % 2, np.arange(40) // 2 % 2
    found = (
        notes(),
        notes(concept_a=bit),
        notes(concept_a=bit, context=other.astype(str)),
        notes(concept_a=bit, concept_b=other, context=other.astype(str)),
    )
    assert [len(some) for some in found] == [1, 2, 1, 1]
    for some in found:
        assert labels_wanted(("The models differ in depth.", *some)) == list(some)


def test_the_page_says_what_labels_would_add_where_structure_is_told(whole):
    said = notes()
    text = render(View(dataclasses.replace(whole, notes=said)), {}, {})
    part = text.partition('<h2 id="structure">')[2].partition("</section>")[0]
    assert "What labels would add" in part and "Columns concept_* (0/1 per item)" in part
    assert "What labels would add" not in render(View(whole), {}, {})


def test_many_rows_are_folded_metric_by_metric(many_concepts):
    groups = dict(number_tables(View(many_concepts), STRUCTURE))
    assert len(groups["CCGP over contexts"]) == 6 * 5 and len(groups["Participation ratio"]) == 6
    text = render(View(many_concepts), {}, {})
    assert '<details class="inner"><summary>CCGP over contexts: 30 rows</summary>' in text
    part = text.partition('<h2 id="calibration">')[2].partition("</section>")[0]
    assert "<details open><summary>2 rows of numbers" in part and "inner" not in part


def test_functional_versions_follow_their_metrics(whole):
    row = Measurement(
        metric="functional_participation_ratio",
        family="geometry",
        model=whole.a,
        hook_point="hook_embed",
        estimate=Estimate(value=2.0),
    )
    with_it = dataclasses.replace(whole, measurements=(row, *whole.measurements))
    names = [name for name, _ in number_tables(View(with_it), STRUCTURE)]
    assert names[0] == "CCGP over contexts" and names[-1] == "Participation ratio, functional"


def test_values_of_a_pair_are_no_differences(whole):
    table = whole.frame()
    kinds = {r.metric: is_difference(r) for r in table[table.model_b != ""].itertuples()}
    assert kinds["ccgp"] and kinds["auroc_gap"] and kinds["performance"]
    assert not (kinds["cka"] or kinds["weight_change"] or kinds["graft_effect"] or kinds["matched_share"])


def test_a_graft_names_the_model_that_was_changed(whole):
    groups = dict(pair_tables(View(whole), ANCESTRY))
    assert {row["place_b"] for row in groups["Effect of a grafted block"]} == {whole.a, whole.b}
    assert {row["place_b"] for row in groups["Change of weights"]} == {""}
    assert "model that was changed" in render(View(whole), {}, {})
