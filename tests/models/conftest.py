"""Tiny models of four families with weights far from their initialisation, a word tokenizer, and their directories."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mechdecouple.models import Batch, build

SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "the", "cat", "dog", "is", "was", "big", "small", "red", "blue", ".", "runs", "in", "city", "of"]
WORDS += ["Paris", "Lyon"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 32}
FAMILIES = ("gpt2", "llama", "neox", "bert", "bert_body")


def _config(family: str):
    v = len(WORDS)
    if family == "gpt2":
        return hf.GPT2Config(
            vocab_size=v, n_embd=32, n_layer=3, n_head=4, n_positions=32, bos_token_id=2, eos_token_id=2
        )
    if family == "llama":
        return hf.LlamaConfig(
            vocab_size=v, intermediate_size=48, num_key_value_heads=2, bos_token_id=2, eos_token_id=2, **SIZES
        )
    if family == "neox":
        return hf.GPTNeoXConfig(vocab_size=v, intermediate_size=48, bos_token_id=2, eos_token_id=2, **SIZES)
    return hf.BertConfig(vocab_size=v, intermediate_size=48, **SIZES)


CLASSES = {
    "gpt2": hf.GPT2LMHeadModel,
    "llama": hf.LlamaForCausalLM,
    "neox": hf.GPTNeoXForCausalLM,
    "bert": hf.BertForMaskedLM,
    "bert_body": hf.BertModel,
}


@pytest.fixture(scope="session")
def hf_models():
    made = {}
    for family in FAMILIES:
        torch.manual_seed(0)
        model = CLASSES[family](_config(family)).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.15 * torch.randn_like(p))
        made[family] = model
    return made


@pytest.fixture(scope="session", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def hf_model(hf_models, family):
    return hf_models[family]


def _tokenizer(encoder: bool):
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if encoder:
        raw.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 4)]
        )
        return hf.PreTrainedTokenizerFast(
            tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        )
    return hf.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]")


@pytest.fixture(scope="session")
def tokenizer():
    return _tokenizer(encoder=False)


@pytest.fixture(scope="session")
def encoder_tokenizer():
    return _tokenizer(encoder=True)


@pytest.fixture(scope="session")
def hf_dirs(hf_models, tokenizer, encoder_tokenizer, tmp_path_factory):
    """A directory per family, with weights and tokenizer."""
    dirs = {}
    for family, model in hf_models.items():
        dirs[family] = tmp_path_factory.mktemp(family)
        model.save_pretrained(dirs[family])
        (encoder_tokenizer if "bert" in family else tokenizer).save_pretrained(dirs[family])
    return dirs


@pytest.fixture
def padded():
    """Three items of 6, 4 and 3 tokens, padded on the right with an ordinary token so that a leak would show."""
    tokens = torch.randint(6, 20, (3, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor([6, 4, 3])[:, None]
    return Batch(tokens, mask)


@pytest.fixture(params=["causal", "bidirectional"])
def hooked(request):
    """A HookedTransformer with LayerNorm whose gains and biases are not 1 and 0."""
    model = build(
        {
            "n_layers": 2, "d_model": 16, "d_head": 8, "n_heads": 2, "d_vocab": 20, "n_ctx": 8, "act_fn": "gelu",
            "normalization_type": "LN", "attention_dir": request.param,
        },
        seed=3,
    )  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model
