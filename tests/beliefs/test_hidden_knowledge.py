"""Hidden knowledge: brute force over pairs, what it is unchanged by, planted knowledge, reasons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mechdecouple.beliefs.hidden_knowledge import hidden_knowledge, knowledge
from mechdecouple.errors import InputError
from mechdecouple.stats import group_bootstrap_weights


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def answers(rng):
    """Questions of two to nine answers, scores on a coarse grid so that ties occur; some questions of one class."""
    question = np.repeat(np.arange(60), rng.integers(2, 10, 60))
    truth = (rng.random(len(question)) < 0.4).astype(float)
    score = np.round(0.2 * truth + rng.random(len(question)), 1)
    shuffled = rng.permutation(len(question))
    return question[shuffled], truth[shuffled], score[shuffled]


def by_pairs(question, truth, score):
    out = {}
    for q in np.unique(question):
        right, wrong = (score[(question == q) & (truth == value)] for value in (1, 0))
        if len(right) and len(wrong):
            wins = (right[:, None] > wrong).astype(float) + 0.5 * (right[:, None] == wrong)
            out[q] = wins.mean(), (right[:, None] > wrong).all()
    return out


def test_every_pair_counted_by_hand(answers):
    names, k, star = knowledge(*answers)
    expected = by_pairs(*answers)
    assert list(names) == list(expected) and len(names) < 60
    assert k == pytest.approx([value for value, _ in expected.values()], abs=1e-12)
    assert list(star) == [perfect for _, perfect in expected.values()] and 0 < star.sum() < len(star)


def test_one_question_is_its_auroc_and_many_are_not_the_pooled_one(answers):
    question, truth, score = answers
    assert knowledge(np.zeros(len(truth)), truth, score)[1] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    # every question is answered perfectly, each on a level of its own: pooled pairs would say much less
    truth, question = np.tile([1.0, 0.0], 50), np.arange(100) // 2
    score = question + 0.1 * truth
    assert knowledge(question, truth, score)[1].mean() == 1
    assert roc_auc_score(truth, score) < 0.6


def test_a_question_counts_once_however_many_answers_it_has():
    question = np.r_[np.zeros(100), np.ones(2)]
    truth = np.r_[np.tile([1.0, 0.0], 50), 1, 0]
    assert knowledge(question, truth, truth)[1].mean() == 1
    score = np.r_[1 - truth[:100], truth[100:]]
    found = hidden_knowledge(question, truth, truth, score, n_resamples=10)
    assert found.knowledge_external.value == 0.5 and found.n_questions == 2


def test_unchanged_by_a_monotone_map_for_each_question(answers):
    question, truth, score = answers
    mapped = np.exp(score * (1 + question)) + 100 * question
    assert np.array_equal(knowledge(question, truth, score)[1], knowledge(question, truth, mapped)[1])
    assert knowledge(question, truth, -score)[1] == pytest.approx(1 - knowledge(question, truth, score)[1])


def test_planted_knowledge_is_hidden_by_as_much_as_was_planted(rng):
    # inside every pair is ranked right, outside one of two questions is answered at random (ties)
    question, truth = np.arange(800) // 2, np.tile([1.0, 0.0], 400)
    expressed = np.where(question % 2, truth, 0.5)
    found = hidden_knowledge(question, truth, 0.9 * truth, expressed)
    assert found.knowledge_internal.value == 1 and found.knowledge_external.value == 0.75
    assert found.hidden_knowledge.value == 0.25 and found.hidden_knowledge_relative.value == pytest.approx(1 / 3)
    assert found.hidden_knowledge_star.value == 0.5, "a tie is no perfect knowledge"
    low, high = found.hidden_knowledge.interval()
    assert low < 0.25 < high and high - low == pytest.approx(2 * 1.96 * 0.25 / 20, rel=0.2), "binomial over questions"
    same = hidden_knowledge(question, truth, expressed, expressed, n_resamples=50)
    assert same.hidden_knowledge.interval() == (0, 0)


def test_weights_are_those_of_the_groups(rng):
    question = np.arange(120) // 2
    truth, b, p = np.tile([1.0, 0.0], 60), rng.random(120), rng.random(120)
    groups = question // 3
    w = group_bootstrap_weights(groups, 20, seed=3)
    found = hidden_knowledge(question, truth, b, p, groups, weights=w)
    assert found.knowledge_internal.n == 20
    drawn = np.concatenate([np.repeat(knowledge(question, truth, b)[1][q], w[0, 2 * q]) for q in np.arange(60)])
    assert found.knowledge_internal.replicates[0] == pytest.approx(drawn.mean())


def test_undefined_says_why(answers):
    question, truth, score = answers
    silent = hidden_knowledge(question, truth, score, np.full(len(truth), np.nan), n_resamples=10)
    assert silent.knowledge_internal.value == pytest.approx(knowledge(*answers)[1].mean())
    assert silent.estimate("hidden_knowledge").reason == "nothing is expressed"
    alone = hidden_knowledge(np.arange(len(truth)), truth, score, score, n_resamples=10)
    assert "no question has both" in alone.estimate("knowledge_internal").reason and alone.n_questions == 0
    wrong = hidden_knowledge(np.arange(40) // 2, np.tile([1.0, 0.0], 20), np.ones(40), np.tile([0.0, 1.0], 20))
    assert "nothing is known outside" in wrong.estimate("hidden_knowledge_relative").reason
    few = hidden_knowledge(np.arange(8) // 2, np.tile([1.0, 0.0], 4), np.ones(8), np.ones(8), n_resamples=10)
    assert "only 4 groups" in few.estimate("hidden_knowledge").reason


def test_rows_without_truth_or_score_are_left_out_of_both(answers):
    question, truth, score = answers
    some = np.arange(len(truth)) % 7 == 0
    expected = knowledge(question[~some], truth[~some], score[~some])[1].mean()
    for change in ("truth", "expressed"):
        t, p = truth.copy(), score.copy()
        (t if change == "truth" else p)[some] = np.nan
        found = hidden_knowledge(question, t, score, p, n_resamples=5)
        assert found.knowledge_internal.value == pytest.approx(expected)


def test_bad_columns_are_refused():
    with pytest.raises(InputError, match="question 'q' is in groups"):
        hidden_knowledge(["q", "q"], [1, 0], [0.5, 0.5], [0.5, 0.5], groups=["g", "h"])
    with pytest.raises(InputError, match="all need the same rows"):
        hidden_knowledge(["q", "q"], [1, 0], [0.5], [0.5, 0.5])
    with pytest.raises(InputError, match="all need the same rows"):
        knowledge([1, 2], [1], [0.5])
    with pytest.raises(InputError, match="truth of 0 or 1"):
        knowledge([1, 1], [1, np.nan], [0.5, 0.5])


def test_frame_and_html(answers):
    question, truth, score = answers
    found = hidden_knowledge(question, truth, score, score, n_resamples=10)
    table = found.frame().set_index("statistic")
    assert table.loc["hidden_knowledge", "value"] == 0 and "knowledge star internal" in found._repr_html_()


def _coverage(simulations: int, n_resamples: int) -> float:
    """Share of intervals that hold the true difference; answers to one question share their noise."""
    rng, hits = np.random.default_rng(11), 0
    expected = norm.cdf(1.6 / np.sqrt(2)) - norm.cdf(0.8 / np.sqrt(2))
    truth, question = np.tile([1.0, 1.0, 0.0, 0.0], 60), np.arange(240) // 4
    for i in range(simulations):
        shared = np.repeat(rng.normal(size=(60, 2)), 4, axis=0)
        b, p = (shared + rng.normal(size=(240, 2)) + truth[:, None] * [1.6, 0.8]).T
        low, high = hidden_knowledge(question, truth, b, p, n_resamples=n_resamples, seed=i).hidden_knowledge.interval()
        hits += low <= expected <= high
    return hits / simulations


def test_the_interval_covers():
    assert _coverage(100, 300) >= 0.89, "three standard errors below .95 at 100 simulations"


@pytest.mark.slow
def test_the_interval_covers_at_its_level():
    assert 0.93 <= _coverage(1000, 1000) <= 0.97
