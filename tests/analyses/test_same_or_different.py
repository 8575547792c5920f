from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import same_or_different
from analyses._published import sums
from analyses.same_or_different import (
    FULL,
    LOOKED_AT,
    QUICK,
    SETS,
    chosen,
    confusion,
    copy_criteria,
    draw_confusion,
    draw_evidence,
    fresh_pairs,
    judge_pairs,
    judge_published,
    published_criteria,
    set_of,
    verdict_criteria,
)
from mechdecouple.zoo.known_pairs import KNOWN_PAIRS, Specimen

DATA = Path(__file__).parents[3] / "shared" / "data"
WANTED = ("through@0 / around@0", "through@0 / through@1")


@pytest.fixture(scope="module")
def judged():
    """A pair by another route and a pair of seeds, whose weights are shipped."""
    return judge_pairs([pair for pair in KNOWN_PAIRS if pair.name in WANTED], progress=False, budget=8000)


def rows(n, said="same", true="same", **facts):
    """A table of n pairs of which one thing is true and one is said."""
    own = {f"true_{axis}": true for axis in ("route", "variables")}
    own |= {column: said for axis in ("route", "variables") for column in (axis, f"{axis}_alone")}
    return pd.DataFrame([{"pair": str(i), "set": SETS[0], "copy": False, **own, **facts} for i in range(n)])


def test_a_pair_by_another_route_and_a_pair_of_seeds_are_told(judged):
    pairs, _ = judged
    table = pairs.set_index("pair").loc[list(WANTED)]
    assert list(table.route) == list(table.true_route) == ["other", "same"]
    assert list(table.variables) == list(table.true_variables) == ["same", "same"]


def test_confusion_counts_every_pair_once():
    table = pd.concat([rows(3), rows(2, said="other"), rows(4, true="other", said="cannot tell")], ignore_index=True)
    assert confusion(table, "route").tolist() == [[3, 2, 0], [0, 0, 4]]


def test_wrong_verdicts_and_silence_are_not_met():
    assert all(c.met for c in verdict_criteria(rows(10)))
    wrong = verdict_criteria(pd.concat([rows(8), rows(2, said="other")], ignore_index=True))
    assert all("right" in c.name for c in wrong if not c.met)
    assert any(not c.met for c in wrong)
    assert not any(c.met for c in verdict_criteria(rows(10, said="cannot tell")))


def test_a_copy_that_is_called_other_is_not_met():
    assert all(c.met for c in copy_criteria(rows(2, copy=True, said="cannot tell")))
    assert not any(c.met for c in copy_criteria(rows(2, copy=True, said="other")))


def test_published_routes_may_stay_open_but_not_be_wrong():
    facts = {"a": "x", "b": "y", "variables": "other"}
    one = pd.DataFrame([{**facts, "true_route": "other", "route": "other"}])
    assert all(c.met for c in published_criteria(one))
    assert not all(c.met for c in published_criteria(one.assign(route="same")))
    assert not all(c.met for c in published_criteria(one.assign(variables="same")))


def test_the_quick_form_needs_no_training_and_the_fresh_pairs_were_not_looked_at():
    assert all(pair.shipped for pair in chosen(QUICK))
    assert len(KNOWN_PAIRS) >= 40
    assert {set_of(pair) for pair in fresh_pairs()} == {SETS[1]}
    assert all(Specimen(name, seeds - 1).seed < seeds for name, seeds in LOOKED_AT.items())
    assert len({pair.name for pair in (*KNOWN_PAIRS, *fresh_pairs())}) == len(KNOWN_PAIRS) + len(fresh_pairs())


def test_sums_are_right_and_hold_the_equals_sign():
    task = sums(5, 3)
    assert len(task) == 25
    assert all((t[0] + t[1]) % 5 == int(a) and t[2] == 5 for t, a in zip(task.tokens, task.answers, strict=True))


def test_the_figures_hold_what_was_judged(judged):
    pairs, evidence = judged
    figure = draw_confusion(pairs)
    counts = [int(text.get_text()) for text in figure.axes[0].texts]
    assert counts == confusion(pairs, "route").ravel().tolist()
    drawn = draw_evidence(evidence)
    assert len(drawn.axes[0].get_yticks()) == evidence.evidence.nunique()
    assert np.isfinite(drawn.axes[0].get_xlim()).all()


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "rib").exists(), reason="the published nets are not at hand")
def test_published_clock_pizza_and_null_pair_are_told_without_seeds():
    table = judge_published(DATA, progress=False)
    assert list(table.route) == list(table.true_route) == ["other", "same"]
    assert list(table.variables) == ["other", "other"]


@pytest.mark.slow
def test_the_quick_study_meets_what_was_declared(tmp_path):
    result = same_or_different.run(progress=False)
    assert result.verdict == "reproduced"
    result.write(tmp_path)
    assert (tmp_path / "confusion.pdf").exists()


def test_the_full_form_is_known_as_such():
    assert FULL.full
    assert not QUICK.full
