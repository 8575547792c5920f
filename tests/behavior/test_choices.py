from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax

from mechdecouple.behavior import prepare, read
from mechdecouple.behavior.options import continuation
from mechdecouple.interventions import ablate, steer
from mechdecouple.models.encode import encode
from mechdecouple.tasks import Task

PROMPTS = [
    "The city of Paris is in France. Answer:",
    "Is this true? Answer: ",
    "The city of Käse (",
    "Paris",
    "is it 猫?",
]
CHOICES = [
    ["Yes", "No"],
    ["Yes", "No", "Maybe no"],
    ["maybe", "no"],
    ["is in France", "is in Paris", "is"],
    ["Yes", "No"],
]


def make(prompts=PROMPTS, choices=CHOICES, **columns):
    table = pd.DataFrame({"prompt": prompts, "choices": choices, "answer": [c[0] for c in choices], **columns})
    return Task.from_frame(table)


def by_hand(loglik, tokenizer, prompt, options):
    """Log-likelihoods of the options from where any of them leaves the tokens of the prompt."""
    alone = tokenizer(prompt)["input_ids"]
    whole = [tokenizer(prompt + continuation(prompt, o))["input_ids"] for o in options]
    shared = min(next((i for i, (a, b) in enumerate(zip(alone, w, strict=False)) if a != b), len(alone)) for w in whole)
    return np.array([loglik(w[:shared], w[shared:]) for w in whole])


def test_log_likelihoods_are_those_of_the_models_own_logits(lm, bpe, loglik):
    answers = read(lm, make())
    for row, (prompt, options) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        want = log_softmax(by_hand(loglik, bpe, prompt, options))
        np.testing.assert_allclose(answers.logp[row, : len(options)], want, atol=1e-4)
        assert answers.choice[row] == want.argmax()
        assert answers.answer_text[row] == options[want.argmax()]
        assert answers.margin[row] == pytest.approx(want[0] - want[1:].max(), abs=1e-4)
        assert answers.confidence[row] == pytest.approx(np.exp(want.max()), abs=1e-4)
        assert np.isneginf(answers.logp[row, len(options) :]).all()
    assert answers.chance == pytest.approx(np.mean([1 / len(o) for o in CHOICES]))
    assert answers.unit == "accuracy"
    np.testing.assert_array_equal(answers.score, answers.correct)
    np.testing.assert_allclose(answers.prob.sum(axis=1), 1)


def test_length_normalised_by_bytes(lm, bpe, loglik):
    answers = read(lm, make(), length_normalise=True)
    for row, (prompt, options) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        want = by_hand(loglik, bpe, prompt, options) / [len(o.encode()) for o in options]
        np.testing.assert_allclose(answers.logp[row, : len(options)], log_softmax(want), atol=1e-4)


def test_batches_and_reused_encodings_do_not_change_answers(lm):
    task = make()
    whole, single = read(lm, task), read(lm, task, batch_tokens=1, encoded=encode(lm, task))
    np.testing.assert_allclose(whole.logp, single.logp, atol=1e-5)
    np.testing.assert_allclose(whole.option_mass, single.option_mass, atol=1e-6)


def test_token_tasks(lm, loglik):
    task = Task.from_frame(
        pd.DataFrame({"tokens": ["5 6 7", "8 9"], "choices": ["10|11 12", "10|20"], "answer": ["11 12", "20"]})
    )
    answers = read(lm, task)
    want = np.array([loglik([5, 6, 7], [10]), loglik([5, 6, 7], [11, 12])])
    np.testing.assert_allclose(answers.logp[0], log_softmax(want), atol=1e-4)
    mass = np.exp([loglik([8, 9], [10]), loglik([8, 9], [20])])
    assert answers.option_mass[1] == pytest.approx(mass.sum(), rel=1e-4)
    by_tokens = read(lm, task, length_normalise=True).logp[0]
    np.testing.assert_allclose(by_tokens, log_softmax(want / [1, 2]), atol=1e-4)


def test_expressed_belief_sums_the_spellings_of_an_option(lm, bpe, loglik):
    task = make(["Answer:"], [["Yes", "No"]], truth=[1])
    assert task.affirm == "Yes"
    prompt, vocabulary = bpe("Answer:")["input_ids"], bpe.get_vocab()
    ids = {
        word: [vocabulary[m + w] for w in (word, word.lower(), word.upper()) for m in ("", "Ġ") if m + w in vocabulary]
        for word in ("Yes", "No")
    }
    assert len(ids["Yes"]) > 1
    mass = {word: sum(np.exp(loglik(prompt, [i])) for i in found) for word, found in ids.items()}
    answers = read(lm, task)
    assert answers.option_mass[0] == pytest.approx(mass["Yes"] + mass["No"], rel=1e-4)
    assert answers.expressed[0] == pytest.approx(mass["Yes"] / (mass["Yes"] + mass["No"]), rel=1e-4)
    assert answers.claim[0] == (mass["Yes"] > mass["No"])


def test_items_without_the_affirming_choice_express_no_belief(lm):
    task = make(["Answer:", "Paris is"], [["Yes", "No"], ["maybe", "no"]], truth=[1, np.nan])
    answers = read(lm, task)
    assert np.isfinite(answers.expressed[0])
    assert np.isnan(answers.expressed[1])
    assert read(lm, make()).expressed_reason


def test_sampled_claims_follow_the_expressed_probability(lm):
    answers = read(lm, make(["Answer:"], [["Yes", "No"]], truth=[1]))
    draws = answers.sampled_claims(n_draws=20_000, seed=1)
    np.testing.assert_array_equal(draws, answers.sampled_claims(n_draws=20_000, seed=1))
    p = answers.expressed[0]
    assert draws.mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / 20_000))


def test_masked_language_models_answer_at_the_mask(mlm, bert, words):
    prompts = ["the sky is [MASK] .", "is the sky blue [MASK]"]
    choices = [["blue", "green"], ["yes", "no"]]
    answers = read(mlm, make(prompts, choices, truth=[1, 0]))
    for row, (prompt, options) in enumerate(zip(prompts, choices, strict=True)):
        ids = words(prompt, return_tensors="pt")
        with torch.no_grad():
            logits = bert(**ids).logits[0, ids["input_ids"][0].tolist().index(words.mask_token_id)]
        want = logits[words.convert_tokens_to_ids(options)].numpy()
        np.testing.assert_allclose(answers.logp[row], log_softmax(want), atol=1e-5)


def test_answers_under_an_intervention(lm, gpt2):
    """With nothing in the last residual of the last prompt token, only the final bias and unembedding speak."""
    task = make(["The city of Paris is in France. Answer:", "Answer:"], [["Yes", "No"]] * 2)
    seen = []

    def edits(batch, items, positions):
        seen.append((batch.tokens.shape[0], items.tolist(), positions.tolist()))
        return {lm.layer_points[-1]: ablate("zero", positions=positions)}

    reading = prepare(lm, task)
    plain, edited, again = reading(None), reading(edits), reading(None)
    np.testing.assert_array_equal(plain.logp, again.logp)
    assert sorted(i for _, items, _ in seen for i in items) == [0, 1]
    with torch.no_grad():
        logits = gpt2.lm_head(gpt2.transformer.ln_f(torch.zeros(1, 32)))[0].numpy()
    ids = [lm.tokenizer(" Yes")["input_ids"][0], lm.tokenizer(" No")["input_ids"][0]]
    np.testing.assert_allclose(edited.logp, np.tile(log_softmax(logits[ids]), (2, 1)), atol=1e-5)


def test_edits_that_change_nothing_change_no_answer(lm):
    task = make()
    null = read(lm, task, edits=lambda batch, items, at: {lm.layer_points[0]: steer(np.zeros(32, np.float32), 1.0, at)})
    np.testing.assert_allclose(null.logp, read(lm, task).logp, atol=1e-6)
