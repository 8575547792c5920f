"""Small models with real tokenizers: byte-level BPE (merges across spaces), whole words, a masked model."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from mechdecouple.models import wrap

TEXT = [
    "The city of Paris is in France. Is this true? Answer: Yes",
    "Answer: No (maybe yes) no Maybe",
    "Ein Käse, 猫",
] * 20


@pytest.fixture(scope="session")
def bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXT, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=end, unk_token=end)


@pytest.fixture(scope="session")
def gpt2(bpe):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(bpe), n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
        initializer_range=0.4,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="session")
def lm(gpt2, bpe):
    return wrap(gpt2, name="tiny", tokenizer=bpe)


@pytest.fixture(scope="session")
def words():
    """Whole words; [CLS] and [SEP] are put around the text."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "sky", "is", "blue", "green", "yes", "no", "."]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def bert_config(words):
    return BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip


@pytest.fixture(scope="session")
def bert(words):
    torch.manual_seed(0)
    return BertForMaskedLM(bert_config(words)).eval()


@pytest.fixture(scope="session")
def mlm(bert, words):
    return wrap(bert, name="masked", tokenizer=words)


@pytest.fixture(scope="session")
def encoder(words):
    torch.manual_seed(0)
    return wrap(BertModel(bert_config(words)).eval(), name="encoder", tokenizer=words)


@pytest.fixture
def loglik(gpt2):
    """Log-likelihood of ``ids`` after ``prompt`` from the model's own logits, one sequence at a time."""

    def of(prompt: list[int], ids: list[int]) -> float:
        with torch.no_grad():
            logp = gpt2(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        return sum(float(logp[len(prompt) - 1 + step, token]) for step, token in enumerate(ids))

    return of
