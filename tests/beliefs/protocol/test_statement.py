"""What is said of each outcome: never more than the numbers allow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mechdecouple.beliefs.protocol import Protocol, protocol
from mechdecouple.results import Estimate


@pytest.fixture(scope="module")
def found() -> Protocol:
    rng = np.random.default_rng(0)
    truth = np.tile([1.0, 0.0], 100)
    X = rng.normal(size=(200, 3)) + 3 * truth[:, None]
    return protocol({"h": X}, truth, np.arange(200) // 4, n_permutations=19, n_resamples=100)


def said(found: Protocol, question: str):
    return next(claim for claim in found.claims if claim.question.startswith(question))


def above(value: float, low: float) -> Estimate:
    return Estimate(value=value, low=low, high=1.0)


UNDEFINED = Estimate.undefined("one class")


def test_the_least_of_several_decides(found):
    left_out = {"a": above(0.9, 0.8), "b": above(0.7, 0.55)}
    claim = said(dataclasses.replace(found, left_out=left_out), "Does it carry over")
    assert claim.holds is True and "least: b, 0.700 [0.550, 1.000]" in claim.sentence
    left_out["b"] = above(0.6, 0.49)
    claim = said(dataclasses.replace(found, left_out=left_out), "Does it carry over")
    assert claim.holds is False and "b 0.600" in claim.sentence and "a 0.9" not in claim.sentence


def test_what_is_undefined_is_neither_yes_nor_no(found):
    strata = {("topic", "x"): above(0.9, 0.8), ("topic", "y"): UNDEFINED}
    claim = said(dataclasses.replace(found, strata=strata), "Does it hold in every stratum")
    assert claim.holds is None and "topic y undefined (one class)" in claim.sentence
    strata["topic", "x"] = above(0.5, 0.4)
    assert said(dataclasses.replace(found, strata=strata), "Does it hold in every stratum").holds is False
    assert said(dataclasses.replace(found, selectivity=UNDEFINED), "Is it the statement's").holds is None


@pytest.mark.parametrize(("low", "holds"), [(0.1, True), (-0.1, False)])
def test_baselines_and_selectivity_must_be_exceeded(found, low, holds):
    changed = dataclasses.replace(
        found, selectivity=above(0.2, low), baselines={"layer 0": above(0.6, 0.5)}, beyond={"layer 0": above(0.2, low)}
    )
    assert said(changed, "Is it the statement's").holds is holds
    claim = said(changed, "Is it more than the input")
    assert claim.holds is holds and "Not checked: untrained" in claim.sentence and changed.passed is holds


def test_telling_contexts_apart_is_a_warning_and_no_failure(found):
    changed = dataclasses.replace(found, identity={"context": above(0.9, 0.8)})
    claim = said(changed, "Can the hook point tell one context")
    assert claim.holds is None and "of place, not of truth" in claim.sentence and changed.passed


def test_use_is_never_claimed(found):
    claim = said(found, "Is it used")
    assert claim.holds is None and "takes an intervention" in claim.sentence


def test_nothing_else_is_said_behind_a_shut_gate(found):
    shut = dataclasses.replace(found, represented=dataclasses.replace(found.represented, p=0.5))
    assert [claim.holds for claim in shut.claims] == [False, False] and not shut.passed


def test_the_verdict_says_what_may_be_claimed_and_its_limits(found):
    assert found.verdict.startswith("It may be claimed that") and "from the model at h (AUROC" in found.verdict
    assert "Answered with no" not in found.verdict and "Left open" in found.verdict
    limited = dataclasses.replace(found, left_out={"a": above(0.5, 0.4)}, model="m")
    assert "Answered with no: Does it carry over" in limited.verdict and "from m at" in limited.verdict
    shut = dataclasses.replace(found, represented=dataclasses.replace(found.represented, p=0.5))
    nothing = dataclasses.replace(found, represented=dataclasses.replace(found.represented, reason="one class"))
    for report in (shut, nothing):
        assert report.verdict == "It may not be claimed that the model represents the truth."
        assert report.statement.startswith(report.verdict)


def test_names_are_escaped(found):
    changed = dataclasses.replace(found, strata={("<script>", "x"): above(0.5, 0.4)})
    assert "<script>" not in changed._repr_html_()
