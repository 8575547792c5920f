import math

import pytest

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate
from mechdecouple.structure.mechanism.evidence import Evidence, evidence_frame


def piece(value, width=0.05, **facts):
    facts = {"axis": "route", "name": "profile", "within": 0.2, "beyond": 0.3, "settles": 0.6, **facts}
    return Evidence(distance=Estimate(value=value, low=value - width, high=value + width), **facts)


@pytest.mark.parametrize(("value", "says"), [(0.1, "same"), (0.18, ""), (0.3, ""), (0.4, "other"), (0.9, "other")])
def test_it_speaks_only_where_the_whole_interval_is_on_one_side(value, says):
    assert piece(value).says == says


def test_few_items_say_nothing():
    assert piece(0.0, width=0.5).says == ""
    assert piece(0.7, width=0.5).says == ""


def test_it_settles_beyond_its_bound_alone():
    assert not piece(0.62).settled
    assert piece(0.7).settled


def test_what_seeds_of_one_recipe_differ_by_is_alike_and_never_apart():
    seeds = (0.1, 0.5)
    assert piece(0.4, spread=seeds).says == "same"
    assert piece(0.52, spread=seeds).says == ""
    assert piece(0.58, spread=seeds).says == "other"
    assert not piece(0.8, spread=(0.78,)).settled


def test_seeds_that_agree_closely_do_not_make_a_small_distance_count():
    assert piece(0.1, spread=(0.001,)).says == "same"


def test_failure_can_be_no_evidence_and_likeness_none_either():
    failure = piece(1.0, beyond=math.inf, settles=math.inf, spread=(0.1,))
    assert failure.says == ""
    assert piece(0.0, within=-math.inf, spread=(0.4,)).says == ""


def test_three_pairs_of_seeds_let_one_piece_settle():
    apart = piece(0.45)
    assert not apart.settled
    assert not piece(0.45, spread=(0.1, 0.05)).settled
    assert piece(0.45, spread=(0.1, 0.05, 0.02)).settled
    assert not piece(0.45, spread=(0.1, 0.05, 0.42)).settled


def test_a_measure_that_can_fail_counts_against_only_where_it_finds_what_seeds_share():
    facts = {"within": 0.1, "beyond": 0.5, "settles": math.inf, "fallible": True}
    assert piece(0.9, **facts).says == ""
    assert piece(0.9, spread=(0.02, 0.05), **facts).says == "other"
    assert piece(0.9, spread=(0.02, 0.8), **facts).says == ""
    assert piece(0.04, **facts).says == "same"
    assert piece(0.3, spread=(0.8,), **facts).says == ""


def test_without_its_seeds_a_piece_speaks_for_itself():
    assert piece(0.4, spread=(0.9,)).unseeded().says == "other"


def test_what_was_not_measured_says_so():
    found = Evidence(axis="route", name="symmetry", distance=Estimate.undefined("one position"), within=0.1)
    assert found.says == ""
    assert "one position" in found.sentence
    no_interval = Evidence(axis="route", name="symmetry", distance=Estimate(value=0.0), within=0.1)
    assert no_interval.says == ""


def test_the_sentence_names_the_bound_and_what_is_said():
    assert "speaks for another" in piece(0.9).sentence
    assert "seeds of one recipe up to 0.10" in piece(0.9, spread=(0.1,)).sentence


def test_bounds_that_do_not_rise_are_refused():
    with pytest.raises(InputError, match="to rise"):
        piece(0.1, within=0.4)


def test_the_table_has_a_row_a_piece_and_its_columns_when_empty():
    table = evidence_frame([piece(0.1), piece(0.9)])
    assert list(table.says) == ["same", "other"]
    assert list(evidence_frame([]).columns) == list(table.columns)
