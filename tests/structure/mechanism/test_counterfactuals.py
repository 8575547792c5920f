import itertools

import numpy as np
import pandas as pd
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.counterfactuals import Counterfactuals, declared
from mechdecouple.tasks import Task


def grid(levels, answer, copies=2, names=("a", "b", "c"), **columns):
    """Every combination of numeric concepts, each several times; ``columns`` are made from the combinations."""
    values = np.repeat(list(itertools.product(*map(range, levels))), copies, axis=0)
    frame = pd.DataFrame({f"concept_{n}": values[:, i] for i, n in enumerate(names[: len(levels)])})
    frame["answer"] = [answer(*v) for v in values]
    for name, make in columns.items():
        frame[name] = [make(*v) for v in values]
    return Task.from_frame(frame, name="grid", performance="class", inputs=values.astype(np.float32)), values


def every(task):
    return np.arange(len(task))


def test_answers_are_those_of_the_function_behind_the_table():
    task, values = grid((3, 4, 2), lambda a, b, c: 5 * a + b * (1 + c))
    found = Counterfactuals.of(task, "a")
    assert found.held == ("b", "c") and found.reason == "" and found.follows == ()
    pairs = found.pairs(every(task), every(task), limit=40)
    assert len(pairs) == 40
    a, (_, b, c) = values[pairs.source, 0], values[pairs.base].T
    np.testing.assert_array_equal(pairs.right, 5 * a + b * (1 + c))
    assert (a != values[pairs.base, 0]).all()
    assert pairs.changes.all() and pairs.crossed.all()


def test_a_third_of_the_pairs_should_stay_where_they_can():
    # What is asked is a or b: swapping a changes only answers about a.
    task, values = grid(
        (2, 2, 2),
        lambda a, b, c: b if c else a,
        copies=6,
        asks=lambda a, b, c: "b" if c else "a",
        names=("a", "b", "q"),
    )
    task = Task.from_frame(task.frame.drop(columns="concept_q"), name="asked", inputs=task.inputs)
    found = Counterfactuals.of(task, "a")
    assert found.held == ("asks", "b")
    pairs = found.pairs(every(task), every(task), limit=24)
    asked = values[pairs.base, 2] == 0
    np.testing.assert_array_equal(pairs.changes, asked)
    assert (~pairs.changes).sum() == 8
    np.testing.assert_array_equal(pairs.right, np.where(asked, values[pairs.source, 0], values[pairs.base, 1]))
    # The source's own answer would give away nothing but the answer: it is another one wherever there is a choice.
    own = task.answers[pairs.source]
    assert (own != pairs.right).all() and pairs.crossed.all()


def test_what_others_settle_gives_way_and_follows():
    p = 5
    task, values = grid((p, p), lambda a, b: (a + b) % p, concept_sum=lambda a, b: float((a + b) % p), copies=1)
    for name, held, follows in (("a", ("b",), ("sum",)), ("b", ("a",), ("sum",)), ("sum", ("a",), ("b",))):
        found = Counterfactuals.of(task, name)
        assert (found.held, found.follows, found.reason) == (held, follows, "")
    pairs = Counterfactuals.of(task, "sum").pairs(every(task), every(task), limit=30)
    np.testing.assert_array_equal(pairs.right, values[pairs.source].sum(axis=1) % p)
    assert not pairs.crossed.any()  # the concept settles the answer


def test_a_sample_of_a_large_table_is_looked_up_as_far_as_it_goes():
    p = 31
    task, values = grid((p, p), lambda a, b: (a + b) % p, concept_sum=lambda a, b: float((a + b) % p), copies=1)
    rows = np.sort(np.random.default_rng(0).permutation(p * p)[:400])
    part = task.select(rows)
    found = Counterfactuals.of(part, "a")
    assert found.held == ("b",) and not found.reason
    pairs = found.pairs(every(part), every(part), limit=100)
    a, b = values[rows][pairs.source, 0], values[rows][pairs.base, 1]
    np.testing.assert_array_equal(pairs.right, (a + b) % p)
    there = {tuple(v) for v in values[rows]}
    assert all(pair in there for pair in zip(a.tolist(), b.tolist(), strict=True))


def test_a_code_of_the_total_does_not_pass_for_its_part():
    p = 4
    task, values = grid((p, p, 2), lambda a, b, c: 2 * (a + b) + c, concept_total=lambda a, b, c: float(a + b))
    found = Counterfactuals.of(task, "a")
    assert found.held == ("b", "c") and found.follows == ("total",)
    pairs = found.pairs(every(task), every(task), limit=60)
    gets = values[pairs.source, 0] + values[pairs.base, 1]
    assert (values[pairs.source, :2].sum(axis=1) != gets).all()


def test_matched_items_differ_in_the_concept_alone():
    task, values = grid((3, 2, 2), lambda a, b, c: a)
    found = Counterfactuals.of(task, "a")
    rows = every(task)[::2]
    matched = found.matched(rows)
    assert len(matched) and np.isin(matched, rows).all()
    one, other = values[matched[:, 0]], values[matched[:, 1]]
    assert (one[:, 0] != other[:, 0]).all() and (one[:, 1:] == other[:, 1:]).all()


def choice_task(rows):
    frame = pd.DataFrame(rows, columns=["prompt", "choices", "answer", "concept_kind", "concept_tone"])
    return Task.from_frame(frame, name="choices")


def test_options_are_each_items_own():
    rows = [
        ("p1", "red|blue", "red", "warm", "x"), ("p2", "blue|red", "blue", "cold", "x"),
        ("p3", "blue|red", "red", "warm", "y"), ("p4", "blue|green", "blue", "cold", "y"),
    ]  # fmt: skip
    found = Counterfactuals.of(choice_task(rows), "kind")
    assert found.held == ("tone",) and found.values.tolist() == ["cold", "warm"]
    pairs = found.pairs(np.arange(4), np.arange(4), limit=9)
    assert dict(zip(pairs.base.tolist(), pairs.right.tolist(), strict=True)) == {0: 1, 1: 1, 2: 0}  # p4 offers no red


def test_reasons_for_no_counterfactuals():
    def reason(task, concept="a"):
        return Counterfactuals.of(task, concept).reason

    ignored, _ = grid((2, 3), lambda a, b: b)
    assert "no right answer depends on 'a'" in reason(ignored)
    constant, _ = grid((1, 3), lambda a, b: b)
    assert "one value" in reason(constant)
    measured, _ = grid((30,), lambda a: a % 2, copies=1)
    assert "30 values on 30 items" in reason(measured)
    # Answers that turn on something undeclared.
    loose, values = grid((2, 2), lambda a, b: 0, copies=4)
    frame = loose.frame.assign(answer=np.arange(len(values)) % 2)
    open_ = Task.from_frame(frame, performance="class", inputs=loose.inputs)
    assert "do not settle the answers" in reason(open_)
    # In so few items of so many combinations a sum of three cannot be looked up: two parts do not settle it.
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 30, (300, 3))
    frame = pd.DataFrame(parts.astype(float), columns=[f"concept_{n}" for n in "abc"]).assign(answer=parts.sum(axis=1))
    sparse = Task.from_frame(frame, performance="class", inputs=parts.astype(np.float32))
    assert "do not settle the answers when 'a' is swapped (c cannot be held)" in reason(sparse)


def test_what_tells_more_than_the_answer_needs_may_give_way():
    # Six symbols are worth 0, 1 or 2; the answer is the worth of both. A total can be swapped though no symbol goes
    # with each of its values.
    worth = np.array([0, 0, 1, 1, 2, 2])
    task, values = grid((6, 6), lambda a, b: worth[a] + worth[b], concept_total=lambda a, b: float(worth[a] + worth[b]))
    found = Counterfactuals.of(task, "total")
    assert found.held == ("a",) and found.follows == ("b",) and not found.reason
    pairs = found.pairs(every(task), every(task), limit=30)
    np.testing.assert_array_equal(pairs.right, worth[values[pairs.source]].sum(axis=1))


def test_bad_names_and_tasks_are_refused():
    task, _ = grid((2, 2), lambda a, b: a + b)
    with pytest.raises(InputError, match="declares no concept 'z'; it has a, b"):
        Counterfactuals.of(task, "z")
    texts = pd.DataFrame({"prompt": ["a b", "b a"], "concept_a": [0.0, 1.0]})
    with pytest.raises(InputError, match="no answers among options"):
        Counterfactuals.of(Task.from_frame(texts), "a")


def test_names_stay_names():
    frame = pd.DataFrame(
        {"prompt": ["a", "b", "c"], "concept_colour": ["red", "blue", "green"], "concept_size": [1.0, 2.5, 1.0]}
    )
    found = declared(Task.from_frame(frame))
    assert found["colour"].tolist() == ["red", "blue", "green"] and found["size"].tolist() == [1.0, 2.5, 1.0]
