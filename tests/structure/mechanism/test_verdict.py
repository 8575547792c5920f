import itertools
import math

import pytest

from mechdecouple.results import Estimate
from mechdecouple.structure.mechanism.evidence import Evidence
from mechdecouple.structure.mechanism.verdict import BY_ANSWER, CAUSAL_PROFILE, judge

PLACES = {"same": 0.05, "": 0.21, "unlike": 0.25, "other": 0.45, "settled": 0.9}


def route(profile="", split="", symmetry=""):
    names = (CAUSAL_PROFILE, "variance split", "gradient symmetry")
    return [_piece("route", n, says) for n, says in zip(names, (profile, split, symmetry), strict=True)]


def variables(wrong="", stitching="", interchange=""):
    return [
        _piece("variables", "wrong options", wrong),
        _piece("variables", "stitching", stitching, beyond=math.inf, settles=math.inf),
        _piece("variables", "interchange", interchange),
    ]


def _piece(axis, name, says, beyond=0.3, settles=0.6):
    at = PLACES[says]
    estimate = Estimate(value=at, low=at - 0.04, high=at + 0.04)
    return Evidence(axis=axis, name=name, distance=estimate, within=0.2, beyond=beyond, settles=settles)


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (route("same", "same", "same"), "same"),
        (route("same"), "same"),
        (route("", "same", "same"), "cannot tell"),
        (route(), "cannot tell"),
        (route("settled", "same", "same"), "other"),
        (route("other"), "cannot tell"),
        (route("other", "other"), "other"),
        (route("same", "other", "other"), "other"),
        (route("same", "other"), "cannot tell"),
    ],
)
def test_route(pieces, answer):
    assert judge("route", pieces).answer == answer


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (variables("same", "same"), "same"),
        (variables("", "same"), "same"),
        (variables("settled", ""), "other"),
        (variables("other", ""), "cannot tell"),
        (variables("other", "", "other"), "other"),
        (variables("settled", "same"), "cannot tell"),
        (variables("unlike", "same"), "cannot tell"),
        (variables("same", "settled"), "cannot tell"),
        (variables(), "cannot tell"),
    ],
)
def test_variables(pieces, answer):
    assert judge("variables", pieces).answer == answer


def test_wrong_options_by_answer_settle_what_single_items_leave_open():
    alike, unlike = (
        _piece("variables", BY_ANSWER, says, beyond=math.inf, settles=math.inf) for says in ("same", "other")
    )
    assert judge("variables", [*variables("unlike", "other"), alike]).answer == "same"
    assert judge("variables", [*variables("settled", ""), alike]).answer == "cannot tell"
    # that they differ neither speaks for another nor stands against the same
    assert judge("variables", [*variables("", ""), unlike]).answer == "cannot tell"
    assert judge("variables", [*variables("", "same"), unlike]).answer == "same"


def test_stitching_that_fails_says_nothing():
    verdict = judge("variables", variables(stitching="settled"))
    assert verdict.answer == "cannot tell"
    assert verdict.evidence_against == ()


def test_why_it_cannot_be_told_is_said():
    assert "stitching lies near, but wrong options lies not" in judge("variables", variables("unlike", "same")).sentence
    assert "alone lies apart" in judge("route", route("other")).sentence
    assert "not the causal profile" in judge("route", route("", "same")).sentence
    assert "no piece" in judge("route", []).sentence


def test_pieces_of_the_other_axis_do_not_count():
    assert judge("route", variables("settled")).answer == "cannot tell"


def test_what_speaks_for_the_answer_and_what_against_it_is_told_apart():
    verdict = judge("route", route("settled", "same", ""))
    assert [p.name for p in verdict.evidence_for] == [CAUSAL_PROFILE]
    assert [p.name for p in verdict.evidence_against] == ["variance split"]
    assert [p.name for p in verdict.silent] == ["gradient symmetry"]
    assert CAUSAL_PROFILE in verdict.sentence


def test_a_reason_to_tell_nothing_is_said():
    verdict = judge("route", route("settled"), reason="model 'a' answers at chance")
    assert (verdict.answer, "at chance" in verdict.sentence) == ("cannot tell", True)


def test_more_evidence_for_another_route_never_turns_other_into_same():
    order = ("same", "", "other", "settled")
    rank = {"same": 0, "cannot tell": 1, "other": 2}
    for says in itertools.product(range(4), repeat=3):
        answer = rank[judge("route", route(*(order[s] for s in says))).answer]
        for i, more in itertools.product(range(3), range(4)):
            if more > says[i]:
                raised = [*says[:i], more, *says[i + 1 :]]
                assert rank[judge("route", route(*(order[s] for s in raised))).answer] >= answer
