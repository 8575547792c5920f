from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from mechdecouple.behavior import read
from mechdecouple.behavior.orders import orderings, place_bias, read_orders, spread
from mechdecouple.errors import InputError, TaskError
from mechdecouple.tasks import Task

PROMPTS = ["Paris is in France. Options: {options}. Answer:", "Is this true? {options}\nAnswer:", "Käse {options} ("]


def make(choices=(("Yes", "No"),) * 3, prompts=PROMPTS, **options):
    table = pd.DataFrame({"prompt": prompts, "choices": list(map(list, choices)), "answer": [c[0] for c in choices]})
    return Task.from_frame(table, **options)


@pytest.mark.parametrize(("m", "n"), [(2, 1), (2, 5), (3, 3), (3, 6), (4, 10), (5, 5), (13, 30)])
def test_orders_are_different_permutations_and_start_with_the_given_one(m, n):
    orders = orderings(m, n)
    assert len(orders) == min(n, math.factorial(m))
    assert orders[0].tolist() == list(range(m))
    assert (np.sort(orders, axis=1) == np.arange(m)).all()
    assert len({tuple(o) for o in orders}) == len(orders)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_as_many_orders_as_options_put_each_option_at_each_place_once(m):
    assert (np.sort(orderings(m, m), axis=0) == np.arange(m)[:, None]).all()


@pytest.mark.parametrize("letters", [False, True])
def test_the_average_is_over_the_orders_read_one_by_one(lm, letters):
    choices = (("Yes", "No"), ("Yes", "No", "maybe"), ("no", "Yes"))
    task = make(choices, affirm="Yes")
    got = read_orders(lm, task, 3, letters=letters)
    assert got.n_orders == 3
    for row, options in enumerate(choices):
        orders = orderings(len(options), 3)
        want, said = np.zeros((len(orders), 3)), []
        for j, order in enumerate(orders):
            shown = [options[k] for k in order]
            names = list("ABC"[: len(options)]) if letters else shown
            text = "\n".join(f"{a}. {b}" for a, b in zip(names, shown, strict=True)) if letters else ", ".join(shown)
            frame = pd.DataFrame(
                {"prompt": [PROMPTS[row].replace("{options}", text)], "choices": [names], "answer": names[:1]}
            )
            single = read(lm, Task.from_frame(frame, affirm=names[shown.index("Yes")]))
            want[j, order] = single.prob[0]
            said.append(single.expressed[0])
        np.testing.assert_allclose(got.by_order[: len(orders), row], want, atol=1e-5)
        assert np.isnan(got.by_order[len(orders) :, row]).all()
        np.testing.assert_allclose(got.answers.prob[row], want.mean(axis=0), atol=1e-5)
        assert got.answers.expressed[row] == pytest.approx(np.mean(said), abs=1e-5)
        assert got.spread[row] == pytest.approx(max(said) - min(said), abs=1e-5)
        assert got.steady[row] == (len(set(want.argmax(axis=1))) == 1)
        assert got.answers.answer_text[row] == options[want.mean(axis=0).argmax()]
        assert got.answers.claim[row] == (got.answers.answer_text[row] == "Yes")
    assert list(got.frame()["spread"]) == list(got.spread)


def test_items_with_fewer_orders_are_judged_by_their_own(lm):
    choices = (("Yes", "No"), ("No", "Yes"), ("Yes", "No", "maybe"))
    steady = []
    for prompt in PROMPTS:
        got = read_orders(lm, make(choices, [prompt] * 3))
        assert got.steady[0] == got.steady[1]
        steady.append(got.steady[0])
    assert any(steady)


def test_without_an_affirming_choice_the_spread_is_that_of_the_answer(lm):
    got = read_orders(lm, dataclasses.replace(make(), affirm=None))
    chosen = got.by_order[:, np.arange(3), got.answers.choice]
    np.testing.assert_allclose(got.spread, np.ptp(chosen, axis=0))
    assert np.isnan(got.answers.expressed).all()
    assert got.answers.expressed_reason


def test_place_bias_of_a_planted_preference():
    rng = np.random.default_rng(0)
    content, bias = rng.dirichlet(np.ones(3) * 20, 50), np.array([0.1, 0.0, -0.1])
    listed = np.repeat(orderings(3, 3)[:, None], 50, axis=1)
    by_order = np.empty((3, 50, 3))
    for j, item in np.ndindex(3, 50):
        by_order[j, item, listed[j, item]] = content[item, listed[j, item]] + bias
    np.testing.assert_allclose(place_bias(by_order, listed), bias, atol=1e-12)
    np.testing.assert_allclose(place_bias(np.repeat(content[None], 3, axis=0), listed), 0, atol=1e-12)


def test_spread_of_one_order_is_undefined():
    assert np.isnan(spread(np.array([[0.3]]))).all()


def test_a_model_that_expresses_nothing_says_why(encoder):
    table = {"prompt": ["the sky is {options}"], "choices": [["blue", "green"]], "answer": ["blue"]}
    got = read_orders(encoder, Task.from_frame(pd.DataFrame(table)))
    assert "headless" in got.answers.reason
    assert np.isnan(got.by_order).all()


def test_prompts_must_say_where_the_options_stand_once(lm):
    for prompt in ("Answer:", "{options} or {options}"):
        with pytest.raises(TaskError, match=r"row 2 .*column prompt: holds \{options\} [02] times"):
            read_orders(lm, make(prompts=[PROMPTS[0], prompt, PROMPTS[2]]))


def test_other_refusals(lm):
    with pytest.raises(InputError, match="0 orders of 2 options"):
        orderings(2, 0)
    with pytest.raises(TaskError, match="need prompts and choices"):
        read_orders(lm, Task.from_frame(pd.DataFrame({"prompt": ["a"], "answer": ["b"]})))
