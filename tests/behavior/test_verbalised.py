from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mechdecouple import stats
from mechdecouple.behavior.verbalised import of_texts, parse_confidence, verbalised
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.tasks import Task


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("85", 0.85),
        ("85%", 0.85),
        (" 85.5 % sure", 0.855),
        ("I am 70 percent sure.", 0.7),
        ("100", 1.0),
        ("0", 0.0),
        ("1", 0.01),
        ("1%", 0.01),
        ("0.85", 0.85),
        ("0,85", 0.85),
        ("0.5%", 0.005),
        ("1.0", 1.0),
        ("8/10", 0.8),
        ("8 out of 10.", 0.8),
        ("85/100", 0.85),
        ("\n\n 60\n70", 0.6),
        ("very sure", math.nan),
        ("", math.nan),
        ("101", math.nan),
        ("-5", math.nan),
        ("between 80 and 90", math.nan),
        ("80-90%", math.nan),
        ("12/10", math.nan),
        ("8/0", math.nan),
        ("GPT4 cannot say", math.nan),
    ],
)
def test_the_number_a_text_states(text, value):
    assert parse_confidence(text) == pytest.approx(value, nan_ok=True)


def table(answers=("Yes", "No", "Yes", "No")):
    n = len(answers)
    return Task.from_frame(
        pd.DataFrame({"prompt": [f"w{i}" for i in range(n)], "choices": [["Yes", "No"]] * n, "answer": answers})
    )


def test_failures_are_counted_with_their_interval():
    got = of_texts(["90", "no idea", "0.4", "50 or 60"], table(), np.array(["Yes", "Yes", "yes.", "No"]))
    np.testing.assert_allclose(got.confidence, [0.9, np.nan, 0.4, np.nan])
    assert got.failure_rate == 0.5
    assert (got.failure_low, got.failure_high) == stats.wilson(2, 4)
    assert got.correct.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert got.frame()["said"].tolist()[1] == "no idea"
    with pytest.raises(InputError, match="1 texts and 4 answers for 4 items"):
        of_texts(["90"], table(), np.array(["Yes"] * 4))


class Parrot(HookedModel):
    """Says ``script`` after ``sure?``."""

    input_kind, architecture, head, hook_points, layer_points = "tokens", "Parrot", "lm", (), ()

    def __init__(self, script):
        words = ["<unk>", "<eos>", "w0", "w1", "Yes", "No", "sure?", *dict.fromkeys(script.split())]
        raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="<eos>")
        self.name, self.vocab_size = "parrot", len(words)
        self._module = torch.nn.Embedding(len(words), len(words)).requires_grad_(False)
        chain = [words.index(w) for w in ["sure?", *script.split(), "<eos>"]]
        for this, following in itertools.pairwise(chain):
            self._module.weight[this, following] = 100.0

    @property
    def module(self):
        return self._module

    def _run(self, batch, recorder, logits):
        return self._module(batch.tokens)

    def _width(self, hook_point):
        return 1


def test_the_model_is_asked_about_each_answer():
    got = verbalised(Parrot("about 85 %"), table(("Yes", "No")), ["Yes", "Yes"], template="{prompt} {answer} sure?")
    assert got.said.tolist() == ["about 85 %"] * 2
    assert got.confidence.tolist() == [0.85] * 2
    assert got.correct.tolist() == [1.0, 0.0]
    assert got.failure_rate == 0


def test_models_that_write_nothing_say_why(mlm):
    got = verbalised(mlm, Task.from_frame(pd.DataFrame({"prompt": ["the sky"], "answer": ["blue"]})), ["blue"])
    assert "masked" in got.reason
    assert np.isnan([*got.confidence, got.failure_rate, *got.correct]).all()


def test_own_answers_of_a_random_model_and_refusals(lm):
    template = "{prompt} {answer}?"
    got = verbalised(lm, table(("Yes",)), template=template)
    assert got.proposed[0] in ("Yes", "No")
    with pytest.raises(InputError, match=r"lacks \{answer\}"):
        verbalised(lm, table(("Yes",)), template="{prompt}")
