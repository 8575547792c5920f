import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as sps

from mechdecouple.behavior import Answers
from mechdecouple.compare.gate import equal_performance, gate_rows
from mechdecouple.tasks import Task


def make_task(n, **columns):
    return Task.from_frame(
        pd.DataFrame(
            {
                "id": [f"i{k}" for k in range(n)],
                "prompt": [f"item {k}" for k in range(n)],
                "choices": [["yes", "no"]] * n,
                "answer": ["yes", "no"] * (n // 2),
                **columns,
            }
        ),
        **({"honest": "honest"} if "condition" in columns else {}),
    )


def answers(task, correct, chance=0.5):
    right = np.asarray(correct, dtype=bool)
    said = np.where(right, task.answers, np.where(task.answers == "yes", "no", "yes"))
    return Answers.of(task, score=right.astype(float), correct=right, answer_text=said, chance=chance)


def pattern(n, wrong):
    """Correct everywhere but on the given items."""
    right = np.ones(n, bool)
    right[list(wrong)] = False
    return right


def test_a_model_against_itself_is_equal_with_full_agreement():
    task = make_task(400)
    a = answers(task, pattern(400, range(0, 400, 20)))
    gate = equal_performance(a, a, task, margin=0.02)
    assert gate.outcome == "equal"
    assert gate.difference.value == 0
    assert gate.agreement.value == 1
    assert gate.p_different == 1


def test_zero_discordance_on_few_items_is_not_called_equal():
    # the Wald interval has no width here; Tango's is z²/(n + z²) = .063 at n = 40
    task = make_task(40)
    a = answers(task, pattern(40, []))
    gate = equal_performance(a, a, task, margin=0.02)
    assert gate.outcome == "undecided"
    z2 = sps.norm.ppf(0.95) ** 2
    assert gate.supported_margin == pytest.approx(z2 / (40 + z2), abs=1e-9)
    assert "could have supported" in gate.sentence


def test_a_clear_difference_is_different_and_mcnemar_is_exact():
    task = make_task(200)
    a, b = answers(task, pattern(200, [])), answers(task, pattern(200, range(30)))
    gate = equal_performance(a, b, task, margin=0.02)
    assert gate.outcome == "different"
    assert gate.difference.value == pytest.approx(0.15)
    assert gate.p_different == pytest.approx(sps.binomtest(0, 30, 0.5).pvalue)


def test_two_models_at_chance_are_never_called_equal():
    rng = np.random.default_rng(0)
    task = make_task(4000)
    a = answers(task, rng.random(4000) < 0.5)
    gate = equal_performance(a, a, task, margin=0.02)
    assert gate.outcome == "chance"
    assert "says nothing" in gate.sentence.replace("say nothing", "says nothing")


def test_a_model_at_chance_and_one_below_it_are_different():
    task = make_task(400)
    a, b = answers(task, pattern(400, range(0, 400, 2))), answers(task, pattern(400, range(1, 400)))
    gate = equal_performance(a, b, task, margin=0.02)
    assert gate.outcome == "different"
    below = equal_performance(b, b, task, margin=0.02)
    assert below.outcome == "chance"
    assert below.sentence.startswith("Neither is above chance")


def test_same_score_with_other_answers_shows_in_the_agreement():
    task = make_task(2000)
    a = answers(task, pattern(2000, range(0, 100)))
    b = answers(task, pattern(2000, range(100, 200)))
    gate = equal_performance(a, b, task, margin=0.02)
    assert gate.a.value == gate.b.value == 0.95
    assert gate.agreement.value == pytest.approx(0.90)
    assert gate.agreement.null == pytest.approx(0.95**2 + 0.05**2)


def test_agreement_of_wrong_answers_has_no_null_with_more_than_two_options():
    n = 200
    task = make_task(n, choices=[["yes", "no", "maybe"]] * n)
    gate = equal_performance(
        answers(task, pattern(n, range(50))), answers(task, pattern(n, range(25, 75))), task, margin=0.02
    )
    assert np.isnan(gate.agreement.null)
    assert "more than two options" in gate.agreement.reason


def test_only_honest_test_items_in_distribution_count():
    n = 80
    task = make_task(
        n,
        condition=["honest", "honest", "persona", "persona"] * 20,
        split=["test"] * 40 + ["fit"] * 20 + ["shift"] * 20,
    )
    rows = gate_rows(task)
    assert rows.sum() == 20
    assert (task.condition[rows] == "honest").all()
    assert (task.split[rows] == "test").all()


def test_strata_tell_where_equal_totals_hide_a_difference():
    n = 2000
    task = make_task(n, context=["even", "odd"] * (n // 2))
    a, b = answers(task, pattern(n, range(0, 400, 2))), answers(task, pattern(n, range(1, 401, 2)))
    gate = equal_performance(a, b, task, margin=0.03)
    assert gate.difference.value == 0
    assert {s.name: s.outcome for s in gate.strata} == {"even": "different", "odd": "different"}
    assert [round(s.difference.value, 2) for s in gate.strata] == [-0.2, 0.2]
    assert "By context they differ in: even, odd" in gate.sentence


def test_repeated_groups_widen_the_interval():
    n = 600
    rng = np.random.default_rng(1)
    group_right = rng.random(n // 6) < 0.9
    a = np.repeat(group_right, 6)
    b = np.repeat(rng.random(n // 6) < 0.9, 6)
    alone = make_task(n)
    grouped = make_task(n, group=[f"g{k // 6}" for k in range(n)])
    wide = equal_performance(answers(grouped, a), answers(grouped, b), grouped, margin=0.05)
    narrow = equal_performance(answers(alone, a), answers(alone, b), alone, margin=0.05)
    assert wide.difference.high - wide.difference.low > 2 * (narrow.difference.high - narrow.difference.low)
    assert wide.a.high - wide.a.low > 2 * (narrow.a.high - narrow.a.low)
    assert wide.difference.n == n // 6


def test_copies_of_items_in_a_group_add_no_evidence():
    n, copies = 60, 10
    a, b = pattern(n, [0]), pattern(n, range(1, 8))
    alone = make_task(n)
    grouped = make_task(n * copies, group=[f"g{k // copies}" for k in range(n * copies)])
    once = equal_performance(answers(alone, a), answers(alone, b), alone, margin=0.02)
    often = equal_performance(
        answers(grouped, np.repeat(a, copies)), answers(grouped, np.repeat(b, copies)), grouped, margin=0.02
    )
    # Exact McNemar of 7 against 1; the score form is less careful than the exact one, but far from 70 against 10.
    assert once.p_different == pytest.approx(sps.binomtest(1, 8, 0.5).pvalue)
    assert 0.02 < often.p_different < once.p_different
    assert often.agreement.n == n
    assert often.agreement.high - often.agreement.low == pytest.approx(
        once.agreement.high - once.agreement.low, rel=0.02
    )


def test_luck_in_one_of_many_contexts_is_no_difference():
    contexts, size = 40, 50
    task = make_task(contexts * size, context=[f"c{k // size:02d}" for k in range(contexts * size)])
    a, b = answers(task, pattern(contexts * size, [])), answers(task, pattern(contexts * size, range(6)))
    gate = equal_performance(a, b, task, margin=0.02)
    assert gate.strata[0].outcome == "different"
    assert gate.strata[0].difference.p == pytest.approx(sps.binomtest(0, 6, 0.5).pvalue)
    assert "By context" not in gate.sentence


def test_losses_are_compared_in_their_own_unit():
    n = 500
    task = Task.from_frame(pd.DataFrame({"id": [f"i{k}" for k in range(n)], "prompt": [f"text {k}" for k in range(n)]}))
    rng = np.random.default_rng(2)
    base = rng.normal(3, 0.5, n)
    a = Answers.of(task, score=base, unit="nats per token", higher_is_better=False)
    b = dataclasses.replace(a, score=base + rng.normal(0, 0.02, n))
    gate = equal_performance(a, b, task, margin=0.02)
    assert gate.outcome == "equal"
    assert gate.unit == "nats per token"
    t = sps.ttest_rel(a.score, b.score)
    assert gate.p_different == pytest.approx(t.pvalue, rel=1e-6)
    assert (gate.difference.low, gate.difference.high) == pytest.approx(tuple(t.confidence_interval(0.95)), rel=1e-6)
    assert math.isnan(gate.agreement.value)
    worse = equal_performance(a, dataclasses.replace(a, score=base + 0.3 + rng.normal(0, 0.02, n)), task, margin=0.02)
    assert worse.outcome == "different"


def test_a_model_that_expresses_nothing_leaves_the_gate_unknown_with_its_reason():
    task = make_task(40)
    silent = Answers.nothing(task, "headless encoder: it expresses nothing")
    gate = equal_performance(silent, answers(task, pattern(40, [])), task, margin=0.02)
    assert gate.outcome == "unknown"
    assert math.isnan(gate.a.value)
    assert "headless encoder" in gate.a.reason
    assert "headless encoder" in gate.sentence


@pytest.mark.slow
def test_false_equal_rate_at_the_margin_stays_at_alpha():
    """A true difference as large as the margin is called equal in at most alpha of 1,000 data sets."""
    rng = np.random.default_rng(3)
    n = 800
    task = make_task(n)
    called = 0
    for _ in range(1000):
        u = rng.random(n)
        a, b = u < 0.90, u < 0.85
        flip = rng.random(n) < 0.05  # discordance in the other direction too, keeping the difference
        swap = rng.random(n) < 0.5
        a, b = np.where(flip, swap, a), np.where(flip, ~swap, b)
        a_rate, b_rate = 0.95 * 0.90 + 0.025, 0.95 * 0.85 + 0.025
        assert abs((a_rate - b_rate) - 0.0475) < 1e-9
        called += equal_performance(answers(task, a), answers(task, b), task, margin=0.0475).outcome == "equal"
    assert called <= 1000 * 0.05 + 3 * math.sqrt(1000 * 0.05 * 0.95)
