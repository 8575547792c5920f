"""Small seeded models of every kind, and a task of ragged prompts."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from mechdecouple.models import build, wrap
from mechdecouple.tasks import Task

WORDS = [f"w{i}" for i in range(40)]


def make_tokenizer(*, first: str, last: str | None = None) -> PreTrainedTokenizerFast:
    names = dict.fromkeys(["[PAD]", first, *([last] if last else []), "[UNK]", *WORDS])
    vocab = {word: number for number, word in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    around = [(name, vocab[name]) for name in (first, last) if name]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last or ''}".strip(), special_tokens=around
    )
    marks = {"bos_token": first} if last is None else {"cls_token": first, "sep_token": last}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", **marks)


def make_gpt2(width: int = 16) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(first="<s>")
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=48, n_embd=width, n_layer=3, n_head=2, bos_token_id=1, eos_token_id=1
    )
    return GPT2LMHeadModel(config).eval(), tokenizer


def make_bert() -> tuple[BertModel, PreTrainedTokenizerFast]:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(first="[CLS]", last="[SEP]")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48,
    )  # fmt: skip
    return BertModel(config).eval(), tokenizer


def make_task(n: int = 23, **columns) -> Task:
    rng = np.random.default_rng(0)
    prompts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 20))) for _ in range(n)]
    return Task.from_frame(pd.DataFrame({"id": [f"item-{i}" for i in range(n)], "prompt": prompts, **columns}))


@pytest.fixture(scope="session")
def task() -> Task:
    return make_task()


@pytest.fixture(scope="session")
def gpt2():
    return make_gpt2()


@pytest.fixture(scope="session")
def bert():
    return make_bert()


@pytest.fixture(scope="session")
def hooked():
    """A zoo-like HookedTransformer as a HookedModel."""
    config = {
        "n_layers": 2, "d_model": 16, "n_ctx": 48, "d_head": 8, "n_heads": 2, "d_mlp": 32, "d_vocab": 50,
        "act_fn": "gelu", "normalization_type": "LN",
    }  # fmt: skip
    return wrap(build(config, seed=0, tokenizer=make_tokenizer(first="<s>")), name="hooked")


@pytest.fixture
def task_of():
    return make_task


@pytest.fixture
def digests():
    """Name and SHA-256 of every file of a folder but the one with the times."""

    def digests(folder) -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != "times.json"
        }

    return digests
