from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple import stats
from mechdecouple.behavior import read
from mechdecouple.behavior._sampling import sample_texts
from mechdecouple.behavior.claims import SampledClaims, parse_choice, sample_claims, settled
from mechdecouple.errors import InputError, TaskError
from mechdecouple.interventions import steer
from mechdecouple.models import HookedModel, wrap
from mechdecouple.models.build import build
from mechdecouple.tasks import Task


class Chain(HookedModel):
    """Next-token probabilities follow from the last token alone, as ``table`` [v, v] says."""

    input_kind, architecture, head, hook_points, layer_points = "tokens", "Chain", "lm", (), ()

    def __init__(self, table, tokenizer=None):
        self.name, self.tokenizer, self.vocab_size = "chain", tokenizer, len(table)
        weight = torch.tensor(np.log(np.maximum(table, 1e-30)), dtype=torch.float32)
        self._module = torch.nn.Embedding.from_pretrained(weight)
        self.runs = 0

    @property
    def module(self):
        return self._module

    def _run(self, batch, recorder, logits):
        self.runs += len(batch.tokens)
        return self._module(batch.tokens)

    def _width(self, hook_point):
        return 1


def token_task(choices=(("1", "2"),) * 2, **columns):
    n = len(choices)
    table = pd.DataFrame(
        {"tokens": ["0", "4 0", "3 0"][:n], "choices": list(map(list, choices)), "answer": [c[0] for c in choices]}
    )
    return Task.from_frame(table.assign(**columns), affirm="1")


def planted(*first):
    table = np.full((5, 5), 0.2)
    table[0] = first
    return Chain(table)


def test_rates_are_the_models_own_probabilities():
    claims = sample_claims(planted(0, 0.6, 0.2, 0.2, 0), token_task(), 20_000)
    np.testing.assert_allclose(claims.rate, 0.75, atol=0.015)  # .6 of the .8 that is an answer
    assert claims.failure_rate == pytest.approx(0.2, abs=0.01)
    assert np.isnan(claims.claims).mean() == pytest.approx(claims.failure_rate)
    assert not np.array_equal(claims.claims[0], claims.claims[1], equal_nan=True)


def test_any_column_of_claims_is_one_draw():
    model = planted(0, 0.5, 0.5, 0, 0)
    task = Task.from_frame(
        pd.DataFrame({"tokens": ["0"] * 2000, "choices": [["1", "2"]] * 2000, "answer": "1"}), affirm="1"
    )
    claims = sample_claims(model, task, 20).claims
    np.testing.assert_allclose(claims.mean(axis=0), 0.5, atol=0.05)
    assert (claims[:, 0] == claims[:, 1]).mean() == pytest.approx(0.5, abs=0.05)
    assert (claims[:, 0] == claims[:, -1]).mean() == pytest.approx(0.5, abs=0.05)


def test_temperature_sharpens_and_zero_is_greedy():
    model, task = planted(0, 0.6, 0.4, 0, 0), token_task()
    sharp = 0.6**2 / (0.6**2 + 0.4**2)
    np.testing.assert_allclose(sample_claims(model, task, 20_000, temperature=0.5).rate, sharp, atol=0.015)
    assert (sample_claims(model, task, temperature=0).rate == 1).all()


def test_intervals_are_wilsons_on_what_could_be_read():
    claims = SampledClaims.of(np.array([[1.0] * 12 + [0.0] * 8, [np.nan] * 20, [1.0] * 10 + [np.nan] * 10]))
    assert (claims.low[0], claims.high[0]) == stats.wilson(12, 20)
    assert (claims.low[2], claims.high[2]) == stats.wilson(10, 10)
    assert np.isnan([claims.rate[1], claims.low[1], claims.high[1]]).all()
    assert claims.failure_rate == pytest.approx(0.5)
    assert claims.frame()["n_read"].tolist() == [20, 0, 10]


def test_what_an_item_says_depends_on_no_other_item_and_on_no_batch():
    model = planted(0, 0.5, 0.3, 0.1, 0.1)
    task = token_task((("1", "2"),) * 3)
    whole = sample_claims(model, task, 50)
    np.testing.assert_array_equal(whole.claims[:1], sample_claims(model, task.select(np.array([0])), 50).claims)
    np.testing.assert_array_equal(whole.claims, sample_claims(model, task, 50, batch_tokens=2).claims)
    assert not np.array_equal(whole.claims, sample_claims(model, task, 50, seed=1).claims, equal_nan=True)


def test_options_of_several_tokens_and_shared_beginnings():
    table = np.full((5, 5), 0.0)
    table[0, 1] = table[1, 2] = 0.5
    table[0, 3] = table[1, 4] = 0.5
    table[2:, 0] = 1.0
    model = Chain(table)
    task = Task.from_frame(pd.DataFrame({"tokens": ["0"], "choices": [["1 2", "3"]], "answer": ["1 2"]}), affirm="1 2")
    claims = sample_claims(model, task, 20_000)
    assert claims.failure_rate == pytest.approx(0.25, abs=0.015)  # 1 4
    assert claims.rate[0] == pytest.approx(1 / 3, abs=0.015)
    assert model.runs == 3  # the prompt, and one continuation of each first token


def test_greedy_text_is_transformers_own(lm, gpt2, bpe):
    prompts = ["The city of Paris is in France. Answer:", "Is this", "Käse"]
    task = Task.from_frame(pd.DataFrame({"prompt": prompts}))
    drawn = sample_texts(lm, task, n_draws=3, max_new_tokens=12, temperature=0.0, seed=0, chat=False, batch_tokens=8192)
    for prompt, texts in zip(prompts, drawn, strict=True):
        ids = torch.tensor([bpe(prompt)["input_ids"]])
        with torch.no_grad():
            out = gpt2.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
                                pad_token_id=0)  # fmt: skip
        text = bpe.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        assert texts == {text.splitlines()[0] if text else "": 3}


def test_first_words_are_drawn_as_the_model_gives_them(lm, gpt2, bpe):
    task = Task.from_frame(pd.DataFrame({"prompt": ["Is this true? Answer:"]}))
    drawn = sample_texts(
        lm, task, n_draws=50_000, max_new_tokens=1, temperature=1.0, seed=0, chat=False, batch_tokens=8192
    )[0]
    with torch.no_grad():
        prob = gpt2(torch.tensor([bpe("Is this true? Answer:")["input_ids"]])).logits[0, -1].double().softmax(-1)
    for token in prob.topk(5).indices.tolist():
        text = bpe.decode([token]).strip()
        same = [i for i in range(len(prob)) if (bpe.decode([i]).strip().splitlines() or [""])[0] == text]
        assert drawn[text] / 50_000 == pytest.approx(float(prob[same].sum()), abs=0.01)


@pytest.mark.parametrize(
    ("text", "options", "which"),
    [
        ("Yes", ["Yes", "No"], 0),
        (" no.", ["Yes", "No"], 1),
        ("Yes, it is true", ["Yes", "No"], 0),
        ("**No**", ["Yes", "No"], 1),
        ("Nobody knows", ["Yes", "No"], -1),
        ("not true", ["True", "False"], -1),
        ("", ["Yes", "No"], -1),
        ("no idea", ["no", "no idea"], 1),
        ("(B) Paris", ["A", "B"], 1),
        ("B. Paris", ["A", "B"], 1),
        ("B", ["A", "B"], 1),
        ("a dog", ["A", "B"], -1),
        ("A\nbecause", ["A", "B"], 0),
        ("3 apples", ["3", "4"], 0),
    ],
)
def test_which_option_a_text_begins_with(text, options, which):
    assert parse_choice(text, options) == which


def test_a_settled_text_reads_the_same_however_it_goes_on():
    rng = np.random.default_rng(0)
    options = [("Yes", "No"), ("no", "no idea", "yes"), ("A", "B"), ("True.", "not true", "true story")]
    pieces = ["y", "Y", "es", "yes", " no", "No", " idea", "a", "A", "b", ")", "(", ".", ",", " ", "\n", "not", " true",
              "e", "\u0301", "story", "x", "1", "*", "é", " a dog"]  # fmt: skip
    stopped = 0
    for _ in range(4000):
        offered = options[rng.integers(4)]
        text = "".join(rng.choice(pieces, 6))
        for end in range(1, len(text)):
            if settled(text[:end], offered):
                stopped += 1
                assert parse_choice(text[:end], offered) == parse_choice(text, offered), (text[:end], text, offered)
                break
    assert stopped > 1000
    assert settled("Yes it is", ("Yes", "No"))
    assert settled("Nobody", ("Yes", "No"))
    assert not settled("no i", ("no", "no idea"))


def test_items_without_the_affirming_option_make_no_claims():
    claims = sample_claims(planted(0, 0.5, 0.5, 0, 0), token_task((("1", "2"), ("2", "3"))))
    assert np.isfinite(claims.rate[0])
    assert np.isnan(claims.claims[1]).all()
    assert claims.failure_rate == 0


def test_models_that_write_nothing_say_why(mlm, encoder):
    task = Task.from_frame(
        pd.DataFrame({"prompt": ["the sky"], "choices": [["yes", "no"]], "answer": ["yes"]}), affirm="yes"
    )
    for model, why in ((mlm, "masked"), (encoder, "headless")):
        claims = sample_claims(model, task)
        assert why in claims.reason
        assert np.isnan(claims.rate).all()
        assert np.isnan(claims.failure_rate)


def test_refusals(lm):
    task = token_task()
    with pytest.raises(InputError, match="n_draws is 19"):
        sample_claims(planted(0, 1, 0, 0, 0), task, 19)
    with pytest.raises(TaskError, match="declare affirm"):
        sample_claims(lm, Task.from_frame(pd.DataFrame({"prompt": ["Paris"]})))
    with pytest.raises(InputError, match="temperature -1"):
        sample_claims(planted(0, 1, 0, 0, 0), task, temperature=-1.0)
    with pytest.raises(InputError, match=r"claims have shape \(1, 3\)"):
        SampledClaims.of(np.ones((1, 3)))
    with pytest.raises(InputError, match=r"claim 0.5 of item 2"):
        SampledClaims.of(np.array([[1.0] * 20, [0.5] * 20]))
    with pytest.raises(InputError, match="1 different ids for 2 items"):
        SampledClaims.of(np.ones((2, 20)), ["a", "a"])
    prompt = pd.DataFrame({"prompt": ["Paris " * 25], "choices": [["Yes", "No"]], "answer": ["Yes"]})
    with pytest.raises(TaskError, match=r"row 1 .* takes 64"):
        sample_claims(lm, Task.from_frame(prompt, affirm="Yes"), max_new_tokens=60)


def test_a_transformer_claims_as_often_as_it_expresses_and_edits_reach_it():
    config = dict(n_layers=2, d_model=16, n_ctx=8, d_head=8, n_heads=2, d_mlp=32, act_fn="gelu", d_vocab=5)
    model = wrap(build(config, seed=0), name="hooked")
    task = token_task((("1", "2"), ("1", "3"), ("2", "1")))
    assert sample_claims(model, task, 8000).rate == pytest.approx(read(model, task).expressed, abs=0.03)
    point, width = model.layer_points[-1], 16

    def edits(batch, items, last):
        direction = torch.ones(width) * 3 * torch.arange(width).sub(8).sign()
        return {point: steer(direction)}

    steered = read(model, task, edits=edits).expressed
    assert sample_claims(model, task, 8000, edits=edits).rate == pytest.approx(steered, abs=0.03)
    assert np.abs(steered - read(model, task).expressed).max() > 0.1
