import numpy as np

from mechdecouple.zoo.factor_world import (
    CONTEXTS,
    DESCRIPTIONS,
    FACTORS,
    QUESTIONS,
    WORDS,
    describe,
    factor_task,
    never_asked,
    tokens,
)  # fmt: skip
from mechdecouple.zoo.words import word_tokenizer


def test_descriptions_say_the_factors_in_the_contexts_own_words():
    rng = np.random.default_rng(0)
    context, factors = rng.integers(4, size=300), rng.integers(2, size=(300, 4))
    for c, f, words in zip(context, factors, describe(context, factors, rng), strict=True):
        said = [DESCRIPTIONS[w].split(".") for w in words]
        assert {place for _, place, _ in said} == {CONTEXTS[c]}
        assert {value for value, *_ in said} == {values[i] for values, i in zip(FACTORS.values(), f, strict=True)}


def test_word_order_is_random():
    rng = np.random.default_rng(0)
    words = describe(np.zeros(4000, dtype=int), np.zeros((4000, 4), dtype=int), rng)
    first_factor = words[:, 0] // 8
    assert np.abs(np.bincount(first_factor, minlength=4) / 4000 - 0.25).max() < 0.03


def test_answers_are_in_the_prompt():
    task = factor_task()
    on = {values[1] for values in FACTORS.values()}
    for prompt, answer in zip(task.prompts, task.answers, strict=True):
        asked = prompt.split()[-1].rstrip("?")
        assert asked in on and (answer == "yes") == any(w.split(".")[0] == asked for w in prompt.split()[1:5])


def test_shift_rows_are_the_questions_never_asked():
    task = factor_task()
    for prompt, context, shift in zip(task.prompts, task.context, task.shift_mask, strict=True):
        asked = QUESTIONS.index(prompt.split()[-1])
        assert shift == (asked == never_asked(np.array([CONTEXTS.index(context)]))[0])


def test_the_task_is_balanced():
    task = factor_task()
    for name in FACTORS:
        assert (task.frame.groupby("context")[f"concept_{name}"].mean() == 0.5).all()
    assert (task.frame.groupby("group").size() == len(FACTORS)).all()


def test_tokens_are_those_of_the_prompts():
    rng = np.random.default_rng(0)
    context, asked = rng.integers(4, size=20), rng.integers(4, size=20)
    words = describe(context, rng.integers(2, size=(20, 4)), rng)
    prompts = [
        " ".join([CONTEXTS[c], *(DESCRIPTIONS[j] for j in w), "|", QUESTIONS[q]])
        for c, w, q in zip(context, words, asked, strict=True)
    ]
    tokenizer = word_tokenizer(WORDS, length=8)
    np.testing.assert_array_equal(tokens(context, words, asked, tokenizer.get_vocab()), tokenizer(prompts)["input_ids"])
