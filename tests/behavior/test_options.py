from __future__ import annotations

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from mechdecouple.behavior import read
from mechdecouple.behavior.options import continuation
from mechdecouple.errors import TaskError
from mechdecouple.models import wrap
from mechdecouple.tasks import Task


def make(prompts, choices):
    return Task.from_frame(pd.DataFrame({"prompt": prompts, "choices": choices, "answer": [c[0] for c in choices]}))


def test_a_prompt_that_ends_in_a_space_merges_with_its_options(bpe):
    """The prompt's last token is a space that the joint text gives to the option."""
    alone, joint = bpe("Answer: ")["input_ids"], bpe("Answer: Yes")["input_ids"]
    assert joint[: len(alone)] != alone


@pytest.mark.parametrize(
    ("prompt", "option", "text"),
    [
        ("Answer:", "Yes", " Yes"),
        ("Answer: ", "Yes", "Yes"),
        ("A:", " Yes", " Yes"),
        ("A: (", "B", "B"),
        ("A:\n", "B", "B"),
    ],
)
def test_the_space_between_prompt_and_option(prompt, option, text):
    assert continuation(prompt, option) == text


@pytest.mark.parametrize(
    ("prompts", "choices", "says"),
    [
        (["the sky is"], [["blue", "green"]], "row 1 (id '1'), column prompt: holds 0 mask tokens"),
        (["[MASK] is [MASK]"], [["blue", "green"]], "row 1 (id '1'), column prompt: holds 2 mask tokens"),
        (["sky is [MASK]"], [["blue", "blue green"]], "column choices: option 'blue green' is not one token"),
        (["sky is [MASK]"], [["blue", "red"]], "column choices: option 'red' is not in the vocabulary"),
    ],
)
def test_masked_prompts_that_will_not_do(mlm, prompts, choices, says):
    with pytest.raises(TaskError) as e:
        read(mlm, make(prompts, choices))
    assert says in str(e.value)
    assert "\n" not in str(e.value)


def test_options_too_long_for_the_model(lm):
    with pytest.raises(TaskError, match=r"row 1 \(id '1'\), column choices: option 'Maybe.* takes 64"):
        read(lm, make(["Answer: " * 7], [["Maybe " + "ü" * 40, "No"]]))


def test_token_options_outside_the_vocabulary(lm):
    table = pd.DataFrame({"tokens": ["1"], "choices": ["1|9999"], "answer": ["1"]})
    with pytest.raises(TaskError, match="option '9999' holds token 9999"):
        read(lm, Task.from_frame(table))


def test_special_tokens_around_the_prompt_stay_where_they_were(gpt2, bpe, loglik):
    around, end = deepcopy(bpe), "<|endoftext|>"
    around.backend_tokenizer.post_processor = TemplateProcessing(single=f"{end} $A", special_tokens=[(end, 0)])
    answers = read(wrap(gpt2, name="bos", tokenizer=around), make(["Answer:"], [["Yes", "No it is"]]))
    prompt = [0, *bpe("Answer:")["input_ids"]]
    want = [loglik(prompt, bpe(option)["input_ids"]) for option in (" Yes", " No it is")]
    np.testing.assert_allclose(answers.logp[0], log_softmax(want), atol=1e-4)


def test_chat_templates_open_the_answers_turn(gpt2, bpe, loglik):
    chatty = deepcopy(bpe)
    chatty.chat_template = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}<assistant>"
    answers = read(wrap(gpt2, name="chat", tokenizer=chatty), make(["Is it?"], [["Yes", "No"]]), chat=True)
    prompt = bpe("<user> Is it?\n<assistant>")["input_ids"]
    want = [loglik(prompt, bpe(option)["input_ids"]) for option in ("Yes", "No")]
    np.testing.assert_allclose(answers.logp[0], log_softmax(want), atol=1e-4)


def test_words_that_continue_a_sentence_piece_prompt():
    """SentencePiece marks a word's start with ▁, and the text's own; the option must not get a second one."""
    vocabulary = {"<unk>": 0, "▁is": 1, "▁it": 2, "▁yes": 3, "▁no": 4, "yes": 5, "▁": 6}
    tokenizer = Tokenizer(models.BPE(vocabulary, _merges(vocabulary), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(fast), n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    )
    answers = read(wrap(model.eval(), name="piece", tokenizer=fast), make(["is it"], [["yes", "no"]]))
    with torch.no_grad():
        logits = model(torch.tensor([fast("is it")["input_ids"]])).logits[0, -1].numpy()
    ids = fast.convert_tokens_to_ids(["▁yes", "▁no"])
    np.testing.assert_allclose(answers.logp[0], log_softmax(logits[ids]), atol=1e-5)
    prob = np.exp(log_softmax(logits))
    assert answers.option_mass[0] == pytest.approx(prob[[*ids, fast.convert_tokens_to_ids("yes")]].sum(), rel=1e-4)


def _merges(vocabulary):
    """Merges that build each word from its letters, left to right; the letters join the vocabulary."""
    merges = []
    for word in [w for w in vocabulary if len(w) > 1 and w != "<unk>"]:
        for end in range(1, len(word)):
            for part in (word[:end], word[end]):
                vocabulary.setdefault(part, len(vocabulary))
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
            if (word[:end], word[end]) not in merges:
                merges.append((word[:end], word[end]))
    return merges


def test_options_that_the_tokenizer_cannot_tell_apart(words):
    uncased = deepcopy(words)
    uncased.backend_tokenizer.normalizer = normalizers.Lowercase()
    config = GPT2Config(
        vocab_size=len(words), n_positions=16, n_embd=8, n_layer=1, n_head=1, bos_token_id=2, eos_token_id=3
    )
    model = wrap(GPT2LMHeadModel(config).eval(), name="uncased", tokenizer=uncased)
    with pytest.raises(TaskError, match="option 'Yes' has the same tokens as another option"):
        read(model, make(["the sky is blue"], [["yes", "Yes"]]))
