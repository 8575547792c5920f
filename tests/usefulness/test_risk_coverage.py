"""Risk and coverage: closed forms, every order of ties, planted confidence, paired intervals that cover."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.usefulness import (
    AURC,
    AURC_GAIN,
    EXCESS_AURC,
    SELECTIVE_ACCURACY,
    accuracy_at,
    aurc,
    best_aurc,
    differences,
    risk_coverage,
    risks,
)


def test_ties_are_the_mean_over_their_orders():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    correct = np.array([1, 0, 1, 1, 0, 0])
    orders = [[0, *(1 + i for i in order), 5] for order in itertools.permutations(range(4))]
    curves = [np.cumsum(1 - correct[order]) / np.arange(1, 7) for order in orders]
    assert risks(confidence, correct) == pytest.approx(np.mean(curves, axis=0))
    assert aurc(confidence, correct) == pytest.approx(np.mean(curves))


def test_confidence_that_says_nothing_and_confidence_that_says_all():
    correct = np.repeat([1, 1, 1, 0], 25)
    assert risks(np.full(100, 0.3), correct) == pytest.approx(np.full(100, 0.25))
    assert aurc(correct.astype(float), correct) == pytest.approx(best_aurc(25, 100))
    assert aurc(-correct.astype(float), correct) > 0.25
    assert best_aurc(0, 10) == 0.0 and best_aurc(10, 10) == pytest.approx(1.0)


def test_the_best_area_has_its_closed_form_for_many_items():
    for rate in (0.1, 0.4):
        assert best_aurc(int(rate * 40_000), 40_000) == pytest.approx(rate + (1 - rate) * np.log(1 - rate), abs=1e-3)


def test_area_of_uniform_confidence_is_a_known_integral():
    # right with probability c at confidence c ~ U(0, 1): among the surest x the error rate is x / 2, so the area is 1/4
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    correct = rng.random(200_000) < confidence
    assert aurc(confidence, correct) == pytest.approx(0.25, abs=0.004)
    assert accuracy_at(confidence, correct, 0.8) == pytest.approx(0.6, abs=0.004)
    # the same pairs, by their share in the right order: area over generalised risk is 1/6
    generalised = (risks(confidence, correct) * np.arange(1, 200_001) / 200_000).mean()
    rate = 1 - correct.mean()
    area = roc_auc_score(correct, confidence)
    assert generalised == pytest.approx((1 - area) * rate * (1 - rate) + rate**2 / 2, abs=1e-4)


def test_monotone_changes_of_confidence_change_nothing():
    rng = np.random.default_rng(1)
    confidence, correct = rng.random(60), rng.integers(0, 2, 60)
    assert aurc(np.exp(9 * confidence) - 50, correct) == pytest.approx(aurc(confidence, correct))


def test_accuracy_between_two_numbers_of_items_is_interpolated():
    confidence, correct = np.array([4.0, 3, 2, 1]), np.array([1, 1, 0, 0])
    assert accuracy_at(confidence, correct, 0.5) == 1.0 and accuracy_at(confidence, correct, 0.75) == pytest.approx(
        2 / 3
    )
    assert accuracy_at(confidence, correct, 0.625) == pytest.approx(2 / 2.5)
    assert accuracy_at(confidence, correct, 1.0) == 0.5


def planted(seed, n, skill):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n // 2), 2)
    correct = (rng.random(n // 2) < 0.75)[group] ^ (rng.random(n) < 0.1)
    confidence = skill * correct + rng.standard_normal(n)
    return confidence, correct, group


def test_the_numbers_of_a_model_and_their_nulls():
    confidence, correct, group = planted(0, 400, 1.0)
    found = risk_coverage(confidence, correct, group, name="sure")
    area, rate = found.estimate(AURC), 1 - correct.mean()
    assert area.value == pytest.approx(aurc(confidence, correct)) and area.null == pytest.approx(rate) and area.n == 200
    best = best_aurc(int((~correct).sum()), 400)
    assert found.estimate(EXCESS_AURC).value == pytest.approx(area.value - best)
    assert found.estimate(EXCESS_AURC).null == pytest.approx(rate - best)
    assert found.estimate(AURC_GAIN).value == pytest.approx(rate - area.value) and found.estimate(AURC_GAIN).low > 0
    told = found.estimate(SELECTIVE_ACCURACY, context="coverage 0.8")
    assert told.value == pytest.approx(accuracy_at(confidence, correct, 0.8)) and told.null == pytest.approx(1 - rate)
    assert found.curve.accuracy.iloc[-1] == pytest.approx(1 - rate) and (found.curve.accuracy <= found.curve.best).all()
    assert (found.frame().family == "use").all() and "sure" in found._repr_html_()


def test_a_model_without_errors_is_not_certain():
    found = risk_coverage(np.linspace(0, 1, 50), np.ones(50))
    assert found.estimate(AURC).value == 0.0 and found.estimate(AURC).high > 0.02


@pytest.mark.parametrize("metric", [AURC, EXCESS_AURC])
def test_intervals_cover_the_truth_and_pairs_have_narrower_ones(metric):
    def pair(seed, n):
        confidence, correct, group = planted(seed, n, 1.0)
        return (confidence, correct, group), (confidence + 0.3 * correct, correct, group)

    def difference(seed, n):
        a, b = (risk_coverage(*one, name=name) for one, name in zip(pair(seed, n), "ab", strict=True))
        row = next(row for row in differences(a, b, ("a", "b")) if row.metric == metric.name)
        return row.estimate, a.estimate(metric)

    truth = np.mean([difference(1000 + s, 4000)[0].value for s in range(3)])
    found = [difference(s, 200) for s in range(40)]
    assert truth > 0.005 and np.mean([d.low <= truth <= d.high for d, _ in found]) > 0.85
    assert np.mean([d.high - d.low for d, _ in found]) < 0.7 * np.mean([a.high - a.low for _, a in found])


def test_models_on_unlike_items_do_not_pair():
    a, b = risk_coverage(*planted(0, 40, 1.0)), risk_coverage(*planted(0, 60, 1.0))
    with pytest.raises(MismatchError, match="do not pair"):
        differences(a, b, ("a", "b"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: aurc(np.array([0.5, np.nan]), np.array([1, 0])), "item 2 is nan"),
        (lambda: aurc(np.array([0.5, 0.6]), np.array([1, 2])), "correctness 2.0 of item 2"),
        (lambda: aurc(np.array([0.5]), np.array([1, 0])), "one length"),
        (lambda: accuracy_at(np.array([0.5]), np.array([1]), 0.0), "coverage 0.0"),
        (lambda: best_aurc(3, 2), "3 errors among 2"),
        (lambda: risk_coverage(np.array([0.5, 0.6]), np.array([1, 0]), np.array([1, 1])), "at least two groups"),
        (
            lambda: risk_coverage(np.array([0.5, 0.6]), np.array([1, 0])).estimate(AURC, "x"),
            "'aurc x' was not measured",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call()
