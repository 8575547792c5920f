from __future__ import annotations

import itertools

import pandas as pd
import pytest
import torch

from mechdecouple.behavior import read
from mechdecouple.behavior.generate import normalise
from mechdecouple.errors import TaskError
from mechdecouple.models import HookedModel
from mechdecouple.tasks import Task

PROMPTS = ["The city of Paris is in France. Answer:", "Is this", "Käse"]


def own(gpt2, bpe, prompt, steps):
    """transformers' own greedy generation."""
    ids = torch.tensor([bpe(prompt)["input_ids"]])
    with torch.no_grad():
        out = gpt2.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=steps, do_sample=False, pad_token_id=0
        )
    text = bpe.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    return text.splitlines()[0].rstrip() if text else ""


def test_greedy_text_is_transformers_own(lm, gpt2, bpe):
    texts = [own(gpt2, bpe, p, 12) for p in PROMPTS]
    answers = read(lm, Task.from_frame(pd.DataFrame({"prompt": PROMPTS, "answer": "x"})), max_new_tokens=12)
    assert [t.rstrip() for t in answers.answer_text.tolist()] == texts
    assert not answers.correct.any()
    assert answers.unit == "exact match"
    assert answers.chance_reason
    assert ((answers.confidence > 0) & (answers.confidence <= 1)).all()


class Scripted(HookedModel):
    """Continues every text as ``script`` does: the next token follows from the last one alone."""

    input_kind, architecture, head, hook_points, layer_points = "tokens", "Scripted", "lm", (), ()

    def __init__(self, tokenizer, script):
        self.name, self.tokenizer, self.vocab_size = "scripted", tokenizer, len(tokenizer)
        ids = [*tokenizer(script)["input_ids"], tokenizer.eos_token_id]
        assert len(set(ids)) == len(ids)
        self._module = torch.nn.Embedding(len(tokenizer), len(tokenizer)).requires_grad_(False)
        for this, following in itertools.pairwise(ids):
            self._module.weight[this, following] = 100.0

    @property
    def module(self):
        return self._module

    def _run(self, batch, recorder, logits):
        return self._module(batch.tokens)

    def _width(self, hook_point):
        return 1


@pytest.mark.parametrize(
    ("script", "says", "right"),
    [
        ("Answer: Yes", "Yes", True),
        ("Answer: yes.", "yes.", True),
        ("Answer:\n Yes", "Yes", True),
        ("Answer: Yes\nNo", "Yes", True),
        ("Answer: Yes no", "Yes no", False),
        ("Answer: No", "No", False),
        ("Answer:", "", False),
    ],
)
def test_exact_match_of_the_first_line(bpe, script, says, right):
    task = Task.from_frame(pd.DataFrame({"prompt": ["Answer:", "Is this true? Answer:"], "answer": ["Yes", "yes"]}))
    answers = read(Scripted(bpe, script), task)
    assert answers.answer_text.tolist() == [says] * 2
    assert answers.correct.tolist() == [right] * 2


def test_token_tasks_generate_as_many_tokens_as_the_answer_has(lm, gpt2):
    with torch.no_grad():
        out = gpt2.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3, do_sample=False, pad_token_id=0)[
            0, 3:
        ].tolist()
    answer = " ".join(map(str, out))
    task = Task.from_frame(pd.DataFrame({"tokens": ["5 6 7", "5 6 7"], "answer": [answer, "1"]}))
    answers = read(lm, task)
    assert answers.answer_text.tolist() == [answer, str(out[0])]
    assert answers.correct.tolist() == [True, out[0] == 1]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("  Paris.\nNext", "paris"),
        ("\n\nNEW  York", "new york"),
        ("ﬁve", "five"),
        ('"Yes"', "yes"),
        ("", ""),
        ("3.14", "3.14"),
    ],
)
def test_normalised(text, same):
    assert normalise(text) == same


def test_an_answer_longer_than_what_is_generated(lm):
    task = Task.from_frame(pd.DataFrame({"prompt": ["Paris"], "answer": ["France " * 20]}))
    with pytest.raises(TaskError, match=r"row 1 \(id '1'\), column answer: .* raise max_new_tokens"):
        read(lm, task)


def test_no_room_to_generate(lm):
    task = Task.from_frame(pd.DataFrame({"prompt": ["Paris " * 25], "answer": ["x"]}))
    with pytest.raises(TaskError, match=r"row 1 \(id '1'\): .* takes 64"):
        read(lm, task, max_new_tokens=60)


def test_masked_language_models_generate_nothing(mlm):
    answers = read(mlm, Task.from_frame(pd.DataFrame({"prompt": ["the sky"], "answer": ["blue"]})))
    assert "masked language model" in answers.reason
