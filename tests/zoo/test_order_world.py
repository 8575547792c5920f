import numpy as np
import pytest

from mechdecouple.zoo.belief import world
from mechdecouple.zoo.order_world import ATTRIBUTES, PEOPLE, TOPICS, WORDS
from mechdecouple.zoo.words import word_tokenizer


@pytest.fixture(scope="module")
def task():
    return world().task


def test_truth_follows_the_rankings(task):
    place = {a: dict(zip(PEOPLE, world().ranks[i], strict=True)) for i, a in enumerate(ATTRIBUTES)}
    meaning = {
        "older-than": ("age", 1),
        "younger-than": ("age", -1),
        "taller-than": ("height", 1),
        "shorter-than": ("height", -1),
    }
    for prompt, truth in zip(task.prompts, task.truth, strict=True):
        x, polarity, topic, y = prompt.split()[:4]
        attribute, sign = meaning[topic]
        stated = sign * (place[attribute][x] - place[attribute][y]) > 0
        assert truth == (stated if polarity == "is" else not stated)


def test_the_task_is_balanced(task):
    """Truth by persona by polarity is 2 × 2 × 2 with equal cells in every topic."""
    cells = task.frame.groupby(["context", "condition", "concept_negated", "truth"]).size()
    assert len(cells) == 4 * 2 * 2 * 2 and cells.nunique() == 1
    assert len(task) == 2 * 2 * 2 * len(TOPICS) * len(world().held_out)


def test_the_task_says_what_is_honest_and_what_asserts(task):
    assert task.honest == "honest" and task.affirm == "True" and task.performance == "choice"
    assert (task.answers[task.truth == 1] == "True").all() and (task.answers[task.truth == 0] == "False").all()
    assert task.honest_mask.mean() == 0.5 and task.notes == ()


def test_a_group_is_one_fact(task):
    """All statements about a pair in one ranking share a group, in both readings, orders, polarities and personas."""
    assert (task.frame.groupby("group").size() == 2 * 2 * 2 * 2).all()
    assert len(set(task.groups)) == len(ATTRIBUTES) * len(world().held_out)


def test_held_out_pairs_are_not_trained_on_and_can_be_inferred():
    fit = {frozenset(p) for p in world().fit.tolist()}
    held_out = {frozenset(p) for p in world().held_out.tolist()}
    assert not fit & held_out and len(fit | held_out) == len(PEOPLE) * (len(PEOPLE) - 1) // 2
    drawn = world().draw(5000, np.random.default_rng(0))
    assert {frozenset(p) for p in zip(drawn.x.tolist(), drawn.y.tolist(), strict=True)} <= fit
    for ranks in world().ranks:
        order = np.argsort(ranks)  # every neighbouring pair is trained on, so transitivity settles all the others
        assert all(frozenset((a, b)) in fit for a, b in zip(order[:-1].tolist(), order[1:].tolist(), strict=True))


def test_mistaken_rankings_are_partly_false():
    s = world().held_out_statements()
    wrong = (world().truth(s) != world().truth(s, world().mistaken)).mean()
    assert 0.1 < wrong < 0.4


def test_tokens_are_those_of_the_prompts():
    s = world().held_out_statements()
    tokenizer = word_tokenizer(WORDS, length=8)
    np.testing.assert_array_equal(s.tokens(tokenizer.get_vocab()), tokenizer(world().task.prompts)["input_ids"])
