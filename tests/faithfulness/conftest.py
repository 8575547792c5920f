"""Models built by hand whose used features are known, and tasks for them."""

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.models import wrap
from mechdecouple.tasks import Task

SEEN, MASK, YES, NO = range(4)
"""Tokens of the transformer below: the one that answers, a mask, and two options; words follow."""
WORDS, LENGTH = 12, 6


@pytest.fixture(scope="session")
def linear():
    """Of weights [d] and inputs [n, d]: a model whose two logits are their product and minus that, and a task."""

    def make(weights, x, groups=None):
        net = torch.nn.Sequential(torch.nn.Linear(len(weights), 2, bias=False))
        row = torch.as_tensor(weights, dtype=torch.float32)
        with torch.no_grad():
            net[0].weight.copy_(torch.stack([row, -row]))
        frame = pd.DataFrame({"answer": np.arange(len(x)) % 2})
        if groups is not None:
            frame["group"] = groups
        return wrap(net, name="linear"), Task.from_frame(frame, inputs=x, performance="class", name="numbers")

    return make


@pytest.fixture(scope="session")
def bert():
    """A random masked language model of two layers, with a word tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", "[MASK]", "yes", "no", *(f"w{i}" for i in range(10))]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=len(words),
        max_position_embeddings=16, attn_implementation="eager",
    )  # fmt: skip
    return wrap(BertForMaskedLM(config), name="bert", tokenizer=tokenizer)


def bag_of_words(scale=4.0):
    """A transformer of one layer whose last token attends to all alike and answers by the sum of what words are worth:
    word 4 says yes, word 5 says no, all others nothing."""
    from mechdecouple.models import build

    model = build(
        {
            "n_layers": 1, "d_model": 4, "n_heads": 1, "d_head": 4, "n_ctx": LENGTH + 1, "d_vocab": 4 + WORDS,
            "attn_only": True, "normalization_type": None, "act_fn": None,
        }
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E[4, 0], model.embed.W_E[5, 0] = 1.0, -1.0
        attention = model.blocks[0].attn
        attention.W_V[0], attention.W_O[0] = torch.eye(4), torch.eye(4)
        model.unembed.W_U[0, YES], model.unembed.W_U[0, NO] = scale, -scale
    return wrap(model, name="bag of words")


@pytest.fixture(scope="session")
def words():
    """80 items of six words and the token that answers: one of the words says yes or no; [n] of [t] bool: which."""
    rng = np.random.default_rng(1)
    tokens, used, answers = [], [], []
    for item in range(80):
        row = rng.integers(6, 4 + WORDS, LENGTH)
        at = rng.integers(LENGTH)
        row[at] = 4 + item % 2
        tokens.append([*row, SEEN])
        used.append(np.arange(LENGTH + 1) == at)
        answers.append(str([YES, NO][item % 2]))
    frame = pd.DataFrame(
        {"tokens": tokens, "choices": [f"{YES}|{NO}"] * 80, "answer": answers, "group": np.arange(80) // 2}
    )
    return bag_of_words(), Task.from_frame(frame, name="words"), used
